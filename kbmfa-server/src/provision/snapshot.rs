//! What the roster says at one moment, for one machine or for all.

use std::collections::BTreeMap;

use super::desired::{Access, Desired, Key, Person, Roster, render};
use super::settings::Settings;
use crate::clock::Time;
use crate::db::{Error, Tx};
use crate::deliveries::store::{self as deliveries, Delivery, Given};
use crate::employees::{State, ledger::store as ledger, store as employees};
use crate::grants::store as grants;
use crate::keys::{State as KeyState, store as keys};
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
    /// The time of the snapshot.
    pub now: Time,
}

/// Reads it.
///
/// # Errors
/// The database failed.
pub fn read(tx: &Tx<'_>) -> Result<Snapshot, Error> {
    let uids: BTreeMap<_, _> = ledger::uids(tx)?.into_iter().collect();
    let (mut active, mut roster) = (BTreeMap::<String, Vec<Key>>::new(), Roster::default());
    for key in keys::all(tx)? {
        match key.state {
            KeyState::Active => {
                let (id, line, fingerprint) = (key.id, key.line, key.fingerprint);
                active.entry(key.employee_id).or_default().push(Key { id, line, fingerprint });
            }
            KeyState::Revoked => drop(roster.revoked.insert(key.line)),
            KeyState::Pending => {}
        }
    }
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
        render(&self.roster, access, &settings.admin, self.now)
    }

    /// True if a machine has a key that it should no longer have.
    pub fn has_to_lose(&self, delivery: &Delivery, desired: &Desired) -> bool {
        let given = self.given.get(&delivery.machine_id).into_iter().flatten();
        given.into_iter().any(|(name, keys)| {
            let wanted = desired.accounts.get(name).map(|account| &account.fingerprints);
            !desired.faults.contains_key(name)
                && keys.iter().any(|key| wanted.is_none_or(|wanted| !wanted.contains(key)))
        })
    }
}
