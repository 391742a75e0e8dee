//! Logs a lasting fault when it begins, then at intervals with a count, and once when it is over. It does not
//! log each attempt.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use crate::clock;
use crate::shared::Shared;

/// Interval at which an unchanged fault is logged again.
const REPEAT: Duration = Duration::from_secs(300);

/// Minimum time between two lines about one thing, even if the error changes.
const GAP: Duration = Duration::from_secs(10);

/// The faults of one loop, or of one kind of work.
pub struct FaultLog {
    /// The kind of the thing, such as `transaction `; empty if there is only one kind.
    kind: &'static str,
    what: &'static str,
    faults: Faults,
}

impl FaultLog {
    /// A log without a fault so far. `what` begins each line.
    pub const fn new(what: &'static str) -> Self {
        Self { kind: "", what, faults: Faults::NONE }
    }

    /// Notes a failure.
    pub fn failed(&mut self, error: impl Display) {
        if let Some(line) = self.due(&error.to_string()) {
            log::error!("{line}");
        }
    }

    /// The line to log for this failure, if any.
    fn due(&mut self, error: &str) -> Option<String> {
        let line = self.faults.failed(clock::monotonic(), error)?;
        Some(format!("{}{}: {line}", self.kind, self.what))
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        if let Some(line) = self.over() {
            log::info!("{line}");
        }
    }

    /// The line to log after a success, if any.
    fn over(&mut self) -> Option<String> {
        let line = self.faults.succeeded(clock::monotonic())?;
        Some(format!("{}{}: {line}", self.kind, self.what))
    }

    /// Notes a result, and returns it.
    pub fn note<T, E: Display>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(done) => {
                self.succeeded();
                Some(done)
            }
            Err(error) => {
                self.failed(error);
                None
            }
        }
    }
}

/// A [`FaultLog`] for work that many tasks do at once.
pub struct SharedFaultLog(Shared<FaultLog>);

impl SharedFaultLog {
    /// A log without a fault so far. `what` begins each line.
    pub const fn new(what: &'static str) -> Self {
        Self(Shared::new(FaultLog::new(what)))
    }

    /// Notes a failure.
    pub fn failed(&self, error: impl Display) {
        // Logged after the lock is released, because writing to the log may block.
        let error = error.to_string();
        if let Some(line) = self.0.with(|log| log.due(&error)) {
            log::error!("{line}");
        }
    }

    /// Notes a success.
    pub fn succeeded(&self) {
        if let Some(line) = self.0.with(FaultLog::over) {
            log::info!("{line}");
        }
    }
}

/// A [`FaultLog`] for each of several things, by their names.
pub struct FaultLogs {
    kind: &'static str,
    logs: HashMap<&'static str, FaultLog>,
}

impl FaultLogs {
    /// Logs without a fault so far. `kind` begins each line, and the name follows.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, logs: HashMap::new() }
    }

    /// Notes a failure of this thing.
    pub fn failed(&mut self, what: &'static str, error: impl Display) {
        let new = || FaultLog { kind: self.kind, ..FaultLog::new(what) };
        self.logs.entry(what).or_insert_with(new).failed(error);
    }

    /// Notes a success of this thing.
    pub fn succeeded(&mut self, what: &'static str) {
        if let Some(log) = self.logs.get_mut(what) {
            log.succeeded();
        }
    }
}

/// The failures so far. Decides which lines are due.
struct Faults {
    /// Number of failures since the last line.
    unsaid: u64,
    /// The last line about a failure, and its time.
    said: Option<(String, Duration)>,
    is_failing: bool,
}

impl Faults {
    const NONE: Self = Self { unsaid: 0, said: None, is_failing: false };

    fn failed(&mut self, now: Duration, error: &str) -> Option<String> {
        self.is_failing = true;
        self.unsaid += 1;
        let is_due = self.said.as_ref().is_none_or(|(said, at)| {
            let pause = if said == error { REPEAT } else { GAP };
            now.saturating_sub(*at) >= pause
        });
        if !is_due {
            return None;
        }
        self.said = Some((error.to_owned(), now));
        match std::mem::take(&mut self.unsaid) {
            1 => Some(error.to_owned()),
            times => Some(format!("{error} ({times} times since the last line)")),
        }
    }

    /// Notes a success. A fault that returns within [`GAP`] counts as the same fault.
    fn succeeded(&mut self, now: Duration) -> Option<String> {
        if !self.is_failing || self.said.as_ref().is_some_and(|(_, at)| now.saturating_sub(*at) < GAP) {
            return None;
        }
        let times = self.unsaid;
        *self = Self::NONE;
        let more =
            if times == 0 { String::new() } else { format!("; failed {times} times since the last line") };
        Some(format!("works again{more}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The lines that are logged if one attempt a second fails with this error, or succeeds.
    fn lines(attempts: impl IntoIterator<Item = Option<&'static str>>) -> Vec<String> {
        let mut faults = Faults::NONE;
        let said = (0..).zip(attempts).filter_map(|(second, attempt)| {
            let line = match attempt {
                Some(error) => faults.failed(SECOND * second, error),
                None => faults.succeeded(SECOND * second),
            };
            line.map(|line| format!("{second} {line}"))
        });
        said.collect()
    }

    #[test]
    fn a_fault_that_lasts_is_logged_once_and_then_at_intervals() {
        let attempts = std::iter::repeat_n(Some("full"), 650).chain([None, None]);
        let expected = [
            "0 full",
            "300 full (300 times since the last line)",
            "600 full (300 times since the last line)",
            "650 works again; failed 49 times since the last line",
        ];
        assert_eq!(lines(attempts), expected);
    }

    #[test]
    fn another_fault_is_logged_soon_and_a_flickering_one_does_not_flood() {
        let attempts = std::iter::repeat_n(Some("full"), 20).chain([Some("locked")]);
        assert_eq!(lines(attempts), ["0 full", "20 locked (20 times since the last line)"]);
        let flickering = (0..3000).map(|second| (second % 2 == 0).then_some("full"));
        assert!(lines(flickering).len() <= 2 * 3000 / 10);
        let alternating = (0..1000).map(|second| Some(if second % 2 == 0 { "full" } else { "locked" }));
        assert!(lines(alternating).len() <= 100);
    }

    #[test]
    fn success_without_a_fault_logs_nothing() {
        assert_eq!(lines([None; 30]), Vec::<String>::new());
    }
}
