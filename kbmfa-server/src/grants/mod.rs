//! Grants: which employee may go to which pool, perhaps with sudo, and until when.

pub mod service;
pub mod store;

use kbmfa_proto::names::PoolName;
use std::fmt;
use std::str::FromStr;

use crate::clock::Time;
use crate::db;
use crate::employees;
use crate::machines;
use crate::pools;
use crate::random::NoRandomness;

/// Why an action on a grant failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The employee does not exist, or cannot have a uid.
    #[error(transparent)]
    Employee(#[from] employees::Error),
    /// The pool does not exist.
    #[error(transparent)]
    Pool(#[from] pools::Error),
    /// The machine does not exist.
    #[error(transparent)]
    Machine(#[from] machines::Error),
    /// The employee has a live grant to the pool already.
    #[error(
        "{0} has a grant to pool {1} already; `grant extend` puts off its end, `grant remove` ends it now"
    )]
    GrantExists(String, PoolName),
    /// The employee has no grant to the pool.
    #[error("{0} has no grant to pool {1}")]
    NoSuchGrant(String, PoolName),
    /// A grant cannot end in the past.
    #[error("{0} is past already; a grant ends later than now")]
    EndIsPast(Time),
    /// The end would come earlier than before.
    #[error("the grant ends later than that already; to end it earlier, remove it and add it again")]
    EndsLater,
}

/// The name of a sudo profile: what a person may do with sudo on the machines of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct SudoProfile(String);

/// A text that is not the name of a sudo profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a name of a sudo profile: use 1 to 32 of a-z, 0-9 and hyphen, starting with a letter")]
pub struct BadProfile;

impl FromStr for SudoProfile {
    type Err = BadProfile;
    fn from_str(text: &str) -> Result<Self, BadProfile> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_lowercase());
        if fits && text.chars().all(plain) { Ok(Self(text.to_owned())) } else { Err(BadProfile) }
    }
}

impl SudoProfile {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SudoProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a grant counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It counts.
    Live,
    /// Its end has come.
    Ended,
}

impl State {
    /// The state at this moment of a grant with this end. At its end it no longer counts.
    pub fn at(now: Time, ends_at: Option<Time>) -> Self {
        if ends_at.is_none_or(|end| now < end) { Self::Live } else { Self::Ended }
    }

    /// One word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
        }
    }
}

/// Checks the new end of a grant that ends at `before`. `None` is never.
///
/// # Errors
/// [`Error::EndIsPast`], [`Error::EndsLater`].
pub fn check_extension(now: Time, before: Option<Time>, after: Option<Time>) -> Result<(), Error> {
    if let Some(end) = after.filter(|end| State::at(now, Some(*end)) == State::Ended) {
        return Err(Error::EndIsPast(end));
    }
    match (before, after) {
        (None, _) => Err(Error::EndsLater),
        (Some(before), Some(after)) if after <= before => Err(Error::EndsLater),
        (Some(_), _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sudo_profile_has_a_plain_name() {
        for good in ["web-ops", "a", "db2"] {
            assert_eq!(good.parse::<SudoProfile>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "2db", "A", "a b", "a/b", "a\n", &"a".repeat(33)] {
            assert_eq!(bad.parse::<SudoProfile>(), Err(BadProfile), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_grant_is_live_up_to_its_end_and_never_again(end in prop::option::of(0_i64..1000), now in 0_i64..1000) {
            let at = |now| State::at(Time::from_micros(now), end.map(Time::from_micros));
            prop_assert_eq!(at(now) == State::Live, end.is_none_or(|end| now < end));
            if at(now) == State::Ended {
                prop_assert_eq!(at(now + 1), State::Ended);
            }
        }

        #[test]
        fn an_extension_only_ever_adds_time(
            now in 0_i64..100, before in prop::option::of(0_i64..200), after in prop::option::of(0_i64..200),
            asked in 0_i64..300,
        ) {
            let time = Time::from_micros;
            if check_extension(time(now), before.map(time), after.map(time)).is_ok() {
                prop_assert_eq!(State::at(time(now), after.map(time)), State::Live);
                let (was, is) = (State::at(time(asked), before.map(time)), State::at(time(asked), after.map(time)));
                prop_assert!(was == State::Ended || is == State::Live);
            }
        }
    }
}
