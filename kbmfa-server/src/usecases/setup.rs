//! What is recorded when a machine is set up.

use kbmfa_proto::names::MachineName;

use super::{deliveries, host_keys, machines};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
use crate::deliveries::{Place, store};
use crate::machines::host_keys::{Change, HostKey};
use crate::machines::service;
use crate::machines::store as records;

/// How a machine was set up.
#[derive(Debug, Clone)]
pub struct SetUp {
    /// Where keys are written.
    pub place: Place,
    /// True if sudo allows the helper alone.
    pub by_helper: bool,
    /// The level of sudo.
    pub sudo: String,
    /// The account that was used.
    pub account: String,
    /// The address from which the connection came, as the machine may see it.
    pub source: String,
    /// The host key that the machine showed.
    pub host_key: HostKey,
    /// The steps that changed something.
    pub changed: Vec<String>,
}

/// Adds the machine if there is none of this name, and records how it is reached and recognised.
///
/// # Errors
/// Those of `machine add` and `machine set`.
pub fn pin(tx: &Tx<'_>, actor: &Actor, name: &MachineName, change: &Change) -> Result<String, super::Error> {
    if records::machine_by_name(tx, name)?.is_none() {
        let new = machines::New { name: name.clone(), pools: Vec::new(), reach: change.clone() };
        machines::add_new(tx, actor, &new)?;
    } else {
        host_keys::set(tx, actor, name, change)?;
    }
    Ok(service::find(tx, name)?.id)
}

/// Records that the machine is set up, and delivers keys to it from now on.
///
/// # Errors
/// Those of `provision enable`.
pub fn record(tx: &Tx<'_>, actor: &Actor, name: &MachineName, set_up: &SetUp) -> Result<(), super::Error> {
    let event = Event::new(Kind::MachineSetUp, actor.clone())
        .machine(name)
        .detail("account", &set_up.account)
        .detail("source", &set_up.source)
        .detail("host-key", &set_up.host_key.fingerprint)
        .detail("sudo", &set_up.sudo)
        .list("changed", &set_up.changed);
    audit::append(tx, &event)?;
    let machine = service::find(tx, name)?;
    let wanted = (set_up.place, set_up.by_helper, false);
    let present = store::of_machine(tx, &machine.id)?;
    if present.is_none_or(|present| (present.place, present.by_helper, present.leaving) != wanted) {
        deliveries::enable(tx, actor, name, set_up.place, set_up.by_helper)?;
    }
    Ok(())
}
