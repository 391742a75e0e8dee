//! One rule: which logins it matches, and its terms. Pure.

use kbmfa_proto::names::{MachineName, PoolName, UserName};
use std::fmt;
use std::time::Duration;

use super::{Approvers, Channel};
use crate::source::{Address, Range};

/// One `[[policy.rule]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The line of the configuration file on which the rule begins, for explanations.
    pub line: usize,
    /// Which logins it matches.
    pub scope: Scope,
    /// What it does with them.
    pub says: Says,
}

impl Rule {
    /// Whether the rule matches a login. An exemption must match the account's own name. A rule that asks may
    /// match the other name of the same uid instead.
    ///
    /// # Errors
    /// The first list that does not match.
    pub fn fits(&self, login: &Subject) -> Result<(), Mismatch> {
        match self.says {
            Says::Exempt if login.also.is_some() => self.scope.fits(&Subject { also: None, ..login.clone() }),
            Says::Exempt | Says::Ask(_) => self.scope.fits(login),
        }
    }
}

/// Which logins a rule matches. A login must match every list that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The machine must be in one of these pools.
    pub pools: Vec<PoolName>,
    /// Machines.
    pub machines: Vec<MachineName>,
    /// Unix accounts.
    pub users: Vec<UserName>,
    /// PAM services.
    pub services: Vec<String>,
    /// Ranges of source addresses. A login without an address matches none.
    pub from: Vec<Range>,
}

/// The effect of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Approve without asking.
    Exempt,
    /// Ask, on these terms.
    Ask(Terms),
}

/// Who is asked, where, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Who may answer.
    pub approvers: Approvers,
    /// The channels in which people are asked and answers count. Never empty.
    pub channels: Vec<Channel>,
    /// The channels that take over while none of `channels` works.
    pub channels_when_down: Vec<Channel>,
    /// Time until the login expires without an answer.
    pub window: Duration,
    /// The destination of asks in the chat, such as `acme#general`.
    pub destination: String,
}

/// The part of a login that rules match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The machine.
    pub machine: MachineName,
    /// The pools that it is in.
    pub pools: Vec<PoolName>,
    /// The Unix account: its name in the machine's name service; `root` if its uid is 0.
    pub user: UserName,
    /// Another account name with the same uid.
    pub also: Option<UserName>,
    /// The PAM service.
    pub service: String,
    /// The source address, if the source is an address.
    pub from: Option<Address>,
}

/// The list of a rule that a login does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// The machine is in none of its pools.
    Pools,
    /// It is for other machines.
    Machines,
    /// It is for other users.
    Users,
    /// It is for other services.
    Services,
    /// It is for other source addresses.
    From,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pools => "the machine is in none of its pools",
            Self::Machines => "it is for other machines",
            Self::Users => "it is for other users",
            Self::Services => "it is for other services",
            Self::From => "it is for other source addresses",
        })
    }
}

impl Scope {
    /// Whether a login matches.
    ///
    /// # Errors
    /// The first list that does not match.
    pub fn fits(&self, login: &Subject) -> Result<(), Mismatch> {
        let checks = [
            (Mismatch::Pools, fits_any(&self.pools, |pool| login.pools.contains(pool))),
            (Mismatch::Machines, fits_any(&self.machines, |machine| *machine == login.machine)),
            (
                Mismatch::Users,
                fits_any(&self.users, |user| *user == login.user || Some(user) == login.also.as_ref()),
            ),
            (Mismatch::Services, fits_any(&self.services, |service| *service == login.service)),
            (
                Mismatch::From,
                fits_any(&self.from, |range| login.from.is_some_and(|from| range.contains(from))),
            ),
        ];
        checks.into_iter().find(|(_, fits)| !fits).map_or(Ok(()), |(mismatch, _)| Err(mismatch))
    }

    /// True if every login that matches `other` also matches this scope.
    pub fn covers(&self, other: &Self) -> bool {
        within(&other.pools, &self.pools, PartialEq::eq)
            && within(&other.machines, &self.machines, PartialEq::eq)
            && within(&other.users, &self.users, PartialEq::eq)
            && within(&other.services, &self.services, PartialEq::eq)
            && within(&other.from, &self.from, |range, wider| wider.covers(range))
    }
}

fn fits_any<T>(list: &[T], fits: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(fits)
}

/// True if `outer` accepts everything that `inner` accepts. An empty list accepts everything.
fn within<T>(inner: &[T], outer: &[T], is_in: impl Fn(&T, &T) -> bool) -> bool {
    outer.is_empty()
        || (!inner.is_empty() && inner.iter().all(|item| outer.iter().any(|wider| is_in(item, wider))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope(text: &str) -> Scope {
        let mut scope = Scope::default();
        for (list, item) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
            match list {
                "pool" => scope.pools.push(item.parse().unwrap()),
                "machine" => scope.machines.push(item.parse().unwrap()),
                "user" => scope.users.push(item.parse().unwrap()),
                "service" => scope.services.push(item.to_owned()),
                _ => scope.from.push(item.parse().unwrap()),
            }
        }
        scope
    }

    fn alice_on_web1(from: Option<&str>) -> Subject {
        Subject {
            machine: "web1".parse().unwrap(),
            pools: vec!["web".parse().unwrap()],
            user: "alice".parse().unwrap(),
            also: None,
            service: "sshd".into(),
            from: from.map(|from| from.parse().unwrap()),
        }
    }

    #[test]
    fn a_login_must_fit_every_list_that_is_there() {
        let check = |rule: &str, from: Option<&str>, expected: Result<(), Mismatch>| {
            assert_eq!(scope(rule).fits(&alice_on_web1(from)), expected, "{rule}");
        };
        check("", None, Ok(()));
        check("pool=web", None, Ok(()));
        check("pool=db pool=web", None, Ok(()));
        check("pool=db", None, Err(Mismatch::Pools));
        check("machine=web1 user=alice service=sshd", None, Ok(()));
        check("machine=web2", None, Err(Mismatch::Machines));
        check("user=bob", None, Err(Mismatch::Users));
        check("user=alice service=sudo", None, Err(Mismatch::Services));
        check("from=192.0.2.0/24", Some("192.0.2.7"), Ok(()));
        check("from=192.0.2.0/24", Some("198.51.100.7"), Err(Mismatch::From));
        check("from=192.0.2.0/24", Some("2001:db8::7"), Err(Mismatch::From));
        check("from=2001:db8::/32", Some("2001:db8::7"), Ok(()));
        check("from=192.0.2.0/24", Some("::ffff:192.0.2.7"), Ok(()));
        check("from=::ffff:192.0.2.0/120", Some("192.0.2.7"), Ok(()));
        check("from=0.0.0.0/0", None, Err(Mismatch::From));
    }

    #[test]
    fn a_rule_covers_what_it_is_wider_than() {
        let check = |wide: &str, narrow: &str, expected: bool| {
            assert_eq!(scope(wide).covers(&scope(narrow)), expected, "{wide:?} {narrow:?}");
        };
        check("", "", true);
        check("", "user=alice", true);
        check("user=alice", "", false);
        check("user=alice user=bob", "user=alice", true);
        check("user=alice", "user=alice user=bob", false);
        check("user=alice", "user=alice machine=web1", true);
        check("from=10.0.0.0/8", "from=10.1.0.0/16", true);
        check("from=10.1.0.0/16", "from=10.0.0.0/8", false);
        check("pool=web", "machine=web1", false);
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        let words = [
            "pool=web",
            "pool=db",
            "machine=web1",
            "machine=web2",
            "user=alice",
            "user=bob",
            "service=sshd",
            "from=192.0.2.0/24",
            "from=192.0.2.0/28",
        ];
        prop::collection::vec(prop::sample::select(words.to_vec()), 0..4)
            .prop_map(|words| scope(&words.join(" ")))
    }

    proptest! {
        #[test]
        fn covering_is_what_it_says(wide in any_scope(), narrow in any_scope(), last in 0..32_u8) {
            let login = alice_on_web1(Some(&format!("192.0.2.{last}")));
            if wide.covers(&narrow) && narrow.fits(&login).is_ok() {
                prop_assert_eq!(wide.fits(&login), Ok(()));
            }
        }
    }
}
