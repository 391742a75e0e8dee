//! Faults of this program that the cloud has ordered.

use std::sync::{Once, OnceLock};
use std::thread;
use std::time::Duration;

use super::failure::{Failure, Result};
use crate::clock::monotonic_us;
use crate::wire::Fate;

static FATE: OnceLock<Fate> = OnceLock::new();
/// Makes sure that the program is slow only once.
static SLOW: Once = Once::new();

/// Stores the fault. Fails if the program must end at once.
pub(crate) fn learn(fate: Fate) -> Result<()> {
    let fate = *FATE.get_or_init(|| fate);
    if fate == Fate::Die { Err(Failure::silent()) } else { Ok(()) }
}

/// True if nothing that the program prints may arrive.
pub(crate) fn is_mute() -> bool {
    matches!(FATE.get(), Some(Fate::HangAfter | Fate::DieAfter))
}

/// Waits once, before the program first prints something or ends, if it must be slow.
pub(crate) fn before_words() {
    if let Some(Fate::SlowAfter { delay_ms }) = FATE.get() {
        SLOW.call_once(|| pause(Some(Duration::from_millis(*delay_ms))));
    }
}

/// Ends the program once it has done its work, as the fault demands.
pub(crate) fn end(done: Result<()>) -> Result<()> {
    before_words();
    match FATE.get() {
        Some(Fate::HangAfter) => pause(None),
        Some(Fate::DieAfter) => return Err(Failure::silent()),
        _ => {}
    }
    done
}

fn pause(time: Option<Duration>) {
    let begun = monotonic_us();
    loop {
        let passed = Duration::from_micros(monotonic_us() - begun);
        let left = time.map_or(Duration::MAX, |time| time.saturating_sub(passed));
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left.min(Duration::from_secs(3600)));
    }
}
