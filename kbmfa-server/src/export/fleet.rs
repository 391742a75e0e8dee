//! Reads what is exported.

use std::collections::{BTreeMap, BTreeSet};

use super::Machine;
use crate::db::{Error, Tx};
use crate::machines::host_keys::store as host_keys;
use crate::machines::store as machines;
use crate::pools::store as pools;
use crate::provision::desired::render;
use crate::provision::settings::Settings;
use crate::provision::snapshot;

/// Every machine that has a record, by name, also those to which this server delivers nothing.
///
/// # Errors
/// The database failed.
pub fn read(tx: &Tx<'_>, settings: &Settings) -> Result<Vec<Machine>, Error> {
    let snapshot = snapshot::read(tx)?;
    let mut pools_of: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for pool in pools::all(tx)? {
        for machine in pool.machines {
            pools_of.entry(machine).or_default().insert(pool.name.clone());
        }
    }
    let none = Vec::new();
    let of = |machine: machines::Machine| {
        let access = snapshot.access.get(&machine.id).unwrap_or(&none);
        let mut desired = render(&snapshot.roster, access, &settings.admin, tx.now);
        desired.accounts.retain(|_, account| !account.lines.is_empty());
        Ok(Machine {
            pools: pools_of.remove(&machine.name).unwrap_or_default().into_iter().collect(),
            reach: host_keys::reach(tx, &machine.id)?,
            name: machine.name,
            accounts: desired.accounts,
            faults: desired.faults.iter().map(|(name, fault)| format!("{name}: {fault}")).collect(),
        })
    };
    machines::machines(tx)?.into_iter().filter(|machine| !machine.name.is_claimed()).map(of).collect()
}
