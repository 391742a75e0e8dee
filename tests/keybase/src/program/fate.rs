//! Faults of this program itself that the cloud has ordered.

use std::sync::{Once, OnceLock};
use std::thread;
use std::time::Duration;

use super::failure::{Failure, Result};
use crate::clock::monotonic_us;
use crate::wire::Fate;

static FATE: OnceLock<Fate> = OnceLock::new();
/// The one time that it is slow.
static SLOW: Once = Once::new();

/// Learns it; fails if the program is to end at once.
pub(crate) fn learn(fate: Fate) -> Result<()> {
    let fate = *FATE.get_or_init(|| fate);
    if fate == Fate::Die { Err(Failure::silent()) } else { Ok(()) }
}

/// Whether what is printed arrives.
pub(crate) fn is_mute() -> bool {
    matches!(FATE.get(), Some(Fate::HangAfter | Fate::DieAfter))
}

/// Waits before the first word, or the end, if the program is slow to say what it did.
pub(crate) fn before_words() {
    if let Some(Fate::SlowAfter { delay_ms }) = FATE.get() {
        SLOW.call_once(|| pause(Some(Duration::from_millis(*delay_ms))));
    }
}

/// The program's end, once it has done what it is for.
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
