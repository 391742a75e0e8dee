//! `machine set`: changes a machine's address, port and pinned host keys.

use clap::Args as ClapArgs;
use kbmfa_proto::names::MachineName;
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::{Admin, Failure};
use crate::machines::host_keys::{Address, Change, Fingerprint, HostKey, distinct, known_hosts, words};
use crate::usecases::host_keys::{self as usecase, Plan};

/// Maximum number of bytes that are read of a `known_hosts` file.
const FILE_MAX: u64 = 1 << 20;

/// What to change.
#[derive(ClapArgs)]
#[command(
    after_help = "New host keys replace all pinned ones. Read them on the machine itself, at its console:
  for f in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -l -f $f; done"
)]
pub struct Args {
    /// The machine's name.
    name: MachineName,
    /// IP address or DNS name of its sshd.
    #[arg(long)]
    address: Option<Address>,
    /// Port of its sshd; 22 if none was ever named.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Fingerprint of a host key to pin, as SHA256:..; repeat it for each.
    #[arg(long = "host-key", value_name = "SHA256:..")]
    host_keys: Vec<Fingerprint>,
    /// Pin the host keys that this file, in the format that ssh-keyscan prints, has for the machine's address.
    #[arg(long, value_name = "FILE", conflicts_with = "host_keys")]
    known_hosts: Option<PathBuf>,
    /// Do it; without this, pinned host keys are not replaced, and what would change is printed.
    #[arg(long)]
    yes: bool,
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    // Read before root is given up, because only root may be able to read the file.
    let text = args.known_hosts.as_deref().map(read).transpose()?;
    let mut change = Change {
        address: args.address.clone(),
        port: args.port,
        host_keys: distinct(args.host_keys.iter().cloned().map(HostKey::from).collect()),
    };
    if change == Change::default() && text.is_none() {
        return Err(Failure::new("nothing to change; name --address, --port, --host-key or --known-hosts"));
    }
    let (_, db) = admin.open()?;
    let plan =
        |change: &Change| db.read_blocking(|tx| usecase::plan(tx, &args.name, change)).map_err(Failure::new);
    if let Some(text) = &text {
        let endpoint = plan(&change)?.after.endpoint;
        let endpoint =
            endpoint.ok_or_else(|| Failure::new("the machine has no address yet; name --address, too"))?;
        change.host_keys = known_hosts::keys_of(text, &endpoint).map_err(Failure::new)?;
    }
    let Plan { before, after, ends } = plan(&change)?;
    let replaces = !before.host_keys.is_empty() && before.host_keys != after.host_keys;
    if (replaces || ends.is_some()) && !args.yes {
        let (quarantine, reported) = match &ends {
            Some(ends) => (
                ", and end its quarantine",
                format!("\n  reported by the machine: {}", words(&ends.reported)),
            ),
            None => ("", String::new()),
        };
        return admin.preview(&format!(
            "replace the pinned host keys of machine {}{quarantine}\n  old: {}\n  new: {}{reported}\nMake sure that it \
             is the machine itself that has new keys: compare them at its console",
            args.name,
            words(&before.host_keys),
            words(&after.host_keys),
        ));
    }
    let name = args.name.clone();
    let after = admin.change("machine.set", move |tx, _, actor| usecase::set(tx, actor, &name, &change))?;
    let sentence =
        format!("machine {}: address {}, host keys {}", args.name, after.place(), words(&after.host_keys));
    let (address, port) = after.endpoint.map(|endpoint| (endpoint.address, endpoint.port)).unzip();
    let json =
        json!({ "machine": args.name, "address": address, "port": port, "host_keys": after.host_keys });
    admin.tell(&sentence, &json)
}

pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    if text.len() as u64 > FILE_MAX {
        return Err(Failure::new(format!("{} is larger than {} MiB", path.display(), FILE_MAX >> 20)));
    }
    Ok(text)
}
