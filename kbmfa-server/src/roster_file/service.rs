//! Reads the roster of the database.

use std::collections::BTreeMap;

use super::diff::Current;
use super::{Employee, Grant, Key, Machine, Pool, Roster};
use crate::db::{Error, Tx, meta};
use crate::employees::ledger::store as ledger;
use crate::employees::store as employees;
use crate::grants::{service as live, store as grants};
use crate::keys::State as KeyState;
use crate::keys::store as keys;
use crate::machines::host_keys::store as host_keys;
use crate::machines::store as machines;
use crate::pools::store as pools;

/// The id of this database's roster; `None` before it was ever exported.
pub fn server_id(tx: &Tx<'_>) -> Result<Option<String>, Error> {
    meta::get(tx, meta::SERVER_ID)
}

/// Everything that counts now. Claimed names, grants that have ended and revoked keys do not.
pub fn current(tx: &Tx<'_>) -> Result<Current, Error> {
    let people = employees::all(tx, false)?;
    let pools = pools::all(tx)?;
    let mut roster = Roster::default();
    for employee in &people {
        roster.employees.push(Employee {
            email: employee.email.clone(),
            name: employee.name.clone(),
            unix_name: employee.unix_name.clone(),
            uid: ledger::entry(tx, &employee.unix_name)?.and_then(|entry| entry.uid),
            keybase_name: employee.keybase_name.clone(),
            state: employee.state,
        });
    }
    for machine in machines::machines(tx)?.into_iter().filter(|machine| !machine.name.is_claimed()) {
        let reach = host_keys::reach(tx, &machine.id)?;
        let (address, port) = reach.endpoint.map(|endpoint| (endpoint.address, endpoint.port)).unzip();
        let its = pools.iter().filter(|pool| pool.machines.contains(&machine.name));
        let pools = its.map(|pool| pool.name.clone()).collect();
        roster.machines.push(Machine {
            name: machine.name,
            address,
            port,
            pools,
            host_keys: reach.host_keys,
        });
    }
    roster.pools = pools.into_iter().map(|pool| Pool { name: pool.name, label: pool.label }).collect();
    let live = live::live(tx, grants::all(tx)?);
    let grant = |grant: grants::Grant| Grant {
        email: grant.email,
        pool: grant.pool,
        sudo: grant.sudo,
        until: grant.ends_at,
    };
    roster.grants = live.into_iter().map(grant).collect();
    let owners: BTreeMap<&str, _> = people.iter().map(|one| (one.id.as_str(), &one.email)).collect();
    let owner = |key: &keys::Key| owners.get(key.employee_id.as_str()).map(|email| (*email).clone());
    let mut pending = BTreeMap::new();
    for key in keys::all(tx)? {
        let Some(email) = owner(&key) else { continue };
        match key.state {
            KeyState::Active => roster.keys.push(Key {
                email,
                device: key.device,
                line: key.line,
                fingerprint: key.fingerprint,
            }),
            KeyState::Pending => drop(pending.insert(key.fingerprint, email)),
            KeyState::Revoked => {}
        }
    }
    roster.sort();
    Ok(Current { roster, pending })
}
