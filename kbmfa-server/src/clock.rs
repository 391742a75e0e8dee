//! The only reader of the clock. All other code gets a [`Time`] as an argument.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Add;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment: microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// The moment this many microseconds after 1970-01-01 (UTC).
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The moment this much earlier.
    #[must_use]
    pub fn minus(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

/// A source of time.
pub trait Clock: Send + Sync {
    /// The moment now.
    fn now(&self) -> Time;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Time {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Time since the first call in this process, by a clock that nobody can set. For pauses and intervals, not
/// for dates.
pub fn monotonic() -> Duration {
    static BEGINNING: LazyLock<Instant> = LazyLock::new(instant);
    instant().saturating_duration_since(*BEGINNING)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
fn instant() -> Instant {
    Instant::now()
}

/// A clock for tests, which moves only when a test moves it.
#[cfg(test)]
#[derive(Clone)]
pub(crate) struct ManualClock(std::sync::Arc<std::sync::atomic::AtomicI64>);

#[cfg(test)]
impl ManualClock {
    /// A clock that shows `start`.
    pub(crate) fn new(start: Time) -> Self {
        Self(std::sync::Arc::new(start.0.into()))
    }

    /// Moves the clock forward.
    pub(crate) fn advance(&self, length: Duration) {
        let micros = i64::try_from(length.as_micros()).unwrap();
        self.0.fetch_add(micros, std::sync::atomic::Ordering::SeqCst);
    }

    /// Moves the clock back.
    pub(crate) fn set_back(&self, length: Duration) {
        let micros = i64::try_from(length.as_micros()).unwrap();
        self.0.fetch_sub(micros, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(test)]
impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_prints_as_utc_and_adds_up() {
        let time = Time::from_micros(1_795_294_800_000_000);
        assert_eq!(time.to_string(), "2026-11-21T21:00:00Z");
        assert_eq!((time + Duration::from_secs(60)).since(time), Duration::from_secs(60));
        assert_eq!(time.since(time + Duration::from_secs(1)), Duration::ZERO);
    }
}
