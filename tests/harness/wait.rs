//! The one place that waits: for a condition, until a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that ought to happen soon, on a slow and busy computer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks at the condition.
const TICK: Duration = Duration::from_millis(10);

/// Waits until `probe` finds something; panics with `what` when that takes longer than [`PATIENCE`].
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, probe).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain for {what}"))
}

/// Waits until `probe` finds something, or until `limit` has passed.
pub fn until_within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let found = probe();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        thread::sleep(TICK);
    }
}

/// Lets time pass, for stories about an outage that lasts: the time itself is the event.
pub fn pass(time: Duration) {
    until_within(time, || None::<()>);
}

/// Does something and says how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}
