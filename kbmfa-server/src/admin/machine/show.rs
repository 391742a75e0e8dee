//! `machine show`: a machine, how it is reached, and its pinned host keys.

use kbmfa_proto::names::MachineName;
use serde::Serialize;

use super::super::print::{self, Column};
use super::super::{Admin, Failure};
use super::{COLUMNS, MachineRow};
use crate::machines::host_keys::{Address, HostKey, store};
use crate::machines::{Error, service};

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    machine: MachineRow,
    address: Option<Address>,
    port: Option<u16>,
    host_keys: Vec<HostKey>,
}

const KEYS: &[Column] = &[Column::whole("HOST KEY"), Column::short("ALGORITHM", 8)];

/// Runs the verb.
pub(super) fn run(admin: &Admin, name: &MachineName) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let machine = service::find(tx, name)?;
        let reach = store::reach(tx, &machine.id)?;
        Ok::<_, Error>((MachineRow::of(tx, machine)?, reach))
    });
    let (machine, reach) = found.map_err(Failure::new)?;
    let place = reach.place();
    let (address, port) = reach.endpoint.map(|endpoint| (endpoint.address, endpoint.port)).unzip();
    let shown = Shown { machine, address, port, host_keys: reach.host_keys };
    if admin.json {
        return print::print_json(&shown);
    }
    admin.print(std::slice::from_ref(&shown.machine), COLUMNS, |machine| machine.cells(admin))?;
    if shown.address.is_some() {
        print::say(&format!("\naddress: {place}"))?;
    }
    if shown.host_keys.is_empty() {
        return Ok(());
    }
    print::say("")?;
    admin.print(&shown.host_keys, KEYS, |key| {
        let algorithm = key.line.as_deref().and_then(|line| line.split(' ').next()).unwrap_or("-");
        vec![key.fingerprint.to_string(), algorithm.to_owned()]
    })
}
