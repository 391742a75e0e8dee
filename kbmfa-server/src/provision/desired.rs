//! What a machine should have: a pure function of the roster and the time. The same input gives the same bytes.

use kbmfa_proto::key::PublicKey;
use kbmfa_proto::names::UserName;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::files;
use super::revoked::Revoked;
use crate::clock::Time;
use crate::deliveries::Place;
use crate::deliveries::store::adoptions::Adoption;
use crate::employees::account;
use crate::grants::SudoProfile;
use crate::random::to_hex;

/// A person, as far as machines are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Opaque id.
    pub employee_id: String,
    /// The account.
    pub unix_name: UserName,
    /// From the ledger; `None` for an employee who never had a grant.
    pub uid: Option<u32>,
    /// False while suspended, and after a removal.
    pub active: bool,
    /// Their active keys.
    pub keys: Vec<Key>,
}

/// An active key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Opaque id, which becomes the comment.
    pub id: String,
    /// `algorithm base64`.
    pub line: String,
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

/// A grant to one of the machine's pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose.
    pub employee_id: String,
    /// The sudo profile.
    pub sudo: Option<SudoProfile>,
    /// When it ends.
    pub ends_at: Option<Time>,
}

/// All that is known about who has which key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// By id.
    pub people: BTreeMap<String, Person>,
    /// Every key that was ever revoked.
    pub revoked: Arc<Revoked>,
    /// Fingerprints of those that somebody else may have.
    pub lost: BTreeSet<String>,
}

/// The fingerprints of the keys of each account.
pub type Keys = BTreeMap<UserName, BTreeSet<String>>;

/// An account that a machine should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Whose it is.
    pub employee_id: String,
    /// Its uid.
    pub uid: u32,
    /// Lines of its key file, sorted.
    pub lines: Vec<String>,
    /// Fingerprints of these keys.
    pub fingerprints: BTreeSet<String>,
    /// What it may do with sudo.
    pub sudo: BTreeSet<SudoProfile>,
    /// If others made the account and it was handed over to us: how it was then.
    pub adoption: Option<Adoption>,
}

/// What a machine should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Each account by its name.
    pub accounts: BTreeMap<UserName, Account>,
    /// The keys that the machine must refuse from everybody.
    pub revoked: Arc<Revoked>,
    /// Accounts that were taken over, and are handed back.
    pub released: BTreeSet<UserName>,
    /// Records that are not sound, each with its account. Of these accounts only revoked keys are taken away.
    pub faults: BTreeMap<UserName, Fault>,
    /// Accounts whose open sessions must not go on; see [`super::snapshot::Snapshot::desired`].
    pub ending: BTreeSet<UserName>,
}

/// Why a record is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The name of the account would not be accepted today.
    #[error("the account's name is not accepted: {0}")]
    Name(account::BadAccount),
    /// It is the account by which the server reaches machines.
    #[error(
        "the account is the one by which the server reaches machines; give the employee another Unix name"
    )]
    Admin,
    /// There is no uid in the ledger, or not one for people.
    #[error("the account has no uid, or one that is not for people; give one with `employee set --uid`")]
    Uid,
    /// A key does not parse, or is not what its fingerprint says.
    #[error("the stored key {0} is damaged; revoke it and enrol another")]
    Key(String),
    /// Two employees have this account.
    #[error("two employees have this account")]
    Shared,
}

/// Renders what a machine should have, from the grants to its pools.
pub fn render(roster: &Roster, grants: &[Access], admin: &UserName, now: Time) -> Desired {
    let mut desired = Desired { revoked: Arc::clone(&roster.revoked), ..Desired::default() };
    let live = grants.iter().filter(|grant| grant.ends_at.is_none_or(|end| now < end));
    let mut by_person: BTreeMap<&str, Vec<&Access>> = BTreeMap::new();
    for grant in live {
        by_person.entry(&grant.employee_id).or_default().push(grant);
    }
    for (id, grants) in by_person {
        let Some(person) = roster.people.get(id).filter(|person| person.active) else { continue };
        let name = person.unix_name.clone();
        let rendered = account_of(person, &grants, &roster.revoked, admin);
        if desired.faults.contains_key(&name) {
            continue;
        }
        if desired.accounts.contains_key(&name) {
            desired.accounts.remove(&name);
            desired.faults.insert(name, Fault::Shared);
            continue;
        }
        match rendered {
            Ok(account) => drop(desired.accounts.insert(name, account)),
            Err(fault) => drop(desired.faults.insert(name, fault)),
        }
    }
    desired
}

fn account_of(
    person: &Person,
    grants: &[&Access],
    revoked: &Revoked,
    admin: &UserName,
) -> Result<Account, Fault> {
    account::check(&person.unix_name).map_err(Fault::Name)?;
    if person.unix_name == *admin {
        return Err(Fault::Admin);
    }
    let uid = person.uid.filter(|uid| account::check_uid(*uid).is_ok()).ok_or(Fault::Uid)?;
    // The latest end of all grants counts, and none at all outlasts every end.
    let ends: Option<Vec<Time>> = grants.iter().map(|grant| grant.ends_at).collect();
    let end = ends.and_then(|ends| ends.into_iter().max());
    let (mut lines, mut fingerprints) = (Vec::new(), BTreeSet::new());
    for key in &person.keys {
        let parsed = PublicKey::parse(&key.line).map_err(|_| Fault::Key(key.fingerprint.clone()))?;
        if parsed.fingerprint() != key.fingerprint || parsed.line() != key.line || revoked.has_line(&key.line)
        {
            return Err(Fault::Key(key.fingerprint.clone()));
        }
        lines.push(files::key_line(&parsed, &key.id, end));
        fingerprints.insert(key.fingerprint.clone());
    }
    lines.sort();
    let sudo = grants.iter().filter_map(|grant| grant.sudo.clone()).collect();
    let employee_id = person.employee_id.clone();
    Ok(Account { employee_id, uid, lines, fingerprints, sudo, adoption: None })
}

impl Desired {
    /// Notes which accounts were handed over, or back. A machine that is leaving gets all of them back.
    pub fn adopt(&mut self, adoptions: &BTreeMap<UserName, Adoption>, is_leaving: bool) {
        for (name, adoption) in adoptions {
            if is_leaving || adoption.is_released {
                self.accounts.remove(name);
                self.released.insert(name.clone());
            } else if let Some(account) = self.accounts.get_mut(name) {
                account.adoption = Some(adoption.clone());
            }
        }
    }

    /// True if one of these keys, by account, should be there no longer. Of an account with a damaged record only what
    /// is revoked is certain.
    pub fn has_to_lose(&self, given: &Keys) -> bool {
        given.iter().any(|(name, keys)| match (self.accounts.get(name), self.faults.contains_key(name)) {
            (Some(account), _) => !keys.is_subset(&account.fingerprints),
            (None, true) => keys.iter().any(|key| self.revoked.has(key)),
            (None, false) => !keys.is_empty(),
        })
    }

    /// SHA-256 over all that is written for it: two states with the same hash need no connection between them.
    pub fn hash(&self, place: Place, profiles: &BTreeMap<SudoProfile, String>) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        };
        add(place.as_str());
        for (name, account) in &self.accounts {
            add(name.as_str());
            add(&account.uid.to_string());
            add(&files::system_file(&account.lines));
            for profile in &account.sudo {
                add(profile.as_str());
                add(&profiles
                    .get(profile)
                    .map_or_else(String::new, |text| files::sudo_file(name, profile, text)));
            }
            if let Some(adoption) = &account.adoption {
                add(if adoption.is_exclusive { "exclusive" } else { "adopted" });
            }
        }
        for name in &self.released {
            add("released");
            add(name.as_str());
        }
        add("revoked");
        self.revoked.lines().for_each(&mut add);
        if !self.ending.is_empty() {
            add("ending");
            self.ending.iter().for_each(|name| add(name.as_str()));
        }
        to_hex(&hash.finalize())
    }
}
