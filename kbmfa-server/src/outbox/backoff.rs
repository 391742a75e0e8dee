//! Exponential backoff for each item, so that items that fail do not delay the others.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Time;

/// First pause; each failure doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// Maximum number of items that are remembered. Beyond it all are forgotten, and retried at once.
const FAILURES_MAX: usize = 10_000;

/// The failures of each item, and when it may be tried again.
pub(super) struct Backoff {
    failed: HashMap<String, (u32, Time)>,
    pause_max: Duration,
}

impl Backoff {
    /// An empty backoff with this longest pause.
    pub(super) fn new(pause_max: Duration) -> Self {
        Self { failed: HashMap::new(), pause_max }
    }

    /// Number of failures of an item.
    pub(super) fn failures(&self, id: &str) -> u32 {
        self.failed.get(id).map_or(0, |(failures, _)| *failures)
    }

    /// True if the item may be tried now.
    pub(super) fn may_try(&self, id: &str, now: Time) -> bool {
        self.failed.get(id).is_none_or(|(_, not_before)| *not_before <= now)
    }

    /// Records a failure. True if it is the item's first.
    pub(super) fn failed(&mut self, id: &str, now: Time) -> bool {
        if self.failed.len() >= FAILURES_MAX {
            self.failed.clear();
        }
        let (failures, not_before) = self.failed.entry(id.to_owned()).or_insert((0, now));
        let pause = PAUSE_MIN.saturating_mul(1 << (*failures).min(6)).min(self.pause_max);
        *not_before = now + pause;
        *failures += 1;
        *failures == 1
    }

    /// Forgets an item that succeeded.
    pub(super) fn succeeded(&mut self, id: &str) {
        self.failed.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_waited_for_longer_and_success_forgets_them() {
        let (mut backoff, start) = (Backoff::new(Duration::from_secs(60)), Time::from_micros(0));
        let mut now = start;
        let mut pauses = Vec::new();
        for turn in 0..9 {
            assert!(backoff.may_try("x", now) && backoff.may_try("y", now));
            assert_eq!(backoff.failed("x", now), turn == 0, "it is told once");
            let pause =
                (1..100).find(|second| backoff.may_try("x", now + Duration::from_secs(*second))).unwrap();
            pauses.push(pause);
            now = now + Duration::from_secs(pause);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.succeeded("x");
        assert!(backoff.may_try("x", start));
    }
}
