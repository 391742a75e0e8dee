//! `machine ..`: add machines, make their join tokens, rename and remove them.

mod add;
mod adopt;
mod bootstrap;
mod known_hosts;
mod reach;
mod show;
mod token;

use clap::Subcommand;
use kbmfa_proto::names::{MachineName, PoolName};
use serde::Serialize;
use serde_json::json;

use super::named_in_rules::{effect_of_rename, lines_words};
use super::print::{Column, Moment};
use super::provision::{Targets, check};
use super::{Admin, Failure};
use crate::db::{self, Tx};
use crate::machines::host_keys;
use crate::machines::hosts::{self, Twin};
use crate::machines::store::{self, Machine};
use crate::machines::{Error, service};
use crate::pools::store::of_machine;
use crate::usecases::machines;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Add machines. A machine can join once it has a token.
    Add(add::Args),
    /// Set machines up, over a connection of yours: ssh-admin with the server's key, sudo, and sshd. From then on accounts
    /// and keys are delivered to them.
    Bootstrap(Box<bootstrap::Args>),
    /// List the machines.
    List {
        /// Only those that never joined.
        #[arg(long)]
        never_joined: bool,
    },
    /// Show one machine.
    Show {
        /// Its name.
        name: MachineName,
    },
    /// Print a one-time token for each machine, with which it can join.
    JoinToken(token::Args),
    /// Print a token with which the machine can replace its credential; the old one works until the new
    /// one is used.
    Rotate {
        /// The machine's name.
        name: MachineName,
    },
    /// Change a machine's address, port or pinned host keys.
    Set(reach::Args),
    /// Print the pinned host keys as a `known_hosts` file.
    KnownHosts(known_hosts::Args),
    /// Connect to machines and check what was delivered: ssh-admin, sudo, sshd's settings, accounts and keys. Exits 0
    /// if all is right, 2 if something differs, 1 if a machine could not be checked.
    Check(Targets),
    /// Show the accounts and keys that others made on a machine, and take over those that are named.
    Adopt(adopt::Args),
    /// Rename a machine. Its credential, pools and logins are kept; earlier events keep the old name.
    Rename {
        /// Its name.
        name: MachineName,
        /// Its new name.
        new_name: MachineName,
        /// Do it also if rules name the machine; without this, they are only printed.
        #[arg(long)]
        yes: bool,
    },
    /// Remove a machine: its credential and all its waiting logins are refused at once.
    Remove {
        /// Its name.
        name: MachineName,
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add(args) => add::run(admin, args),
        Verb::Bootstrap(args) => bootstrap::run(admin, &args),
        Verb::List { never_joined } => list(admin, never_joined),
        Verb::Show { name } => show::run(admin, &name),
        Verb::JoinToken(args) => token::run(admin, &args),
        Verb::Rotate { name } => rotate(admin, &name),
        Verb::Set(args) => reach::run(admin, &args),
        Verb::KnownHosts(args) => known_hosts::run(admin, &args),
        Verb::Check(targets) => check(admin, &targets),
        Verb::Adopt(args) => adopt::run(admin, &args),
        Verb::Rename { name, new_name, yes } => rename(admin, &name, &new_name, yes),
        Verb::Remove { name, yes } => remove(admin, &name, yes),
    }
}

#[derive(Serialize)]
struct MachineRow {
    name: MachineName,
    pools: Vec<PoolName>,
    joined: bool,
    last_seen: Option<Moment>,
    module_version: Option<String>,
    /// False if its module reports only how an account was typed, and not which account that is. Null before
    /// the first login.
    resolves_accounts: Option<bool>,
    created: Moment,
    /// Why the machine seems to have been cloned: `two-machine-ids` or `boots-alternate`.
    seen_twice: Option<&'static str>,
    /// Since when it reports other host keys than those that are pinned.
    quarantined: Option<Moment>,
}

impl MachineRow {
    fn of(tx: &Tx<'_>, machine: Machine) -> Result<Self, db::Error> {
        let pools = of_machine(tx, &machine.id)?;
        let twin = hosts::twin(&hosts::store::sightings_of(tx, &machine.id)?, tx.now);
        Ok(Self::new(machine, pools, twin))
    }

    fn new(machine: Machine, pools: Vec<PoolName>, twin: Option<Twin>) -> Self {
        Self {
            joined: machine.has_joined(),
            seen_twice: twin.map(Twin::as_str),
            name: machine.name,
            pools,
            last_seen: machine.last_seen_at.map(Moment),
            module_version: machine.module_version,
            resolves_accounts: machine.resolves,
            created: machine.created_at.into(),
            quarantined: machine.quarantined_at.map(Moment),
        }
    }

    /// The module's version, with a note if it is too old to resolve accounts.
    fn module(&self) -> String {
        let version = self.module_version.as_deref().unwrap_or("-");
        let old = if self.resolves_accounts == Some(false) { " (old: names as typed)" } else { "" };
        format!("{version}{old}")
    }

    /// Whether it has joined, or what is wrong with it.
    fn state(&self) -> &'static str {
        match (self.joined, self.seen_twice, self.quarantined) {
            (_, Some(_), Some(_)) => "twice, quarantined",
            (_, Some(_), None) => "twice",
            (_, None, Some(_)) => "quarantined",
            (true, None, None) => "yes",
            (false, None, None) => "no",
        }
    }

    fn cells(&self, admin: &Admin) -> Vec<String> {
        let pools: Vec<_> = self.pools.iter().map(PoolName::to_string).collect();
        vec![
            self.name.to_string(),
            pools.join(" "),
            self.state().to_owned(),
            admin.time_or_dash(self.last_seen),
            self.module(),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column::short("MACHINE", 8),
    Column::short("POOLS", 8).rank(3),
    Column::whole("JOINED"),
    Column::whole("LAST SEEN").rank(1),
    Column::whole("MODULE").rank(2),
];

fn list(admin: &Admin, never_joined: bool) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let machines = db.read_blocking(move |tx| {
        let wanted = |machine: &Machine| !never_joined || !machine.has_joined();
        let machines = store::machines(tx)?.into_iter().filter(wanted);
        machines.map(|machine| MachineRow::of(tx, machine)).collect::<Result<Vec<_>, db::Error>>()
    });
    admin.print(&machines.map_err(Failure::new)?, COLUMNS, |machine| machine.cells(admin))
}

fn rotate(admin: &Admin, name: &MachineName) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let joined = db.read_blocking(|tx| Ok::<_, Error>(service::find(tx, name)?.credentials > 0));
    if !joined.map_err(Failure::new)? {
        return Err(Failure::new(format!("machine {name} has no credential to replace"))
            .hint(format!("kbmfa-server machine join-token {name}")));
    }
    token::run(admin, &token::Args::of(name.clone()))
}

fn rename(admin: &Admin, name: &MachineName, new_name: &MachineName, yes: bool) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    db.read_blocking(|tx| machines::check_rename(tx, name, new_name)).map_err(Failure::new)?;
    let [rules, new_rules] = [name, new_name].map(|machine| config.policy.lines_that_name_machine(machine));
    if let (Some(effect), false) = (effect_of_rename((name, &rules), (new_name, &new_rules)), yes) {
        return admin.preview(&format!("rename machine {name} to {new_name}{effect}"));
    }
    let (from, to) = (name.clone(), new_name.clone());
    admin.change("machine.rename", move |tx, _, actor| machines::rename(tx, actor, &from, &to))?;
    let hint = if rules.is_empty() {
        String::new()
    } else {
        format!(
            "\nhint: {} of {} still names {name} and no longer applies to it; change that, then run systemctl reload \
             kbmfa-server",
            lines_words(&rules),
            admin.config_path().display()
        )
    };
    let sentence = format!("machine {name} is now called {new_name}{hint}");
    let json = json!({
        "machine": new_name, "was": name, "rules": rules.len(), "rules_that_begin": new_rules.len(),
    });
    admin.tell(&sentence, &json)
}

fn remove(admin: &Admin, name: &MachineName, yes: bool) -> Result<(), Failure> {
    if !yes {
        let (_, db) = admin.open()?;
        let keys = db.read_blocking(|tx| {
            Ok::<_, Error>(host_keys::store::reach(tx, &service::find(tx, name)?.id)?.host_keys)
        });
        let keys = match keys.map_err(Failure::new)?.as_slice() {
            [] => String::new(),
            keys => format!("; its pinned host keys go with it: {}", host_keys::words(keys)),
        };
        return admin.preview(&format!(
            "remove machine {name}: while its PAM stack names the module, nobody can log in there{keys}"
        ));
    }
    let machine = name.clone();
    admin.change("machine.remove", move |tx, config, actor| {
        machines::remove(tx, &config.rules(None), actor, &machine)
    })?;
    admin.tell(&format!("machine {name} is removed"), &json!({ "machine": name }))
}
