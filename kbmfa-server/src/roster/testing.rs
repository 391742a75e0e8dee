//! Machines for the tests of what stands above the roster.

use kbmfa_proto::names::MachineName;

use super::caller::Caller;
use super::service::{add_machine, machine};
use crate::audit::Actor;
use crate::db::testing::Fixture;

/// Enters a machine; returns the caller that it is.
pub(crate) fn enter_machine(fixture: &Fixture, name: &str) -> Caller {
    let name: MachineName = name.parse().unwrap();
    let added = name.clone();
    let entered = fixture.db.write_blocking("test", move |tx| {
        add_machine(tx, &Actor::new("console:root"), &added)?;
        machine(tx, &added)
    });
    Caller { machine_id: entered.unwrap().id, name, login: None }
}
