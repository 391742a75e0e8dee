//! Whose an account is, and whether it may be taken over. Pure: the same report and roster give the same result.

use kbmfa_proto::names::UserName;
use std::collections::{BTreeMap, BTreeSet};

use super::survey::{Found, FoundKey, Sudo};
use crate::employees::account::{self, BadAccount};
use crate::employees::{Email, State};
use crate::keys::State as KeyState;

/// A person, as far as a machine's accounts are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Opaque id.
    pub id: String,
    /// Their address.
    pub email: Email,
    /// The name of their account on every machine.
    pub unix_name: UserName,
    /// Their uid in the ledger.
    pub uid: Option<u32>,
    /// Whether they may log in.
    pub state: State,
    /// True if they have a grant to the machine.
    pub has_grant: bool,
    /// True if some machine has keys of theirs, so that their uid does not change any more.
    pub is_delivered: bool,
}

/// What the roster says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// By id.
    pub people: BTreeMap<String, Person>,
    /// By fingerprint: the owner's id, and whether the key counts.
    pub keys: BTreeMap<String, (String, KeyState)>,
    /// Who has or had each uid.
    pub uids: BTreeMap<u32, Email>,
    /// Accounts of this machine that were taken over already.
    pub adopted: BTreeSet<UserName>,
    /// The account by which the server reaches machines.
    pub admin: Option<UserName>,
}

/// Why an account is taken for that of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The operator says so.
    Operator,
    /// Its name and its uid are theirs.
    NameAndUid,
    /// It has an enrolled key of theirs.
    Key,
    /// Its name is theirs.
    Name,
}

/// An account that a machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'a> {
    /// The account.
    pub found: &'a Found,
    /// Whose it seems to be, and why.
    pub whose: Option<(&'a Person, By)>,
    /// Why it may not be taken over; `None` if it may.
    pub obstacle: Option<Obstacle>,
}

/// Why an account may not be taken over, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// It is root's.
    #[error("root is never taken over")]
    Root,
    /// It belongs to the system, or its name does.
    #[error(transparent)]
    System(BadAccount),
    /// It is the one by which the server reaches machines.
    #[error("the server itself uses it")]
    Admin,
    /// This server made it.
    #[error("made by kbmfa")]
    Ours,
    /// Nobody is known to whom it could belong.
    #[error("nobody's; `employee add --unix-name {0} --uid {1}` makes a person of it")]
    Nobody(UserName, u32),
    /// Its person has an account of another name everywhere.
    #[error("has a key of {0}, whose account is called {1} on every machine")]
    OtherName(Email, UserName),
    /// Only the name fits.
    #[error("only the name fits {1}; if it is theirs: --map {0}={1}")]
    NameOnly(UserName, Email),
    /// The ledger has another uid.
    #[error("{email} has uid {ledger} in the ledger; {cure}")]
    Uid {
        /// Whose it is.
        email: Email,
        /// Their uid.
        ledger: u32,
        /// What can be done.
        cure: String,
    },
    /// Another person has the uid.
    #[error("uid {0} is or was that of {1}; change it on the machine (usermod -u)")]
    UidHeld(u32, Email),
    /// Its person may not log in.
    #[error("{0} is {1}")]
    NotActive(Email, &'static str),
    /// Its person may not go to the machine, so it would be switched off.
    #[error("{0} has no grant to this machine, so it would be switched off; `grant add` first")]
    NoGrant(Email),
    /// Who adds a key to it could have more than the person's rights.
    #[error(
        "sudoers names it or its groups, or one of these is as good as root; to allow it, write `adopt {0}` to /etc/ssh/kbmfa/policy there"
    )]
    Sudo(UserName),
}

/// Matches accounts with people. `named` are accounts whose owners the operator has named.
pub fn matches<'a>(
    found: &'a [Found],
    people: &'a People,
    named: &BTreeMap<UserName, Email>,
) -> Vec<Match<'a>> {
    let mut matches: Vec<_> = found
        .iter()
        .map(|found| {
            let whose = whose(found, people, named);
            Match { obstacle: obstacle(found, whose, people), whose, found }
        })
        .collect();
    matches.sort_by(|one, other| one.found.name.cmp(&other.found.name));
    matches.dedup_by(|one, other| one.found.name == other.found.name);
    matches
}

fn whose<'a>(
    found: &Found,
    people: &'a People,
    named: &BTreeMap<UserName, Email>,
) -> Option<(&'a Person, By)> {
    if let Some(email) = named.get(&found.name) {
        return people
            .people
            .values()
            .find(|person| person.email == *email)
            .map(|person| (person, By::Operator));
    }
    let owners: BTreeSet<&String> = found
        .keys
        .iter()
        .filter_map(|key| people.keys.get(key.fingerprint.as_ref()?))
        .filter(|(_, state)| *state == KeyState::Active)
        .map(|(owner, _)| owner)
        .collect();
    if let Some(person) = people.people.values().find(|person| person.unix_name == found.name) {
        let by = match person.uid {
            Some(uid) if uid == found.uid => By::NameAndUid,
            _ if owners.contains(&person.id) => By::Key,
            _ => By::Name,
        };
        return Some((person, by));
    }
    owners.into_iter().find_map(|owner| people.people.get(owner)).map(|person| (person, By::Key))
}

fn obstacle(found: &Found, whose: Option<(&Person, By)>, people: &People) -> Option<Obstacle> {
    let name = &found.name;
    if found.uid == 0 || name.as_str() == "root" {
        return Some(Obstacle::Root);
    }
    if people.admin.as_ref() == Some(name) {
        return Some(Obstacle::Admin);
    }
    if let Err(bad) = account::check(name).and_then(|()| account::check_uid(found.uid)) {
        return Some(Obstacle::System(bad));
    }
    if found.is_ours && !people.adopted.contains(name) {
        return Some(Obstacle::Ours);
    }
    let Some((person, by)) = whose else { return Some(Obstacle::Nobody(name.clone(), found.uid)) };
    let email = || person.email.clone();
    if person.unix_name != *name {
        return Some(Obstacle::OtherName(email(), person.unix_name.clone()));
    }
    if by == By::Name {
        return Some(Obstacle::NameOnly(name.clone(), email()));
    }
    if person.state != State::Active {
        return Some(Obstacle::NotActive(email(), person.state.as_str()));
    }
    if let Some(ledger) = person.uid.filter(|uid| *uid != found.uid) {
        let cure = if person.is_delivered {
            format!("change it on the machine (usermod -u {ledger} {name}), or leave the account as it is")
        } else {
            format!("nothing is delivered yet: `employee set {} --uid {}` first", person.email, found.uid)
        };
        return Some(Obstacle::Uid { email: email(), ledger, cure });
    }
    if let Some(holder) = people.uids.get(&found.uid).filter(|holder| **holder != person.email) {
        return Some(Obstacle::UidHeld(found.uid, holder.clone()));
    }
    if !person.has_grant {
        return Some(Obstacle::NoGrant(email()));
    }
    (found.sudo == Sudo::Known).then(|| Obstacle::Sudo(name.clone()))
}

/// What the roster says of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Judged {
    /// An active key.
    #[error("enrolled by {0}")]
    Enrolled(Email),
    /// A key that waits for an approval.
    #[error("of {0}, waits for `key approve`")]
    Pending(Email),
    /// A key that was revoked.
    #[error("revoked")]
    Revoked,
    /// An enrolled key of somebody who was removed.
    #[error("of somebody who was removed")]
    Gone,
    /// Nobody has enrolled it.
    #[error("not enrolled")]
    Unknown,
    /// Nobody has enrolled it, and its options would be lost.
    #[error("not enrolled; has options, and is not imported")]
    Options,
    /// It would not be accepted.
    #[error("{0}")]
    Refused(String),
}

/// What the roster says of a key.
pub fn judge(key: &FoundKey, people: &People) -> Judged {
    let (None, Some(fingerprint)) = (&key.refused, &key.fingerprint) else {
        return Judged::Refused(key.refused.clone().unwrap_or_default());
    };
    match people.keys.get(fingerprint) {
        Some((_, KeyState::Revoked)) => Judged::Revoked,
        Some((owner, state)) => match (people.people.get(owner), state) {
            (Some(person), KeyState::Active) => Judged::Enrolled(person.email.clone()),
            (Some(person), _) => Judged::Pending(person.email.clone()),
            (None, _) => Judged::Gone,
        },
        None if key.has_options => Judged::Options,
        None => Judged::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::survey::File;
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn found(name: &str, uid: u32, keys: &[&str]) -> Found {
        let key = |fingerprint: &&str| FoundKey {
            line: Some("k".to_owned()),
            fingerprint: Some((*fingerprint).to_owned()),
            comment: "".into(),
            has_options: false,
            refused: None,
        };
        Found {
            name: name.parse().unwrap(),
            uid,
            shell: "/bin/sh".into(),
            is_ours: false,
            sudo: Sudo::Unknown,
            file: File::Read,
            keys: keys.iter().map(key).collect(),
            untold: 0,
        }
    }

    fn person(name: &str, uid: Option<u32>) -> Person {
        Person {
            id: format!("id-{name}"),
            email: format!("{name}@x").parse().unwrap(),
            unix_name: name.parse().unwrap(),
            uid,
            state: State::Active,
            has_grant: true,
            is_delivered: false,
        }
    }

    fn people(all: Vec<Person>, keys: &[(&str, &str)]) -> People {
        People {
            uids: all.iter().filter_map(|person| Some((person.uid?, person.email.clone()))).collect(),
            people: all.into_iter().map(|person| (person.id.clone(), person)).collect(),
            keys: keys
                .iter()
                .map(|(key, of)| ((*key).to_owned(), (format!("id-{of}"), KeyState::Active)))
                .collect(),
            adopted: BTreeSet::new(),
            admin: Some("ssh-admin".parse().unwrap()),
        }
    }

    /// What is said of the only account.
    fn said(found: Found, people: &People, named: &[(&str, &str)]) -> String {
        let named =
            named.iter().map(|(name, email)| (name.parse().unwrap(), email.parse().unwrap())).collect();
        let found = [found];
        let matches = matches(&found, people, &named);
        matches[0].obstacle.as_ref().map_or_else(|| "yes".to_owned(), ToString::to_string)
    }

    #[test]
    fn a_name_alone_is_no_proof_but_the_uid_a_key_or_the_operator_is() {
        let all = people(vec![person("dora", Some(1001)), person("emil", None)], &[("k1", "emil")]);
        assert_eq!(said(found("dora", 1001, &[]), &all, &[]), "yes");
        assert!(said(found("emil", 1002, &[]), &all, &[]).contains("--map emil=emil@x"));
        assert_eq!(said(found("emil", 1002, &["k1"]), &all, &[]), "yes");
        assert_eq!(said(found("emil", 1002, &[]), &all, &[("emil", "emil@x")]), "yes");
        assert!(said(found("emil", 1001, &["k1"]), &all, &[]).contains("uid 1001 is or was that of dora@x"));
        assert!(said(found("dora", 1009, &["k1"]), &all, &[]).contains("--map dora=dora@x"), "emil's key");
        let told = said(found("dora", 1009, &[]), &all, &[("dora", "dora@x")]);
        assert!(told.contains("employee set dora@x --uid 1009"), "{told}");
        assert!(said(found("web", 1003, &["k1"]), &all, &[]).contains("called emil"));
        assert!(said(found("web", 1003, &[]), &all, &[("web", "emil@x")]).contains("called emil"));
        assert!(said(found("web", 1003, &[]), &all, &[]).contains("--unix-name web --uid 1003"));
    }

    #[test]
    fn an_account_that_would_be_switched_off_or_that_sudoers_knows_is_not_taken_over() {
        let mut all = people(vec![person("dora", Some(1001))], &[]);
        let mut account = found("dora", 1001, &[]);
        account.sudo = Sudo::Known;
        assert!(said(account.clone(), &all, &[]).contains("adopt dora"));
        account.sudo = Sudo::Allowed;
        assert_eq!(said(account.clone(), &all, &[]), "yes");
        account.is_ours = true;
        assert_eq!(said(account.clone(), &all, &[]), "made by kbmfa");
        all.adopted.insert("dora".parse().unwrap());
        assert_eq!(said(account, &all, &[]), "yes", "again, after an interruption");
        all.people.values_mut().for_each(|person| person.has_grant = false);
        assert!(said(found("dora", 1001, &[]), &all, &[]).contains("no grant"));
        all.people.values_mut().for_each(|person| person.state = State::Suspended);
        assert!(said(found("dora", 1001, &[]), &all, &[]).contains("is suspended"));
    }

    fn accounts() -> impl Strategy<Value = Vec<Found>> {
        let name = select(vec!["root", "ssh-admin", "www-data", "a", "b", "c", "d"]);
        let uid = select(vec![0_u32, 33, 999, 1000, 1001, 1002, 65_534]);
        let keys = prop::collection::vec(select(vec!["k1", "k2", "k3"]), 0..3);
        prop::collection::vec((name, uid, keys).prop_map(|(name, uid, keys)| found(name, uid, &keys)), 0..8)
    }

    fn rosters() -> impl Strategy<Value = People> {
        let names = prop::collection::btree_map(
            select(vec!["root", "ssh-admin", "www-data", "a", "b", "c"]),
            prop::option::of(select(vec![0_u32, 999, 1000, 1001, 1002])),
            0..5,
        );
        let keys = prop::collection::vec((select(vec!["k1", "k2", "k3"]), select(vec!["a", "b", "c"])), 0..3);
        (names, keys).prop_map(|(names, keys)| {
            people(names.into_iter().map(|(name, uid)| person(name, uid)).collect(), &keys)
        })
    }

    proptest! {
        #[test]
        fn neither_the_system_nor_root_nor_ssh_admin_is_taken_over_and_nobody_gets_two_accounts(
            found in accounts(),
            people in rosters(),
            map in prop::collection::btree_map(
                select(vec!["root", "ssh-admin", "a", "b", "d"]), select(vec!["a@x", "b@x", "root@x"]), 0..3),
        ) {
            let named: BTreeMap<UserName, Email> =
                map.into_iter().map(|(name, email)| (name.parse().unwrap(), email.parse().unwrap())).collect();
            let (mut accounts, mut persons) = (BTreeSet::new(), BTreeSet::new());
            for one in matches(&found, &people, &named) {
                prop_assert!(accounts.insert(one.found.name.clone()), "an account twice");
                if one.obstacle.is_none() {
                    let (person, by) = one.whose.unwrap();
                    prop_assert!(one.found.uid >= 1000 && one.found.uid != 65_534);
                    prop_assert!(!["root", "ssh-admin", "www-data"].contains(&one.found.name.as_str()));
                    prop_assert!(persons.insert(person.id.clone()), "a person twice");
                    prop_assert!(by != By::Name && person.uid.is_none_or(|uid| uid == one.found.uid));
                }
            }
        }

        #[test]
        fn the_order_of_a_report_does_not_matter(found in accounts(), people in rosters()) {
            let mut once = BTreeMap::new();
            for account in found {
                once.entry(account.name.clone()).or_insert(account);
            }
            let forward: Vec<Found> = once.values().cloned().collect();
            let backward: Vec<Found> = once.values().rev().cloned().collect();
            prop_assert_eq!(matches(&forward, &people, &BTreeMap::new()), matches(&backward, &people, &BTreeMap::new()));
        }
    }
}
