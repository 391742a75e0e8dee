//! The one place that waits in tests: for a condition, until a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Longest time for anything that should happen soon, on a slow and busy computer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Interval at which the condition is checked.
const TICK: Duration = Duration::from_millis(10);

/// Waits until `probe` returns something. Panics with `what` if that takes longer than [`PATIENCE`].
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, probe).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain for {what}"))
}

/// Waits until `probe` returns something, or `limit` has passed.
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

/// Lets this time pass, for tests of a lasting outage, in which the time itself is the event.
pub fn pass(time: Duration) {
    until_within(time, || None::<()>);
}

/// Measures how long `work` takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}
