//! What failed is tried again later, and later each time: nothing that cannot be done takes the time of what can.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Time;

/// First pause ..
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// .. doubled each time, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Failures that are remembered; beyond that all are forgotten, and tried again at once.
const FAILURES_MAX: usize = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct Patience(HashMap<String, (u32, Time)>);

impl Patience {
    /// True if it is time to try this.
    pub(super) fn may_try(&self, id: &str, now: Time) -> bool {
        self.0.get(id).is_none_or(|(_, not_before)| *not_before <= now)
    }

    /// It failed. True if that is the first time.
    pub(super) fn failed(&mut self, id: &str, now: Time) -> bool {
        if self.0.len() >= FAILURES_MAX {
            self.0.clear();
        }
        let (failures, not_before) = self.0.entry(id.to_owned()).or_insert((0, now));
        let pause = PAUSE_MIN.saturating_mul(1 << (*failures).min(6)).min(PAUSE_MAX);
        *not_before = now + pause;
        *failures += 1;
        *failures == 1
    }

    /// It was done.
    pub(super) fn succeeded(&mut self, id: &str) {
        self.0.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_waited_for_longer_and_success_forgets_them() {
        let (mut patience, start) = (Patience::default(), Time::from_micros(0));
        let mut now = start;
        let mut pauses = Vec::new();
        for turn in 0..9 {
            assert!(patience.may_try("x", now) && patience.may_try("y", now));
            assert_eq!(patience.failed("x", now), turn == 0, "it is told once");
            let pause =
                (1..100).find(|second| patience.may_try("x", now + Duration::from_secs(*second))).unwrap();
            pauses.push(pause);
            now = now + Duration::from_secs(pause);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        patience.succeeded("x");
        assert!(patience.may_try("x", start));
    }
}
