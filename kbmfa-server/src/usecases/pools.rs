//! Actions on pools: each function is one action inside the caller's transaction, with its audit event.

use kbmfa_proto::names::{MachineName, PoolName};

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
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

/// Removes machines from a pool. If none are given, removes the pool itself.
///
/// # Errors
/// [`Error::NoSuchPool`], [`Error::NotInPool`], or a machine that does not exist.
pub fn take_out_all(
    tx: &Tx<'_>,
    actor: &Actor,
    name: &PoolName,
    machines: &[MachineName],
) -> Result<(), Error> {
    for machine in machines {
        take_out(tx, actor, name, machine)?;
    }
    if machines.is_empty() { remove(tx, actor, name) } else { Ok(()) }
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

/// Removes a pool. Its machines are kept.
///
/// # Errors
/// [`Error::NoSuchPool`].
pub fn remove(tx: &Tx<'_>, actor: &Actor, name: &PoolName) -> Result<(), Error> {
    let pool = service::find(tx, name)?;
    store::remove(tx, &pool.id)?;
    let event = Event::new(Kind::PoolRemoved, actor.clone()).detail("pool", name);
    audit::append(tx, &event.list("machines", &pool.machines))?;
    Ok(())
}
