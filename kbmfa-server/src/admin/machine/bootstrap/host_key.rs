//! Where a machine is, and which host key it must show. A key that is not pinned yet is confirmed by a person.

use kbmfa_proto::names::MachineName;
use std::io::{self, IsTerminal as _, Write as _};

use super::super::super::Failure;
use super::{Args, Job, question};
use crate::db::Tx;
use crate::machines::host_keys::{Change, HostKey, Reach, store, words};
use crate::machines::store as machines;
use crate::provision::connection;
use crate::usecases;

/// A machine to connect to.
pub(super) struct Target {
    /// Its id, if it is known already.
    pub(super) machine_id: Option<String>,
    /// Where it is, and the keys of which it must show one.
    pub(super) reach: Reach,
}

/// The id of a machine and how it is reached, if there is one of this name.
pub(super) fn reach(tx: &Tx<'_>, name: &MachineName) -> Result<Option<(String, Reach)>, usecases::Error> {
    let Some(machine) = machines::machine_by_name(tx, name)? else { return Ok(None) };
    let reach = store::reach(tx, &machine.id)?;
    Ok(Some((machine.id, reach)))
}

/// What the options say about how it is reached.
pub(super) fn change(args: &Args) -> Change {
    Change { address: args.address.clone(), port: args.port, host_keys: Vec::new() }
}

/// Finds the machine, and has a key confirmed that is not pinned yet. Nothing is sent to the machine.
pub(super) fn find(job: &Job<'_>, name: &MachineName) -> Result<Target, Failure> {
    let known = job.db.read_blocking(|tx| reach(tx, name)).map_err(Failure::new)?;
    let (machine_id, known) = known.unzip();
    let known = known.unwrap_or(Reach { endpoint: None, host_keys: Vec::new() });
    let mut reach = change(job.args).of(&known).map_err(Failure::new)?;
    let Some(endpoint) = &reach.endpoint else {
        return Err(Failure::new(format!("machine {name} has no address")).hint("name it with --address"));
    };
    match (&job.args.host_key, reach.host_keys.as_slice()) {
        (Some(wanted), pinned)
            if !pinned.is_empty() && !pinned.iter().any(|key| key.fingerprint == *wanted) =>
        {
            return Err(Failure::new(format!("other host keys are pinned for {name}: {}", words(pinned)))
                .hint(format!(
                    "if it was reinstalled: kbmfa-server machine set {name} --host-key {wanted}"
                )));
        }
        (Some(wanted), _) => reach.host_keys = vec![HostKey::from(wanted.clone())],
        (None, []) => {
            let key = connection::shown_key(endpoint).map_err(Failure::new)?;
            reach.host_keys = vec![confirmed(job, &key, &endpoint.to_string())?];
        }
        (None, _) => {}
    }
    Ok(Target { machine_id, reach })
}

fn confirmed(job: &Job<'_>, key: &HostKey, place: &str) -> Result<HostKey, Failure> {
    let fingerprint = &key.fingerprint;
    if !job.is_alone || job.admin.json || !io::stdin().is_terminal() {
        return Err(Failure::new(format!("no host key is pinned; {place} shows {fingerprint}")).hint(
            "compare it at the machine's console, then name it: --host-key, or `machine set NAME --host-key SHA256:..`",
        ));
    }
    let algorithm = key.algorithm().unwrap_or_default();
    writeln!(io::stderr(), "{place} shows the host key\n  {fingerprint} ({algorithm})")
        .map_err(Failure::new)?;
    if question::ask("Is that the key at the machine's console?")? {
        Ok(key.clone())
    } else {
        Err(Failure::new("the host key was not confirmed; nothing was sent to the machine"))
    }
}
