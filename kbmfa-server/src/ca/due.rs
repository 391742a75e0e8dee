//! Decides when a certificate must be renewed or announced, from dates, names and issuer. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::facts::Facts;
use crate::clock::Time;

/// How long before its expiry a certificate raises an alarm.
pub const ALARM_TIME: Duration = Duration::from_secs(30 * 86_400);

/// Minimum time by which a renewal must extend the expiry. An authority near its own expiry cannot give more
/// time, so without this minimum the renewals would never stop.
const GAIN_MIN: Duration = Duration::from_secs(86_400);

/// Why a certificate is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no usable one.
    Missing,
    /// Another authority signs now.
    Authority,
    /// The server's names have changed.
    Names,
    /// It is not valid yet: it was made while the clock was ahead.
    Early,
    /// Two thirds of its lifetime have passed.
    Age,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there was no usable one",
            Self::Authority => "another authority signs now",
            Self::Names => "the names have changed",
            Self::Early => "it is not valid yet",
            Self::Age => "two thirds of its lifetime have passed",
        })
    }
}

/// The current certificate.
pub struct Present<'a> {
    /// Its contents.
    pub facts: &'a Facts,
    /// Whether the current authority signed it.
    pub by_signer: bool,
}

/// Whether to replace the certificate, and why. `wanted` are the configured names, or `None` if they are not
/// to be checked. `best_end` is the expiry that a new certificate would have. Before `authority_begins` the
/// clock must be wrong, and a certificate made then would be useless.
pub fn due(
    present: Option<&Present<'_>>,
    wanted: Option<&BTreeSet<String>>,
    (authority_begins, best_end): (Time, Time),
    now: Time,
) -> Option<Why> {
    let Some(Present { facts, by_signer }) = present else { return Some(Why::Missing) };
    let life = facts.not_after.since(facts.not_before);
    let old = now >= facts.not_before + life * 2 / 3;
    if !by_signer {
        Some(Why::Authority)
    } else if wanted.is_some_and(|wanted| *wanted != facts.names) {
        Some(Why::Names)
    } else if (authority_begins..facts.not_before).contains(&now) {
        Some(Why::Early)
    } else if old && best_end.since(facts.not_after) >= GAIN_MIN {
        Some(Why::Age)
    } else {
        None
    }
}

/// The validity of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is valid for longer than [`ALARM_TIME`].
    Valid,
    /// It expires within [`ALARM_TIME`].
    ExpiresSoon,
    /// It has expired: no machine accepts it.
    Expired,
}

/// The validity of a certificate with this expiry.
pub fn validity(not_after: Time, now: Time) -> Validity {
    if now >= not_after {
        Validity::Expired
    } else if not_after.since(now) <= ALARM_TIME {
        Validity::ExpiresSoon
    } else {
        Validity::Valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{facts, issue};
    use crate::clock::{Clock, ManualClock};
    use crate::db::testing::START;

    const DAY: Duration = Duration::from_secs(86_400);
    /// A microsecond less.
    const ALMOST_A_DAY: Duration = Duration::from_micros(86_400_000_000 - 1);

    fn ninety_days() -> (Facts, ManualClock) {
        let clock = ManualClock::new(Time::from_micros(START));
        let authority = issue::authority(clock.now()).unwrap();
        let mut facts = facts::of_pem(authority.pem.as_bytes()).unwrap().remove(0);
        facts.not_before = clock.now();
        facts.not_after = clock.now() + DAY * 90;
        facts.names = BTreeSet::from(["a".to_owned()]);
        (facts, clock)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
        let (facts, clock) = ninety_days();
        let present = Present { facts: &facts, by_signer: true };
        let now = || due(Some(&present), None, (facts.not_before, clock.now() + DAY * 90), clock.now());
        assert_eq!(now(), None);
        clock.advance(DAY * 59 + ALMOST_A_DAY);
        assert_eq!(now(), None);
        clock.advance(Duration::from_micros(1));
        assert_eq!(now(), Some(Why::Age));
        clock.advance(DAY * 300);
        assert_eq!(now(), Some(Why::Age), "a server that was off for a year");
    }

    #[test]
    fn a_certificate_made_while_the_clock_was_ahead_is_replaced_when_it_is_right_again() {
        let (facts, clock) = ninety_days();
        let present = Present { facts: &facts, by_signer: true };
        let authority_begins = clock.now().minus(DAY);
        let wanted = |now| due(Some(&present), None, (authority_begins, facts.not_after), now);
        assert_eq!(wanted(clock.now()), None);
        assert_eq!(wanted(clock.now().minus(Duration::from_micros(1))), Some(Why::Early));
        assert_eq!(wanted(authority_begins), Some(Why::Early));
        assert_eq!(
            wanted(authority_begins.minus(Duration::from_micros(1))),
            None,
            "a clock that begins in 1970"
        );
    }

    #[test]
    fn a_renewal_without_a_later_expiry_is_skipped() {
        let (facts, clock) = ninety_days();
        let present = Present { facts: &facts, by_signer: true };
        clock.advance(DAY * 80);
        let authority_ends = facts.not_after + ALMOST_A_DAY;
        assert_eq!(due(Some(&present), None, (facts.not_before, authority_ends), clock.now()), None);
        assert_eq!(
            due(Some(&present), None, (facts.not_before, facts.not_after + DAY), clock.now()),
            Some(Why::Age)
        );
    }

    #[test]
    fn a_missing_certificate_other_names_and_another_authority_are_reasons_at_any_age() {
        let (facts, clock) = ninety_days();
        let check = |by_signer, wanted: Option<&[&str]>, expected| {
            let present = Present { facts: &facts, by_signer };
            let wanted = wanted.map(names);
            let now = clock.now();
            let times = (facts.not_before, facts.not_after);
            assert_eq!(due(Some(&present), wanted.as_ref(), times, now), expected, "{wanted:?}");
        };
        check(true, None, None);
        check(true, Some(&["a"]), None);
        check(true, Some(&["a", "b"]), Some(Why::Names));
        check(false, Some(&["a"]), Some(Why::Authority));
        assert_eq!(due(None, None, (facts.not_before, facts.not_after), clock.now()), Some(Why::Missing));
    }

    #[test]
    fn the_alarm_begins_thirty_days_before_the_end() {
        let (facts, clock) = ninety_days();
        let now = || validity(facts.not_after, clock.now());
        assert_eq!(now(), Validity::Valid);
        clock.advance(DAY * 59 + ALMOST_A_DAY);
        assert_eq!(now(), Validity::Valid);
        clock.advance(Duration::from_micros(1));
        assert_eq!(now(), Validity::ExpiresSoon);
        clock.advance(DAY * 30);
        assert_eq!(now(), Validity::Expired);
    }
}
