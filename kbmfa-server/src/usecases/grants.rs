//! Actions on grants: each function is one action inside the caller's transaction, with its audit event.

use super::Error as AnyError;
use super::accounts::ensure_uid;
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::Tx;
use crate::employees::ledger::Uids;
use crate::employees::store::Employee;
use crate::employees::{Email, service as employees};
use crate::grants::store::{self, Grant, New};
use crate::grants::{Error, State, SudoProfile, check_extension};
use crate::logins::Rules;
use crate::logins::ending::revoke_ungranted;
use crate::pools::service as pools;
use crate::random;
use kbmfa_proto::names::PoolName;

/// What a grant allows.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The sudo profile; `None` for no sudo.
    pub sudo: Option<SudoProfile>,
    /// When it ends; `None` for one without an end.
    pub ends_at: Option<Time>,
}

/// Grants a pool to an employee. A grant that has ended is replaced. An employee of before the ledger is given a
/// uid.
///
/// # Errors
/// [`Error::GrantExists`], [`Error::EndIsPast`], or an employee or pool that does not exist.
pub fn add(
    tx: &Tx<'_>,
    uids: Uids,
    actor: &Actor,
    (email, pool): (&Email, &PoolName),
    terms: &Terms,
) -> Result<(), Error> {
    let (employee, pool) = (employees::find(tx, email)?, pools::find(tx, pool)?);
    if let Some(end) = terms.ends_at.filter(|end| State::at(tx.now, Some(*end)) == State::Ended) {
        return Err(Error::EndIsPast(end));
    }
    if let Some(old) = store::find(tx, &employee.id, &pool.id)? {
        if State::at(tx.now, old.ends_at) == State::Live {
            return Err(Error::GrantExists(email.to_string(), pool.name));
        }
        remove_one(tx, actor, &employee, &old)?;
    }
    ensure_uid(tx, uids, actor, &employee, None)?;
    let (id, sudo) = (random::hex::<16>()?, terms.sudo.as_ref());
    let (employee_id, pool_id) = (employee.id.as_str(), pool.id.as_str());
    store::insert(tx, &New { id: &id, employee_id, pool_id, sudo, ends_at: terms.ends_at })?;
    let event = about(&employee, Kind::GrantAdded, actor, &pool.name);
    audit::append(tx, &event.maybe("sudo", sudo).maybe("until", terms.ends_at))?;
    Ok(())
}

/// Puts off the end of a grant, also of one that has ended. `None` is a grant without an end.
///
/// # Errors
/// [`Error::NoSuchGrant`], [`Error::EndIsPast`], [`Error::EndsLater`].
pub fn extend(
    tx: &Tx<'_>,
    actor: &Actor,
    (email, pool): (&Email, &PoolName),
    ends_at: Option<Time>,
) -> Result<(), Error> {
    let (employee, pool) = (employees::find(tx, email)?, pools::find(tx, pool)?);
    let found = store::find(tx, &employee.id, &pool.id)?;
    let grant = found.ok_or_else(|| Error::NoSuchGrant(email.to_string(), pool.name.clone()))?;
    check_extension(tx.now, grant.ends_at, ends_at)?;
    store::set_end(tx, &grant.id, ends_at)?;
    let end = |end: Option<Time>| end.map_or_else(|| "-".to_owned(), |end| end.to_string());
    let event = about(&employee, Kind::GrantExtended, actor, &pool.name).maybe("sudo", grant.sudo.as_ref());
    audit::append(tx, &event.detail("before", end(grant.ends_at)).detail("after", end(ends_at)))?;
    Ok(())
}

/// Replaces a grant by one with other terms.
///
/// # Errors
/// [`Error::NoSuchGrant`], [`Error::EndIsPast`].
pub fn replace(
    tx: &Tx<'_>,
    uids: Uids,
    actor: &Actor,
    (email, pool): (&Email, &PoolName),
    terms: &Terms,
) -> Result<(), Error> {
    let (employee, known) = (employees::find(tx, email)?, pools::find(tx, pool)?);
    let found = store::find(tx, &employee.id, &known.id)?;
    let old = found.ok_or_else(|| Error::NoSuchGrant(email.to_string(), pool.clone()))?;
    if let Some(end) = terms.ends_at.filter(|end| State::at(tx.now, Some(*end)) == State::Ended) {
        return Err(Error::EndIsPast(end));
    }
    remove_one(tx, actor, &employee, &old)?;
    add(tx, uids, actor, (email, pool), terms)
}

/// Removes a grant. Where grants are required, the logins that wait because of it are refused; returns how many.
///
/// # Errors
/// [`Error::NoSuchGrant`], or an employee or pool that does not exist.
pub fn remove(
    tx: &Tx<'_>,
    rules: &Rules,
    actor: &Actor,
    (email, pool): (&Email, &PoolName),
) -> Result<usize, AnyError> {
    let (employee, pool) = (employees::find(tx, email)?, pools::find(tx, pool)?);
    let grant = store::find(tx, &employee.id, &pool.id)?;
    let grant = grant.ok_or_else(|| Error::NoSuchGrant(email.to_string(), pool.name.clone()))?;
    remove_one(tx, actor, &employee, &grant)?;
    Ok(revoke_ungranted(tx, rules, actor)?)
}

/// Removes all grants of a list of one employee, or to one pool.
pub(super) fn remove_all(tx: &Tx<'_>, actor: &Actor, grants: &[Grant]) -> Result<(), Error> {
    for grant in grants {
        if let Some(employee) = crate::employees::store::by_id(tx, &grant.employee_id)? {
            remove_one(tx, actor, &employee, grant)?;
        }
    }
    Ok(())
}

fn remove_one(tx: &Tx<'_>, actor: &Actor, employee: &Employee, grant: &Grant) -> Result<(), Error> {
    store::remove(tx, &grant.id)?;
    let event = about(employee, Kind::GrantRemoved, actor, &grant.pool);
    audit::append(tx, &event.maybe("sudo", grant.sudo.as_ref()).maybe("until", grant.ends_at))?;
    Ok(())
}

fn about(employee: &Employee, kind: Kind, actor: &Actor, pool: &PoolName) -> Event {
    let event = Event { user: Some(employee.unix_name.clone()), ..Event::new(kind, actor.clone()) };
    event.detail("email", &employee.email).detail("pool", pool)
}
