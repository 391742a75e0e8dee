//! `machine ..`: enter machines, let them join, take them away.

use clap::Subcommand;
use kbmfa_proto::names::{MachineName, PoolName};
use serde::Serialize;
use serde_json::json;

use super::print::{self, Column, Moment};
use super::{Admin, Failure};
use crate::db;
use crate::logins;
use crate::roster::store::{self, Machine};
use crate::roster::{Error, service};

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Enter a machine. It can join once it has a token.
    Add {
        /// Its name, such as web1.
        name: MachineName,
        /// A pool to put it into; made if there is none of this name. Give it once for each.
        #[arg(long = "pool", value_name = "POOL")]
        pools: Vec<PoolName>,
    },
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
    /// Print a token with which the machine can join, good for an hour and for one credential.
    JoinToken {
        /// The machine's name.
        name: MachineName,
    },
    /// Print a token with which the machine can replace its credential; the old one works until the new
    /// one is used.
    Rotate {
        /// The machine's name.
        name: MachineName,
    },
    /// Remove a machine: its credential is refused at once, and so is every login that it waits for.
    Remove {
        /// Its name.
        name: MachineName,
        /// Really do it; without this, only say what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
///
/// # Errors
/// What went wrong.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add { name, pools } => add(admin, &name, pools),
        Verb::List { never_joined } => list(admin, never_joined),
        Verb::Show { name } => show(admin, &name),
        Verb::JoinToken { name } => token(admin, &name),
        Verb::Rotate { name } => rotate(admin, &name),
        Verb::Remove { name, yes } => remove(admin, &name, yes),
    }
}

#[derive(Serialize)]
struct Shown {
    name: MachineName,
    pools: Vec<PoolName>,
    joined: bool,
    last_seen: Option<Moment>,
    module_version: Option<String>,
    created: Moment,
}

impl Shown {
    fn new(machine: Machine, pools: Vec<PoolName>) -> Self {
        Self {
            joined: machine.has_joined(),
            name: machine.name,
            pools,
            last_seen: machine.last_seen_at.map(Moment),
            module_version: machine.module_version,
            created: machine.created_at.into(),
        }
    }

    fn cells(&self, admin: &Admin) -> Vec<String> {
        let pools: Vec<_> = self.pools.iter().map(PoolName::to_string).collect();
        vec![
            self.name.to_string(),
            pools.join(" "),
            if self.joined { "yes" } else { "no" }.to_owned(),
            admin.time_or_dash(self.last_seen),
            self.module_version.clone().unwrap_or_else(|| "-".into()),
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

fn add(admin: &Admin, name: &MachineName, pools: Vec<PoolName>) -> Result<(), Failure> {
    let machine = name.clone();
    admin.change("machine.add", move |tx, _, actor| {
        service::add_machine(tx, actor, &machine)?;
        for pool in &pools {
            service::add_pool(tx, actor, pool)?;
            service::put_in_pool(tx, actor, pool, &machine)?;
        }
        Ok::<_, Error>(())
    })?;
    let sentence = format!("machine {name} is entered; next: kbmfa-server machine join-token {name}");
    admin.tell(&sentence, &json!({ "machine": name }))
}

fn list(admin: &Admin, never_joined: bool) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let machines = db.read_blocking(move |tx| {
        let with_pools = |machine: Machine| {
            let pools = store::pools_of(tx, &machine.id)?;
            Ok(Shown::new(machine, pools))
        };
        let wanted = |machine: &Machine| !never_joined || !machine.has_joined();
        store::machines(tx)?.into_iter().filter(wanted).map(with_pools).collect::<Result<Vec<_>, db::Error>>()
    });
    admin.print(&machines.map_err(Failure::new)?, COLUMNS, |machine| machine.cells(admin))
}

fn show(admin: &Admin, name: &MachineName) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let machine = service::machine(tx, name)?;
        let pools = store::pools_of(tx, &machine.id)?;
        Ok::<_, Error>(Shown::new(machine, pools))
    });
    let found = found.map_err(Failure::new)?;
    if admin.json { print::print_json(&found) } else { admin.print(&[found], COLUMNS, |machine| machine.cells(admin)) }
}

fn token(admin: &Admin, name: &MachineName) -> Result<(), Failure> {
    let machine = name.clone();
    let token = admin
        .change("machine.join-token", move |tx, _, actor| service::make_join_token(tx, actor, &machine))?;
    admin.tell(token.reveal(), &json!({ "machine": name, "token": token.reveal() }))
}

fn rotate(admin: &Admin, name: &MachineName) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let joined = db.read_blocking(|tx| Ok::<_, Error>(service::machine(tx, name)?.credentials > 0));
    if !joined.map_err(Failure::new)? {
        return Err(Failure::new(format!("machine {name} has no credential to replace"))
            .hint(format!("kbmfa-server machine join-token {name}")));
    }
    token(admin, name)
}

fn remove(admin: &Admin, name: &MachineName, yes: bool) -> Result<(), Failure> {
    if !yes {
        let (_, db) = admin.open()?;
        db.read_blocking(|tx| service::machine(tx, name)).map_err(Failure::new)?;
        return admin.preview(&format!(
            "remove machine {name}: nobody can log in there any more while its PAM stack names the module"
        ));
    }
    let machine = name.clone();
    admin.change("machine.remove", move |tx, config, actor| {
        let removed = service::remove_machine(tx, actor, &machine).map_err(logins::Error::from)?;
        logins::service::revoke_all_at(tx, &config.rules(None), &removed.id, actor)
    })?;
    admin.tell(&format!("machine {name} is removed"), &json!({ "machine": name }))
}
