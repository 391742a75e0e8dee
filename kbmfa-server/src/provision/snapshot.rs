//! What the roster says at one moment, for one machine or for all.

use kbmfa_proto::names::UserName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desired::{Access, Desired, Key, Person, Roster, render};
use super::settings::Settings;
use crate::clock::Time;
use crate::db::{Error, Tx};
use crate::deliveries::store::adoptions::{self, Adoption};
use crate::deliveries::store::{self as deliveries, Delivery, Given};
use crate::employees::{State, ledger::store as ledger, store as employees};
use crate::grants::store as grants;
use crate::keys::{Reason, State as KeyState, service::servers_own, store as keys};
use crate::pools::store as pools;

/// What the roster says.
pub struct Snapshot {
    /// Who has which key.
    pub roster: Roster,
    /// The grants to each machine, by its id.
    pub access: BTreeMap<String, Vec<Access>>,
    /// Every machine to which keys are delivered.
    pub deliveries: Vec<Delivery>,
    /// The keys that machines have.
    pub given: Given,
    /// The keys that machines had, and with which sessions may still be open.
    pub gone: Given,
    /// Accounts that were handed over, by the machine's id.
    pub adoptions: BTreeMap<String, BTreeMap<UserName, Adoption>>,
    /// The time of the snapshot.
    pub now: Time,
}

/// Reads it.
///
/// # Errors
/// The database failed.
pub fn read(tx: &Tx<'_>) -> Result<Snapshot, Error> {
    let uids: BTreeMap<_, _> = ledger::uids(tx)?.into_iter().collect();
    let (mut active, mut revoked, mut lost) =
        (BTreeMap::<String, Vec<Key>>::new(), Vec::new(), BTreeSet::new());
    let own = servers_own(tx)?;
    // One that was enrolled before it was known as the server's own would lock the server out of every machine.
    for key in keys::all(tx)?.into_iter().filter(|key| !own.contains(&key.fingerprint)) {
        match key.state {
            KeyState::Active => {
                let (id, line, fingerprint) = (key.id, key.line, key.fingerprint);
                active.entry(key.employee_id).or_default().push(Key { id, line, fingerprint });
            }
            KeyState::Revoked => {
                if key.revoked_for == Some(Reason::Lost) {
                    lost.insert(key.fingerprint.clone());
                }
                revoked.push((key.line, key.fingerprint));
            }
            KeyState::Pending => {}
        }
    }
    let mut roster = Roster { revoked: Arc::new(revoked.into_iter().collect()), lost, ..Roster::default() };
    for employee in employees::all(tx, false)? {
        let uid = uids.get(&(employee.id.clone(), employee.unix_name.clone())).copied();
        let keys = active.remove(&employee.id).unwrap_or_default();
        let (employee_id, unix_name, is_active) =
            (employee.id, employee.unix_name, employee.state == State::Active);
        let person = Person { employee_id: employee_id.clone(), unix_name, uid, active: is_active, keys };
        roster.people.insert(employee_id, person);
    }
    Ok(Snapshot {
        roster,
        access: access(tx)?,
        deliveries: deliveries::all(tx)?,
        given: deliveries::given(tx)?,
        gone: deliveries::gone(tx)?,
        adoptions: adoptions::all(tx)?,
        now: tx.now,
    })
}

fn access(tx: &Tx<'_>) -> Result<BTreeMap<String, Vec<Access>>, Error> {
    let pools: BTreeMap<_, _> = pools::ids(tx)?.into_iter().collect();
    let mut of_pool: BTreeMap<String, Vec<Access>> = BTreeMap::new();
    for grant in grants::all(tx)? {
        let Some(pool) = pools.get(&grant.pool) else { continue };
        let access = Access { employee_id: grant.employee_id, sudo: grant.sudo, ends_at: grant.ends_at };
        of_pool.entry(pool.clone()).or_default().push(access);
    }
    let mut access: BTreeMap<String, Vec<Access>> = BTreeMap::new();
    for (machine, pool) in deliveries::memberships(tx)? {
        access.entry(machine).or_default().extend(of_pool.get(&pool).into_iter().flatten().cloned());
    }
    Ok(access)
}

impl Snapshot {
    /// What a machine should have. One that is leaving should have no account.
    pub fn desired(&self, delivery: &Delivery, settings: &Settings) -> Desired {
        let none = Vec::new();
        let access = self.access.get(&delivery.machine_id).filter(|_| !delivery.leaving).unwrap_or(&none);
        let mut desired = render(&self.roster, access, &settings.admin, self.now);
        if let Some(adoptions) = self.adoptions.get(&delivery.machine_id) {
            desired.adopt(adoptions, delivery.leaving);
        }
        desired.ending = self.ending(delivery, &desired, settings);
        desired
    }

    /// The accounts of a machine whose open sessions must not go on: a key of theirs was lost, or they should not be on.
    /// A pass that is confirmed forgets the keys with which these sessions were opened, so each is ended once.
    fn ending(&self, delivery: &Delivery, desired: &Desired, settings: &Settings) -> BTreeSet<UserName> {
        let known = [&self.given, &self.gone].map(|known| known.get(&delivery.machine_id));
        let known = known.into_iter().flatten().flatten();
        known
            .filter(|(name, _)| !desired.faults.contains_key(*name))
            .filter(|(name, keys)| {
                let is_on = desired.accounts.contains_key(*name) || desired.released.contains(*name);
                let is_on = is_on || self.keeps_sessions(name, settings);
                !is_on || keys.iter().any(|key| self.roster.lost.contains(key))
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// True if the sessions of an account go on when a grant ends.
    fn keeps_sessions(&self, name: &UserName, settings: &Settings) -> bool {
        let mut people = self.roster.people.values();
        !settings.end_sessions && people.any(|person| person.active && person.unix_name == *name)
    }

    /// The active people whose sessions go on when a grant ends.
    pub fn keeping_sessions(&self, settings: &Settings) -> BTreeSet<UserName> {
        let people = self.roster.people.values().filter(|person| person.active && !settings.end_sessions);
        people.map(|person| person.unix_name.clone()).collect()
    }

    /// True if a machine has a key that it should no longer have.
    pub fn has_to_lose(&self, delivery: &Delivery, desired: &Desired) -> bool {
        self.given.get(&delivery.machine_id).is_some_and(|given| desired.has_to_lose(given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::Place;

    const NOW: Time = Time::from_micros(1_800_000_000_000_000);

    fn delivery() -> Delivery {
        Delivery {
            machine_id: "m".to_owned(),
            machine: "web1".parse().unwrap(),
            place: Place::System,
            by_helper: false,
            leaving: false,
            host_id: None,
            applied: None,
            applied_at: None,
            differs_since: None,
            next_at: NOW,
            failures: 0,
            failure: None,
            hindrances: Vec::new(),
        }
    }

    fn keys(key: &str) -> Given {
        [("m".to_owned(), [("dora".parse().unwrap(), [key.to_owned()].into())].into())].into()
    }

    /// The accounts whose sessions are ended where dora is active or not, has a grant or none, and had this key.
    fn ending((active, granted): (bool, bool), lost: &[&str], end_sessions: bool, key: &str) -> usize {
        let person = Person {
            employee_id: "e".to_owned(),
            unix_name: "dora".parse().unwrap(),
            uid: Some(20_001),
            active,
            keys: Vec::new(),
        };
        let lost = lost.iter().map(|key| (*key).to_owned()).collect();
        let roster = Roster { people: [("e".to_owned(), person)].into(), lost, ..Roster::default() };
        let access = Access { employee_id: "e".to_owned(), sudo: None, ends_at: None };
        let access = granted.then(|| ("m".to_owned(), vec![access])).into_iter().collect();
        let settings = Settings { end_sessions, ..Settings::for_tests() };
        let counts = [(keys(key), Given::new()), (Given::new(), keys(key))].map(|(given, gone)| {
            let (roster, access) = (roster.clone(), BTreeMap::clone(&access));
            let snapshot = Snapshot {
                roster,
                access,
                deliveries: Vec::new(),
                given,
                gone,
                adoptions: BTreeMap::new(),
                now: NOW,
            };
            snapshot.desired(&delivery(), &settings).ending.len()
        });
        assert_eq!(counts[0], counts[1], "it does not matter whether the key is still there");
        counts[0]
    }

    #[test]
    fn sessions_end_with_a_lost_key_a_suspension_and_a_grant_and_not_with_a_key_that_was_replaced() {
        for end_sessions in [true, false] {
            assert_eq!(ending((true, true), &["SHA256:a"], end_sessions, "SHA256:a"), 1, "lost");
            assert_eq!(
                ending((true, true), &["SHA256:b"], end_sessions, "SHA256:a"),
                0,
                "replaced or retired"
            );
            assert_eq!(ending((false, true), &[], end_sessions, "SHA256:a"), 1, "suspended");
            assert_eq!(ending((false, false), &[], end_sessions, "SHA256:a"), 1, "suspended after the grant");
            assert_eq!(ending((true, false), &[], end_sessions, "SHA256:a"), usize::from(end_sessions));
            assert_eq!(
                ending((true, false), &["SHA256:a"], end_sessions, "SHA256:a"),
                1,
                "lost after the grant"
            );
        }
    }
}
