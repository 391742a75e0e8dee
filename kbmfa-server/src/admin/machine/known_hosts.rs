//! `machine known-hosts`: the pinned host keys as ssh reads them.

use clap::Args as ClapArgs;
use kbmfa_proto::names::{MachineName, PoolName};
use serde_json::json;

use super::super::{Admin, Failure};
use crate::db::Tx;
use crate::machines::host_keys::known_hosts::render;
use crate::machines::host_keys::{Reach, store as host_keys};
use crate::machines::store;
use crate::pools::{self, service as pool};

/// The machines.
#[derive(ClapArgs)]
#[command(after_help = "Example, for every user of a computer:
  kbmfa-server machine known-hosts > /etc/ssh/ssh_known_hosts
Only machines with an address are in it.")]
pub struct Args {
    /// The machines' names; all machines, if none is named.
    #[arg(conflicts_with = "pool")]
    names: Vec<MachineName>,
    /// Only the machines of this pool.
    #[arg(long)]
    pool: Option<PoolName>,
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let text = render(&db.read_blocking(|tx| found(tx, args)).map_err(Failure::new)?);
    admin.tell(text.trim_end(), &json!({ "known_hosts": text }))
}

fn found(tx: &Tx<'_>, args: &Args) -> Result<Vec<(MachineName, Reach)>, pools::Error> {
    let mut wanted = args.names.clone();
    if let Some(name) = &args.pool {
        wanted = pool::find(tx, name)?.machines;
    } else if wanted.is_empty() {
        wanted = store::machines(tx)?.into_iter().map(|machine| machine.name).collect();
    }
    let reach = |name: MachineName| {
        let machine = crate::machines::service::find(tx, &name)?;
        Ok((name, host_keys::reach(tx, &machine.id)?))
    };
    wanted.into_iter().map(reach).collect()
}
