//! `machine show`: a machine, how it is reached, its pinned host keys, and its quarantine.

use kbmfa_proto::names::MachineName;
use serde::Serialize;

use super::super::print::{self, Column};
use super::super::{Admin, Failure};
use super::{COLUMNS, MachineRow};
use crate::machines::host_keys::store::{self, Quarantine};
use crate::machines::host_keys::{Address, HostKey};
use crate::machines::{Error, service};

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    machine: MachineRow,
    address: Option<Address>,
    port: Option<u16>,
    host_keys: Vec<HostKey>,
    /// The keys that the machine reported last, if it is in quarantine.
    reported_host_keys: Vec<HostKey>,
}

const KEYS: &[Column] = &[Column::whole("HOST KEY"), Column::short("ALGORITHM", 8)];

/// Runs the verb.
pub(super) fn run(admin: &Admin, name: &MachineName) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let machine = service::find(tx, name)?;
        let (reach, quarantine) = (store::reach(tx, &machine.id)?, store::quarantine(tx, &machine.id)?);
        Ok::<_, Error>((MachineRow::of(tx, machine)?, reach, quarantine))
    });
    let (machine, reach, quarantine) = found.map_err(Failure::new)?;
    let place = reach.place();
    let (address, port) = reach.endpoint.map(|endpoint| (endpoint.address, endpoint.port)).unzip();
    let reported_host_keys = quarantine.map(|Quarantine { reported, .. }| reported).unwrap_or_default();
    let shown = Shown { machine, address, port, host_keys: reach.host_keys, reported_host_keys };
    if admin.json {
        return print::print_json(&shown);
    }
    admin.print(std::slice::from_ref(&shown.machine), COLUMNS, |machine| machine.cells(admin))?;
    if shown.address.is_some() {
        print::say(&format!("\naddress: {place}"))?;
    }
    print_keys(admin, "pinned host keys:", &shown.host_keys)?;
    let Some(since) = shown.machine.quarantined else { return Ok(()) };
    let head = format!("in quarantine since {}: the machine reports other host keys:", admin.time(since));
    print_keys(admin, &head, &shown.reported_host_keys)?;
    print::say(&cure(name, &shown.reported_host_keys))
}

fn print_keys(admin: &Admin, head: &str, keys: &[HostKey]) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    print::say(&format!("\n{head}"))?;
    admin
        .print(keys, KEYS, |key| vec![key.fingerprint.to_string(), key.algorithm().unwrap_or("-").to_owned()])
}

/// What ends the quarantine.
fn cure(name: &MachineName, reported: &[HostKey]) -> String {
    let keys: Vec<String> = reported.iter().map(|key| format!(" --host-key {}", key.fingerprint)).collect();
    format!(
        "hint: compare them at the machine's console (ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub). If they are \
         its own, pin them: kbmfa-server machine set {name}{} --yes; if not, somebody else has its credential: \
         kbmfa-server machine rotate {name}",
        keys.concat()
    )
}
