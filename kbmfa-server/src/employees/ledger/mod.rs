//! The ledger of accounts: every Unix name and uid that an employee was ever given. Neither is given to another
//! person, also after a removal, because files of the first one may still be on a machine.

pub mod service;
pub mod store;

use kbmfa_proto::names::MachineName;
use std::fmt;
use std::str::FromStr;

use super::account::check_uid;

/// The uids that the server gives out: `20000-59999`, with both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uids {
    first: u32,
    last: u32,
}

/// A text that is not a range of uids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a range such as \"20000-59999\", of uids from 1000 to 2000000000 and without 65534 and 65535, which \
     mean nobody"
)]
pub struct BadUids;

impl Uids {
    /// True if the uid is in the range.
    pub fn contains(self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }

    /// The lowest uid of the range.
    pub fn first(self) -> u32 {
        self.first
    }

    /// The highest uid of the range.
    pub fn last(self) -> u32 {
        self.last
    }
}

impl Default for Uids {
    /// Above the accounts that `useradd` makes by itself, below those of containers and directories.
    fn default() -> Self {
        Self { first: 20_000, last: 59_999 }
    }
}

impl fmt::Display for Uids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for Uids {
    type Err = BadUids;
    fn from_str(text: &str) -> Result<Self, BadUids> {
        let (first, last) = text.split_once('-').ok_or(BadUids)?;
        let uid = |text: &str| text.trim().parse::<u32>().map_err(|_| BadUids);
        let uids = Self { first: uid(first)?, last: uid(last)? };
        let ends = check_uid(uids.first).is_ok() && check_uid(uids.last).is_ok();
        let is_range = uids.first <= uids.last && !uids.contains(65_534) && !uids.contains(65_535);
        if ends && is_range { Ok(uids) } else { Err(BadUids) }
    }
}

/// The highest uid of the range that a machine has reported in a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The uid.
    pub uid: u32,
    /// The machine that reported it.
    pub machine: MachineName,
}

/// No uid of the range is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsedUp {
    /// The highest one was given to somebody.
    #[error(
        "the range of uids {0} is used up; give the server a higher one: uids in [roster] of server.toml"
    )]
    Given(Uids),
    /// A machine has reported the highest one.
    #[error(
        "no uid of the range {uids} is left, because machine {} has reported uid {}: look there whose account that \
         is, then give the server another range (uids in [roster] of server.toml), or the person a uid that you \
         choose (--uid)", seen.machine, seen.uid
    )]
    Seen {
        /// The range.
        uids: Uids,
        /// The report.
        seen: Seen,
    },
}

/// The next uid: the lowest of the range above everything that was given or seen. Uids below are never given
/// again, not even those that seem free: somebody may have had them before a backup was restored.
///
/// `given` and `seen` are the highest of the range.
///
/// # Errors
/// [`UsedUp`].
pub fn next(uids: Uids, given: Option<u32>, seen: Option<&Seen>) -> Result<u32, UsedUp> {
    let highest = given.max(seen.map(|seen| seen.uid));
    let next = highest.map_or(uids.first, |highest| highest.saturating_add(1)).max(uids.first);
    match (uids.contains(next), seen) {
        (true, _) => Ok(next),
        (false, Some(seen)) if Some(seen.uid) > given => Err(UsedUp::Seen { uids, seen: seen.clone() }),
        (false, _) => Err(UsedUp::Given(uids)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(uid: u32) -> Seen {
        Seen { uid, machine: "web1".parse().unwrap() }
    }

    #[test]
    fn a_range_of_uids_is_read_and_printed_alike() {
        for text in ["20000-59999", "1000-1000", "70000-2000000000"] {
            assert_eq!(text.parse::<Uids>().unwrap().to_string(), text);
        }
        assert_eq!("20000-59999".parse(), Ok(Uids::default()));
        for bad in
            ["", "20000", "2-1", "999-2000", "59999-20000", "60000-70000", "1-2-3", "a-b", "20000-4294967295"]
        {
            assert_eq!(bad.parse::<Uids>(), Err(BadUids), "{bad}");
        }
    }

    #[test]
    fn a_used_up_range_names_the_machine_that_reported_the_high_uid() {
        let uids: Uids = "20000-20009".parse().unwrap();
        assert_eq!(next(uids, Some(20_009), None), Err(UsedUp::Given(uids)));
        assert_eq!(next(uids, Some(20_009), Some(&seen(20_003))), Err(UsedUp::Given(uids)));
        let told = next(uids, Some(20_001), Some(&seen(20_009))).unwrap_err().to_string();
        assert!(told.contains("machine web1 has reported uid 20009"), "{told}");
    }

    proptest! {
        #[test]
        fn a_uid_is_never_given_twice_nor_at_or_below_one_that_was_seen(
            steps in prop::collection::vec(prop::option::of(20_000_u32..20_040), 1..60),
        ) {
            let uids: Uids = "20000-20039".parse().unwrap();
            let (mut given, mut highest_seen) = (Vec::new(), None);
            for step in steps {
                if step.is_some() {
                    highest_seen = highest_seen.max(step);
                    continue;
                }
                let reported = highest_seen.map(seen);
                match next(uids, given.iter().copied().max(), reported.as_ref()) {
                    Ok(uid) => {
                        prop_assert!(uids.contains(uid) && !given.contains(&uid));
                        prop_assert!(highest_seen.is_none_or(|seen| uid > seen));
                        given.push(uid);
                    }
                    Err(_) => prop_assert!(given.contains(&uids.last()) || highest_seen == Some(uids.last())),
                }
            }
        }
    }
}
