//! `export ..`: accounts, keys and machines in the forms of other tools.

use clap::{Args, Subcommand};
use kbmfa_proto::names::{MachineName, PoolName, UserName};
use serde::Serialize;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::print::note;
use super::{Admin, Failure};
use crate::config::Config;
use crate::employees::{Email, service as employees};
use crate::export::{Machine, ansible, authorized_keys, fleet, ssh_config};
use crate::machines::host_keys::known_hosts;
use crate::machines::service as machines;
use crate::pools::{self, service as pool};

/// The verbs. They have the names of the files.
#[derive(Subcommand)]
pub enum Verb {
    /// Print who should have which keys on the machines, as sshd reads them.
    #[command(name = "authorized_keys")]
    AuthorizedKeys {
        /// Which machines.
        #[command(flatten)]
        selection: Selection,
        /// Write DIR/MACHINE/ACCOUNT instead, in a new directory.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Print the pinned host keys as a `known_hosts` file.
    #[command(name = "known_hosts")]
    KnownHosts {
        /// Which machines.
        #[command(flatten)]
        selection: Selection,
    },
    /// Print the machines as a file for the `Include` of ssh's configuration.
    #[command(name = "ssh_config")]
    SshConfig {
        /// Which machines.
        #[command(flatten)]
        selection: Selection,
        /// Only machines that this employee can reach, with the name of their account.
        #[arg(long, value_name = "EMAIL")]
        employee: Option<Email>,
    },
    /// Write an inventory with the accounts and keys of the machines, and a playbook that makes them.
    Ansible {
        /// Which machines.
        #[command(flatten)]
        selection: Selection,
        /// The new directory; not needed with --json, which prints everything.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// Which machines; all of them, if none is named.
#[derive(Args)]
pub struct Selection {
    /// Only this machine; repeat it for each.
    #[arg(long = "machine", value_name = "NAME")]
    machines: Vec<MachineName>,
    /// Only the machines of this pool.
    #[arg(long, conflicts_with = "machines")]
    pool: Option<PoolName>,
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::AuthorizedKeys { selection, directory } => keys(admin, &selection, directory.as_deref()),
        Verb::KnownHosts { selection } => {
            let found = read(admin, &selection, None)?.machines;
            let reaches: Vec<_> = found.into_iter().map(|machine| (machine.name, machine.reach)).collect();
            let text = known_hosts::render(&reaches);
            admin.tell(text.trim_end(), &json!({ "known_hosts": text }))
        }
        Verb::SshConfig { selection, employee } => {
            let Found { machines, account, .. } = read(admin, &selection, employee.as_ref())?;
            let text = ssh_config::render(&machines, account.as_ref());
            admin.tell(text.trim_end(), &json!({ "ssh_config": text }))
        }
        Verb::Ansible { selection, directory } => playbook(admin, &selection, directory.as_deref()),
    }
}

struct Found {
    machines: Vec<Machine>,
    /// The Unix name of the employee that was named.
    account: Option<UserName>,
    config: Config,
}

/// The machines that are meant, with a note for each account that is left out.
fn read(admin: &Admin, selection: &Selection, employee: Option<&Email>) -> Result<Found, Failure> {
    let (config, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let named = match &selection.pool {
            Some(pool) => Some(pool::find(tx, pool)?.machines),
            None if selection.machines.is_empty() => None,
            None => {
                let find = |name: &MachineName| Ok::<_, pools::Error>(machines::find(tx, name)?.name);
                Some(selection.machines.iter().map(find).collect::<Result<Vec<_>, _>>()?)
            }
        };
        let mut found = fleet::read(tx, &config.provision)?;
        found.retain(|machine| named.as_ref().is_none_or(|named| named.contains(&machine.name)));
        Ok::<_, pools::Error>(found)
    });
    let mut machines = found.map_err(Failure::new)?;
    let whose = employee.map(|email| db.read_blocking(|tx| employees::find(tx, email)));
    let whose = whose.transpose().map_err(Failure::new)?;
    if let Some(whose) = &whose {
        let is_theirs = |machine: &Machine| machine.accounts.values().any(|one| one.employee_id == whose.id);
        machines.retain(is_theirs);
    }
    for (machine, fault) in
        machines.iter().flat_map(|one| one.faults.iter().map(move |fault| (&one.name, fault)))
    {
        note(&format!("left out on {machine}: {fault}"));
    }
    Ok(Found { machines, account: whose.map(|whose| whose.unix_name), config })
}

/// A new directory, made before root is given up.
fn folder(admin: &Admin, path: &Path) -> Result<Folder, Failure> {
    let config = Config::read(admin.config_path()).map_err(Failure::new)?;
    let state_dir = config.state_dir.display();
    let owner = fs::metadata(&config.state_dir)
        .map_err(|error| Failure::new(format!("cannot access {state_dir}: {error}")))?;
    Folder::create(path, &owner)
}

/// The keys of one account on one machine.
#[derive(Serialize)]
struct Row {
    machine: MachineName,
    account: String,
    uid: u32,
    authorized_keys: String,
}

fn keys(admin: &Admin, selection: &Selection, directory: Option<&Path>) -> Result<(), Failure> {
    let folder = directory.map(|path| folder(admin, path)).transpose()?;
    let rows: Vec<Row> = read(admin, selection, None)?
        .machines
        .iter()
        .flat_map(|machine| {
            machine.accounts.iter().map(|(name, account)| Row {
                machine: machine.name.clone(),
                account: name.to_string(),
                uid: account.uid,
                authorized_keys: authorized_keys(account),
            })
        })
        .collect();
    let (Some(mut folder), Some(path)) = (folder, directory) else {
        let text = rows.iter().fold(String::new(), |text, row| {
            let Row { machine, account, uid, authorized_keys } = row;
            format!("{text}# {machine}: {account}, uid {uid}\n{authorized_keys}")
        });
        return admin.tell(text.trim_end(), &rows);
    };
    for row in &rows {
        folder.add(&Path::new(row.machine.as_str()).join(&row.account), &row.authorized_keys)?;
    }
    tell_written(admin, path, folder)
}

fn playbook(admin: &Admin, selection: &Selection, directory: Option<&Path>) -> Result<(), Failure> {
    if directory.is_none() && !admin.json {
        return Err(Failure::usage("name the new directory: --directory DIR"));
    }
    let folder = directory.map(|path| folder(admin, path)).transpose()?;
    let Found { machines, config, .. } = read(admin, selection, None)?;
    let ansible::Ansible { inventory, group_vars } = ansible::render(&machines, &config.provision.shell);
    let (Some(mut folder), Some(path)) = (folder, directory) else {
        let json = json!({ "inventory": inventory, "group_vars": group_vars, "playbook": ansible::PLAYBOOK });
        return admin.tell("", &json);
    };
    folder.add(Path::new("inventory.json"), &format!("{inventory:#}\n"))?;
    folder.add(Path::new("group_vars/all.json"), &format!("{group_vars:#}\n"))?;
    folder.add(Path::new("playbook.yml"), ansible::PLAYBOOK)?;
    tell_written(admin, path, folder)
}

fn tell_written(admin: &Admin, path: &Path, folder: Folder) -> Result<(), Failure> {
    let files = folder.keep()?;
    let path = path.display().to_string();
    admin.tell(&format!("wrote {path}: {files} files"), &json!({ "directory": path, "files": files }))
}
