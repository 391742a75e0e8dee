//! `provision ..`: deliver accounts and keys to machines, and see what is not confirmed yet.

mod live;
mod password;
mod status;

use clap::Subcommand;
use kbmfa_proto::names::MachineName;
use serde_json::json;
use std::path::Path;

use super::{Admin, Failure};
use crate::deliveries::{Error, Place, service};
use crate::provision::{self, admin_key, key_file, roster_key};
use crate::usecases::deliveries;

pub(super) use live::{Targets, check};

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Deliver keys to a machine from now on. It needs an address, a pinned host key, and ssh-admin with sudo.
    Enable {
        /// The machine's name.
        machine: MachineName,
        /// Where the keys are written: `system` is /etc/ssh/kbmfa/keys/NAME, which sshd's `AuthorizedKeysFile` must
        /// name; `home` is a marked block in `~/.ssh/authorized_keys`.
        #[arg(long, value_enum)]
        keys: Place,
        /// sudo allows ssh-admin the installed helper alone.
        #[arg(long)]
        by_helper: bool,
    },
    /// Take all accounts and keys off a machine again, and deliver none from then on.
    Disable {
        /// The machine's name.
        machine: MachineName,
        /// Leave everything on the machine as it is.
        #[arg(long)]
        keep: bool,
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
    /// Print the line by which a machine lets the server in: for ssh-admin's `authorized_keys`.
    Key,
    /// Print the line of /etc/ssh/kbmfa/signers, by which a machine obeys this server's signed orders alone.
    Signers,
    /// Print the helper, the only program that sudo has to allow ssh-admin on a machine, as
    /// /usr/local/libexec/kbmfa-helper.
    Helper,
    /// Set the password that sudo asks ssh-admin for on a machine; from a file, or from standard input.
    SudoPassword(password::Args),
    /// Show what each machine was given, and what is not confirmed.
    Status,
    /// Connect to machines and print what would change. Exits 0 for nothing, 2 for changes.
    Plan(Targets),
    /// Give machines now what they should have, and show how it went.
    Run(live::RunArgs),
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Enable { machine, keys, by_helper } => enable(admin, &machine, keys, by_helper),
        Verb::Disable { machine, keep, yes } => disable(admin, &machine, keep, yes),
        Verb::Key => key(admin, admin_key::public_line),
        Verb::Signers => key(admin, roster_key::signers_line),
        Verb::Helper => helper(admin),
        Verb::SudoPassword(args) => password::run(admin, &args),
        Verb::Status => status::run(admin),
        Verb::Plan(targets) => live::plan(admin, &targets),
        Verb::Run(args) => live::run(admin, &args),
    }
}

fn enable(admin: &Admin, machine: &MachineName, keys: Place, by_helper: bool) -> Result<(), Failure> {
    let name = machine.clone();
    admin.change("provision.enable", move |tx, _, actor| {
        deliveries::enable(tx, actor, &name, keys, by_helper)
    })?;
    let sentence = format!(
        "keys are delivered to {machine} ({keys})\nhint: `kbmfa-server machine check {machine}` shows whether it is \
         ready; `provision key` prints the line for ssh-admin's authorized_keys"
    );
    admin.tell(&sentence, &json!({ "machine": machine, "keys": keys, "by_helper": by_helper }))
}

fn disable(admin: &Admin, machine: &MachineName, keep: bool, yes: bool) -> Result<(), Failure> {
    if !yes {
        let (_, db) = admin.open()?;
        let found = db.read_blocking(|tx| {
            let delivery = service::find(tx, machine)?;
            let given = crate::deliveries::store::given(tx)?.remove(&delivery.machine_id);
            Ok::<_, Error>(
                given.unwrap_or_default().into_keys().map(|name| name.to_string()).collect::<Vec<_>>(),
            )
        });
        let accounts = found.map_err(Failure::new)?;
        let accounts = if accounts.is_empty() { "no account".to_owned() } else { accounts.join(" ") };
        return admin.preview(&if keep {
            format!("deliver no keys to {machine} any more, and leave the keys of {accounts} on it")
        } else {
            format!("switch off on {machine}, and take the keys away: {accounts}")
        });
    }
    let name = machine.clone();
    admin.change("provision.disable", move |tx, _, actor| deliveries::disable(tx, actor, &name, keep))?;
    let sentence = if keep {
        format!("no keys are delivered to {machine} any more; what is on it stays")
    } else {
        format!(
            "{machine} is being cleaned; `kbmfa-server provision status` shows it until that is confirmed"
        )
    };
    admin.tell(&sentence, &json!({ "machine": machine, "keep": keep }))
}

fn key(admin: &Admin, line: fn(&Path) -> Result<String, key_file::Error>) -> Result<(), Failure> {
    let config = admin.become_owner()?;
    let line = line(&config.state_dir).map_err(|error| {
        Failure::new(error).hint("the server makes its keys when it starts: systemctl start kbmfa-server")
    })?;
    admin.tell(&line, &json!({ "line": line }))
}

fn helper(admin: &Admin) -> Result<(), Failure> {
    let text = provision::helper();
    admin.tell(text.trim_end(), &json!({ "text": text, "sha256": provision::helper_hash() }))
}
