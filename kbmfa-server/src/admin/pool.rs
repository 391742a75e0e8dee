//! `pool ..`: put machines into pools.

use clap::Subcommand;
use kbmfa_proto::names::{MachineName, PoolName};
use serde::Serialize;
use serde_json::json;

use super::print::{self, Column, Moment};
use super::{Admin, Failure};
use crate::pools::service;
use crate::pools::store::{self, Pool};
use crate::usecases::pools;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Create a pool, or add machines to an existing one.
    Add {
        /// The pool's name, such as web.
        name: PoolName,
        /// A machine to put into it; repeat it for each.
        #[arg(long = "machine", value_name = "MACHINE")]
        machines: Vec<MachineName>,
    },
    /// List the pools.
    List,
    /// Show one pool.
    Show {
        /// Its name.
        name: PoolName,
    },
    /// Remove machines from a pool, or remove the pool itself. The machines themselves are kept.
    Remove {
        /// Its name.
        name: PoolName,
        /// A machine to remove from it; repeat it for each. Without one, the pool itself is removed.
        #[arg(long = "machine", value_name = "MACHINE")]
        machines: Vec<MachineName>,
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add { name, machines } => add(admin, &name, machines),
        Verb::List => list(admin),
        Verb::Show { name } => show(admin, &name),
        Verb::Remove { name, machines, yes } => remove(admin, &name, machines, yes),
    }
}

#[derive(Serialize)]
struct PoolRow {
    name: PoolName,
    machines: Vec<MachineName>,
    created: Moment,
}

impl From<Pool> for PoolRow {
    fn from(pool: Pool) -> Self {
        Self { name: pool.name, machines: pool.machines, created: pool.created_at.into() }
    }
}

impl PoolRow {
    fn cells(&self) -> Vec<String> {
        vec![self.name.to_string(), names(&self.machines)]
    }
}

const COLUMNS: &[Column] = &[Column::whole("POOL"), Column::short("MACHINES", 12)];

fn names(machines: &[MachineName]) -> String {
    machines.iter().map(MachineName::to_string).collect::<Vec<_>>().join(" ")
}

fn add(admin: &Admin, name: &PoolName, machines: Vec<MachineName>) -> Result<(), Failure> {
    let pool = name.clone();
    let shown = admin.change("pool.add", move |tx, _, actor| pools::put_all(tx, actor, &pool, &machines))?;
    let shown = PoolRow::from(shown);
    admin.tell(&format!("pool {name} has the machines: {}", names(&shown.machines)), &shown)
}

fn list(admin: &Admin) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let pools = db.read_blocking(store::all).map_err(Failure::new)?;
    let pools: Vec<PoolRow> = pools.into_iter().map(PoolRow::from).collect();
    admin.print(&pools, COLUMNS, PoolRow::cells)
}

fn show(admin: &Admin, name: &PoolName) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let pool = db.read_blocking(|tx| service::find(tx, name)).map_err(Failure::new)?;
    let pool = PoolRow::from(pool);
    if admin.json { print::print_json(&pool) } else { admin.print(&[pool], COLUMNS, PoolRow::cells) }
}

fn remove(admin: &Admin, name: &PoolName, machines: Vec<MachineName>, yes: bool) -> Result<(), Failure> {
    let what = match machines.as_slice() {
        [] => format!("pool {name}"),
        machines => format!("{} from pool {name}", names(machines)),
    };
    if !yes {
        let (_, db) = admin.open()?;
        db.read_blocking(|tx| service::find(tx, name)).map_err(Failure::new)?;
        return admin.preview(&format!("remove {what}"));
    }
    let pool = name.clone();
    admin.change("pool.remove", move |tx, _, actor| pools::take_out_all(tx, actor, &pool, &machines))?;
    admin.tell(&format!("removed {what}"), &json!({ "pool": name }))
}
