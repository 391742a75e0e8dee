//! A time on the command line: `2026-11-21T21:00:00Z`, `2026-11-21`, or how long ago, as `2h` or `7d`.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};
use std::str::FromStr;
use std::time::Duration;

use crate::clock::Time;

/// A moment: fixed, or relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// This moment.
    At(Time),
    /// This long ago.
    Ago(Duration),
}

impl When {
    /// The moment, relative to `now`.
    pub(super) fn seen_from(self, now: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::Ago(length) => now.minus(length),
        }
    }
}

/// The end of something: fixed, or relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// This moment.
    At(Time),
    /// In this long.
    In(Duration),
}

impl Until {
    /// The moment, relative to `now`.
    pub(super) fn seen_from(self, now: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::In(length) => now + length,
        }
    }
}

/// A text that is not an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no end: write 2026-12-24T18:00:00Z, 2026-12-24 (with that day, in UTC), or in how long, as 8h or 30d"
)]
pub(super) struct BadUntil;

impl FromStr for Until {
    type Err = BadUntil;
    fn from_str(text: &str) -> Result<Self, BadUntil> {
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(Time::from_micros(time.as_microsecond())));
        }
        if let Ok(date) = text.parse::<Date>() {
            let next = date.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC)).map_err(|_| BadUntil)?;
            return Ok(Self::At(Time::from_micros(next.timestamp().as_microsecond())));
        }
        length(text).map(Self::In).ok_or(BadUntil)
    }
}

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no time: write 2026-11-21T21:00:00Z, 2026-11-21 (its beginning in UTC), or how long ago, as 2h or 7d"
)]
pub(super) struct BadTime;

impl FromStr for When {
    type Err = BadTime;
    fn from_str(text: &str) -> Result<Self, BadTime> {
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(Time::from_micros(time.as_microsecond())));
        }
        if let Ok(date) = text.parse::<Date>() {
            let midnight = date.to_zoned(TimeZone::UTC).map_err(|_| BadTime)?;
            return Ok(Self::At(Time::from_micros(midnight.timestamp().as_microsecond())));
        }
        length(text).map(Self::Ago).ok_or(BadTime)
    }
}

/// A length of time such as 2h, 7d or 1h 30m. A day is 24 hours. Months are not accepted, because their
/// length varies.
pub(super) fn length(text: &str) -> Option<Duration> {
    let length = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    length.ok().and_then(|length| Duration::try_from(length).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_lies_ahead_and_a_day_counts_whole() {
        let now: Time = Time::from_micros(1_795_294_800_000_000);
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Until>().unwrap().seen_from(now).to_string(), expected, "{text}");
        };
        check("2026-12-24T18:00:00Z", "2026-12-24T18:00:00Z");
        check("2026-12-24", "2026-12-25T00:00:00Z");
        check("8h", "2026-11-22T05:00:00Z");
        check("30d", "2026-12-21T21:00:00Z");
        for bad in ["", "tomorrow", "2026-13-01", "3 months", "-2h", "12"] {
            assert_eq!(bad.parse::<Until>(), Err(BadUntil), "{bad:?}");
        }
    }

    #[test]
    fn times_are_parsed_as_people_write_them() {
        let now: Time = Time::from_micros(1_795_294_800_000_000);
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<When>().unwrap().seen_from(now).to_string(), expected, "{text}");
        };
        check("2026-11-21T20:00:00Z", "2026-11-21T20:00:00Z");
        check("2026-11-21T21:00:00+01:00", "2026-11-21T20:00:00Z");
        check("2026-11-21", "2026-11-21T00:00:00Z");
        check("2h", "2026-11-21T19:00:00Z");
        check("7d", "2026-11-14T21:00:00Z");
        check("1w 1h 30m", "2026-11-14T19:30:00Z");
        for bad in ["", "yesterday", "2026-13-01", "3 months", "-2h", "12"] {
            assert_eq!(bad.parse::<When>(), Err(BadTime), "{bad:?}");
        }
    }
}
