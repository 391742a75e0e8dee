//! Actions on the passwords of employees' accounts on the machines: each function is one action inside the caller's
//! transaction, with its audit event. Neither a password nor its hash gets into an event.

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{self, Tx};
use crate::employees;
use crate::employees::password::{CryptHash, Vault};
use crate::employees::store::{self, Employee};

/// Records the hash of the password that an employee chose for their account on the machines, encrypted. It replaces an
/// earlier one.
///
/// # Errors
/// [`employees::Error::Password`] if it cannot be encrypted.
pub fn set_password(
    tx: &Tx<'_>,
    vault: &Vault,
    actor: &Actor,
    employee: &Employee,
    hash: &CryptHash,
) -> Result<(), employees::Error> {
    store::set_password(tx, &employee.id, Some(&vault.seal(&employee.id, hash)?))?;
    audit::append(tx, &about(employee, Kind::EmployeePasswordSet, actor))?;
    Ok(())
}

/// Forgets the account password of an employee. False if they have none.
///
/// # Errors
/// The database failed.
pub fn remove_password(tx: &Tx<'_>, actor: &Actor, employee: &Employee) -> Result<bool, db::Error> {
    let is_there = store::password_set_at(tx, &employee.id)?.is_some();
    if is_there {
        store::set_password(tx, &employee.id, None)?;
        audit::append(tx, &about(employee, Kind::EmployeePasswordRemoved, actor))?;
    }
    Ok(is_there)
}

fn about(employee: &Employee, kind: Kind, actor: &Actor) -> Event {
    let user = Some(employee.unix_name.clone());
    Event { user, ..Event::new(kind, actor.clone()).detail("email", &employee.email) }
}
