//! Reads the roster, as far as a machine's accounts are concerned.

use kbmfa_proto::names::UserName;
use std::collections::{BTreeMap, BTreeSet};

use super::matching::{People, Person};
use super::survey::Survey;
use crate::db::{Error, Tx};
use crate::deliveries::store::{self as deliveries, adoptions};
use crate::employees::{ledger::store as ledger, store as employees};
use crate::grants::{self, store as grants_of};
use crate::keys::store as keys;
use crate::pools::store as pools;

/// Reads it, for this machine.
///
/// # Errors
/// The database failed.
pub fn read(tx: &Tx<'_>, machine_id: &str, survey: &Survey, admin: &UserName) -> Result<People, Error> {
    let ids: BTreeMap<_, _> = pools::ids(tx)?.into_iter().collect();
    let here: BTreeSet<String> = deliveries::memberships(tx)?
        .into_iter()
        .filter(|(machine, _)| machine == machine_id)
        .map(|(_, pool)| pool)
        .collect();
    let granted: BTreeSet<String> = grants_of::all(tx)?
        .into_iter()
        .filter(|grant| grants::State::at(tx.now, grant.ends_at) != grants::State::Ended)
        .filter(|grant| ids.get(&grant.pool).is_some_and(|pool| here.contains(pool)))
        .map(|grant| grant.employee_id)
        .collect();
    let uids: BTreeMap<_, _> = ledger::uids(tx)?.into_iter().collect();
    let delivered = deliveries::delivered_accounts(tx)?;
    let mut people = People { admin: Some(admin.clone()), ..People::default() };
    for employee in employees::all(tx, false)? {
        let person = Person {
            uid: uids.get(&(employee.id.clone(), employee.unix_name.clone())).copied(),
            has_grant: granted.contains(&employee.id),
            is_delivered: delivered.contains(&employee.unix_name),
            id: employee.id.clone(),
            email: employee.email,
            unix_name: employee.unix_name,
            state: employee.state,
        };
        people.people.insert(employee.id, person);
    }
    for key in keys::all(tx)? {
        people.keys.insert(key.fingerprint, (key.employee_id, key.state));
    }
    for account in &survey.accounts {
        if let Some(holder) = ledger::holder_of_uid(tx, account.uid)? {
            people.uids.insert(account.uid, holder);
        }
    }
    let adopted = adoptions::of_machine(tx, machine_id)?;
    people.adopted = adopted.into_iter().filter(|(_, one)| !one.is_released).map(|(name, _)| name).collect();
    Ok(people)
}
