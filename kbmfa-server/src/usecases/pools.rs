//! Actions on pools: each function is one action inside the caller's transaction, with its audit event.

use kbmfa_proto::names::{MachineName, PoolName};
use kbmfa_proto::text::SafeText;

use super::{Error as AnyError, grants};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
use crate::employees::Email;
use crate::employees::ledger::Uids;
use crate::grants::Error as GrantError;
use crate::grants::store::of_pool;
use crate::logins::Rules;
use crate::logins::ending::revoke_ungranted;
use crate::machines::service as machines;
use crate::machines::store::Machine;
use crate::pools::store::{self, Pool};
use crate::pools::{Error, service};
use crate::random;

/// Creates a pool if it does not exist; true if it was created.
pub fn add(tx: &Tx<'_>, actor: &Actor, name: &PoolName) -> Result<bool, Error> {
    if store::by_name(tx, name)?.is_some() {
        return Ok(false);
    }
    store::insert(tx, &random::hex::<16>()?, name)?;
    audit::append(tx, &Event::new(Kind::PoolAdded, actor.clone()).detail("pool", name))?;
    Ok(true)
}

/// What `pool add` does in one step.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// A text for people; `None` leaves it as it is.
    pub label: Option<SafeText>,
    /// Machines to put into the pool.
    pub machines: Vec<MachineName>,
    /// Employees to grant the pool to, without sudo and without an end. Those who have a live grant keep it.
    pub employees: Vec<Email>,
}

/// Creates a pool if necessary, puts machines into it, and grants it to employees.
///
/// # Errors
/// If a machine or an employee does not exist.
pub fn fill(
    tx: &Tx<'_>,
    uids: Uids,
    actor: &Actor,
    name: &PoolName,
    contents: &Contents,
) -> Result<Pool, AnyError> {
    let pool = put_all(tx, actor, name, &contents.machines)?;
    if contents.label.is_some() && contents.label != pool.label {
        set_label(tx, actor, name, contents.label.as_ref())?;
    }
    for email in &contents.employees {
        match grants::add(tx, uids, actor, (email, name), &grants::Terms::default()) {
            Ok(()) | Err(GrantError::GrantExists(..)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(service::find(tx, name)?)
}

/// Changes a pool's label; `None` removes it.
///
/// # Errors
/// [`Error::NoSuchPool`].
pub fn set_label(tx: &Tx<'_>, actor: &Actor, name: &PoolName, label: Option<&SafeText>) -> Result<(), Error> {
    let pool = service::find(tx, name)?;
    store::set_label(tx, &pool.id, label)?;
    let text = |label: Option<&SafeText>| label.map_or_else(|| "-".to_owned(), ToString::to_string);
    let event = Event::new(Kind::PoolChanged, actor.clone()).detail("pool", name);
    audit::append(tx, &event.detail("before", text(pool.label.as_ref())).detail("after", text(label)))?;
    Ok(())
}

/// Gives a pool another name. Its machines and grants are kept; rules in the configuration are not changed.
///
/// # Errors
/// [`Error::NoSuchPool`], [`Error::PoolExists`].
pub fn rename(tx: &Tx<'_>, actor: &Actor, name: &PoolName, new_name: &PoolName) -> Result<(), Error> {
    let pool = check_rename(tx, name, new_name)?;
    store::rename(tx, &pool.id, new_name)?;
    let event = Event::new(Kind::PoolChanged, actor.clone()).detail("pool", new_name);
    audit::append(tx, &event.detail("before", name).detail("after", new_name))?;
    Ok(())
}

/// The pool, if it may have the new name. Only reads.
///
/// # Errors
/// Those of [`rename`].
pub fn check_rename(tx: &Tx<'_>, name: &PoolName, new_name: &PoolName) -> Result<Pool, Error> {
    let pool = service::find(tx, name)?;
    if store::by_name(tx, new_name)?.is_some() {
        return Err(Error::PoolExists(new_name.clone()));
    }
    Ok(pool)
}

/// Puts machines into a pool, which is created if necessary.
///
/// # Errors
/// If a machine does not exist, or its name is only claimed.
pub fn put_all(tx: &Tx<'_>, actor: &Actor, name: &PoolName, machines: &[MachineName]) -> Result<Pool, Error> {
    add(tx, actor, name)?;
    for machine in machines {
        put_in(tx, actor, name, machine)?;
    }
    service::find(tx, name)
}

/// Removes machines from a pool. If none are given, removes the pool itself, with its grants. Where grants are
/// required, the logins that wait because of it are refused.
///
/// # Errors
/// [`Error::NoSuchPool`], [`Error::NotInPool`], or a machine that does not exist.
pub fn take_out_all(
    tx: &Tx<'_>,
    rules: &Rules,
    actor: &Actor,
    name: &PoolName,
    machines: &[MachineName],
) -> Result<(), AnyError> {
    for machine in machines {
        take_out(tx, actor, name, machine)?;
    }
    if machines.is_empty() {
        remove(tx, actor, name)?;
    }
    revoke_ungranted(tx, rules, actor)?;
    Ok(())
}

/// Puts a machine into a pool; false if it was in it already.
///
/// # Errors
/// [`Error::NoSuchPool`]; [`Error::Machine`] if the machine does not exist, or its name is only claimed.
pub fn put_in(
    tx: &Tx<'_>,
    actor: &Actor,
    pool_name: &PoolName,
    machine_name: &MachineName,
) -> Result<bool, Error> {
    machines::refuse_claimed(machine_name)?;
    let (pool, machine) = (service::find(tx, pool_name)?, machines::find(tx, machine_name)?);
    let before = store::of_machine(tx, &machine.id)?;
    let added = store::put_in(tx, &pool.id, &machine.id)?;
    if added {
        record_pools(tx, Event::new(Kind::PoolMachineAdded, actor.clone()), &pool, &machine, &before)?;
    }
    Ok(added)
}

/// Removes a machine from a pool.
///
/// # Errors
/// [`Error::NotInPool`], [`Error::NoSuchPool`]; [`Error::Machine`] if the machine does not exist.
pub fn take_out(
    tx: &Tx<'_>,
    actor: &Actor,
    pool_name: &PoolName,
    machine_name: &MachineName,
) -> Result<(), Error> {
    let (pool, machine) = (service::find(tx, pool_name)?, machines::find(tx, machine_name)?);
    let before = store::of_machine(tx, &machine.id)?;
    if !store::take_out(tx, &pool.id, &machine.id)? {
        return Err(Error::NotInPool(machine_name.clone(), pool_name.clone()));
    }
    record_pools(tx, Event::new(Kind::PoolMachineRemoved, actor.clone()), &pool, &machine, &before)
}

/// Records how the machine's pools differ from `before`.
fn record_pools(
    tx: &Tx<'_>,
    event: Event,
    pool: &Pool,
    machine: &Machine,
    before: &[PoolName],
) -> Result<(), Error> {
    let after = store::of_machine(tx, &machine.id)?;
    let event = event.machine(&machine.name).detail("pool", &pool.name);
    audit::append(tx, &event.list("before", before).list("after", &after))?;
    Ok(())
}

/// Removes a pool and the grants to it. Its machines are kept.
pub(super) fn remove(tx: &Tx<'_>, actor: &Actor, name: &PoolName) -> Result<(), AnyError> {
    let pool = service::find(tx, name)?;
    grants::remove_all(tx, actor, &of_pool(tx, &pool.id)?)?;
    store::remove(tx, &pool.id)?;
    let event = Event::new(Kind::PoolRemoved, actor.clone()).detail("pool", name);
    audit::append(tx, &event.list("machines", &pool.machines))?;
    Ok(())
}
