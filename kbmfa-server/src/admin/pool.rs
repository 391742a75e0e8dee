//! `pool ..`: put machines into pools.

use clap::Subcommand;
use kbmfa_proto::names::{MachineName, PoolName};
use kbmfa_proto::text::SafeText;
use serde::Serialize;
use serde_json::json;

use super::grant::{self, GrantRow};
use super::named_in_rules::{effect_of_rename, lines_words};
use super::print::{self, Column, Moment};
use super::{Admin, Failure};
use crate::config::Config;
use crate::employees::Email;
use crate::grants::store::of_pool;
use crate::pools::store::{self, Pool};
use crate::pools::{Error, service};
use crate::usecases;
use crate::usecases::pools::{self, Contents};

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Create a pool, or add machines to an existing one; and grant it to employees, in one step.
    Add {
        /// The pool's name, such as web.
        name: PoolName,
        /// A text for people, such as "Web servers".
        #[arg(long)]
        label: Option<SafeText>,
        /// A machine to put into it; repeat it for each.
        #[arg(long = "machine", value_name = "MACHINE")]
        machines: Vec<MachineName>,
        /// The e-mail address of an employee to grant it to, without sudo and without an end; repeat it for each.
        #[arg(long = "employee", value_name = "EMAIL")]
        employees: Vec<Email>,
    },
    /// List the pools.
    List,
    /// Show one pool, with its machines and the grants to it.
    Show {
        /// Its name.
        name: PoolName,
    },
    /// Change a pool's label.
    Set {
        /// Its name.
        name: PoolName,
        /// A text for people; an empty one removes the label.
        #[arg(long)]
        label: SafeText,
    },
    /// Rename a pool. Its machines and grants are kept; rules in server.toml are not changed.
    Rename {
        /// Its name.
        name: PoolName,
        /// Its new name.
        new_name: PoolName,
        /// Do it also if rules name the pool; without this, they are only printed.
        #[arg(long)]
        yes: bool,
    },
    /// Remove machines from a pool, or remove the pool itself, with the grants to it. The machines themselves are kept.
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
        Verb::Add { name, label, machines, employees } => {
            add(admin, &name, Contents { label: label.filter(is_text), machines, employees })
        }
        Verb::Set { name, label } => set(admin, &name, Some(&label).filter(|label| is_text(label))),
        Verb::Rename { name, new_name, yes } => rename(admin, &name, &new_name, yes),
        Verb::List => list(admin),
        Verb::Show { name } => show(admin, &name),
        Verb::Remove { name, machines, yes } => remove(admin, &name, machines, yes),
    }
}

#[derive(Serialize)]
struct PoolRow {
    name: PoolName,
    label: Option<SafeText>,
    machines: Vec<MachineName>,
    created: Moment,
}

impl From<Pool> for PoolRow {
    fn from(pool: Pool) -> Self {
        Self { name: pool.name, label: pool.label, machines: pool.machines, created: pool.created_at.into() }
    }
}

impl PoolRow {
    fn cells(&self) -> Vec<String> {
        let label = self.label.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        vec![self.name.to_string(), label, names(&self.machines)]
    }
}

const COLUMNS: &[Column] =
    &[Column::short("POOL", 8), Column::short("LABEL", 6).rank(1), Column::short("MACHINES", 12)];

fn names(machines: &[MachineName]) -> String {
    machines.iter().map(MachineName::to_string).collect::<Vec<_>>().join(" ")
}

fn is_text(label: &SafeText) -> bool {
    !label.as_str().trim().is_empty()
}

fn add(admin: &Admin, name: &PoolName, contents: Contents) -> Result<(), Failure> {
    let (pool, granted) = (name.clone(), contents.employees.clone());
    let shown = admin
        .change("pool.add", move |tx, config, actor| pools::fill(tx, config.uids, actor, &pool, &contents))?;
    let shown = PoolRow::from(shown);
    let granted: Vec<_> = granted.iter().map(Email::to_string).collect();
    let to = if granted.is_empty() { String::new() } else { format!("; granted to {}", granted.join(" ")) };
    admin.tell(&format!("pool {name} has the machines: {}{to}", names(&shown.machines)), &shown)
}

fn set(admin: &Admin, name: &PoolName, label: Option<&SafeText>) -> Result<(), Failure> {
    let (pool, text) = (name.clone(), label.cloned());
    admin.change("pool.set", move |tx, _, actor| pools::set_label(tx, actor, &pool, text.as_ref()))?;
    let sentence = match label {
        Some(label) => format!("pool {name} is labelled {label}"),
        None => format!("pool {name} has no label"),
    };
    admin.tell(&sentence, &json!({ "pool": name, "label": label }))
}

fn rename(admin: &Admin, name: &PoolName, new_name: &PoolName, yes: bool) -> Result<(), Failure> {
    let (config, db) = admin.open()?;
    db.read_blocking(|tx| pools::check_rename(tx, name, new_name)).map_err(Failure::new)?;
    let [rules, new_rules] = [name, new_name].map(|pool| config.policy.lines_that_name_pool(pool));
    if let (Some(effect), false) = (effect_of_rename((name, &rules), (new_name, &new_rules)), yes) {
        return admin.preview(&format!("rename pool {name} to {new_name}{effect}"));
    }
    let (from, to) = (name.clone(), new_name.clone());
    admin.change("pool.rename", move |tx, _, actor| pools::rename(tx, actor, &from, &to))?;
    let sentence = format!("pool {name} is now called {new_name}{}", rules_hint(admin, name, &rules));
    let json = json!({ "pool": new_name, "was": name, "rules": rules, "rules_that_begin": new_rules });
    admin.tell(&sentence, &json)
}

/// A hint at rules that name a pool that is not there any more; empty if there are none.
fn rules_hint(admin: &Admin, name: &PoolName, lines: &[usize]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "\nhint: rules in {} still name {name} and no longer apply to anything ({}); change them, then run systemctl \
         reload kbmfa-server",
        admin.config_path().display(),
        lines_words(lines)
    )
}

fn list(admin: &Admin) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let pools = db.read_blocking(store::all).map_err(Failure::new)?;
    let pools: Vec<PoolRow> = pools.into_iter().map(PoolRow::from).collect();
    admin.print(&pools, COLUMNS, PoolRow::cells)
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    pool: PoolRow,
    grants: Vec<GrantRow>,
}

fn show(admin: &Admin, name: &PoolName) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let pool = service::find(tx, name)?;
        let grants = of_pool(tx, &pool.id)?.into_iter().map(|grant| GrantRow::at(tx.now, grant)).collect();
        Ok::<_, Error>(Shown { pool: pool.into(), grants })
    });
    let shown = found.map_err(Failure::new)?;
    if admin.json {
        return print::print_json(&shown);
    }
    admin.print(std::slice::from_ref(&shown.pool), COLUMNS, PoolRow::cells)?;
    if shown.grants.is_empty() {
        return Ok(());
    }
    print::say("")?;
    grant::print(admin, &shown.grants)
}

fn remove(admin: &Admin, name: &PoolName, machines: Vec<MachineName>, yes: bool) -> Result<(), Failure> {
    let what = match machines.as_slice() {
        [] => format!("pool {name}"),
        machines => format!("{} from pool {name}", names(machines)),
    };
    if !yes {
        let (config, db) = admin.open()?;
        let found = db.read_blocking(|tx| {
            let pool = service::find(tx, name)?;
            let grants =
                of_pool(tx, &pool.id)?.into_iter().map(|grant| grant.email.to_string()).collect::<Vec<_>>();
            Ok::<_, Error>((pool, grants))
        });
        let (pool, grants) = found.map_err(Failure::new)?;
        let with_it = if machines.is_empty() { goes_with(&config, &pool, &grants) } else { String::new() };
        return admin.preview(&format!("remove {what}{with_it}"));
    }
    let (pool, whole) = (name.clone(), machines.is_empty());
    let rules = admin.change("pool.remove", move |tx, config, actor| {
        pools::take_out_all(tx, &config.rules(None), actor, &pool, &machines)?;
        Ok::<_, usecases::Error>(config.policy.lines_that_name_pool(&pool))
    })?;
    let rules = if whole { rules } else { Vec::new() };
    let sentence = format!("removed {what}{}", rules_hint(admin, name, &rules));
    admin.tell(&sentence, &json!({ "pool": name, "rules": rules }))
}

/// What goes with a pool that is removed: its grants, its machines' membership, and the rules that name it.
fn goes_with(config: &Config, pool: &Pool, grants: &[String]) -> String {
    let mut parts = Vec::new();
    if !grants.is_empty() {
        parts.push(format!("the grants of {}", grants.join(" ")));
    }
    if !pool.machines.is_empty() {
        parts.push(format!("the membership of {} (the machines are kept)", names(&pool.machines)));
    }
    let rules = config.policy.lines_that_name_pool(&pool.name);
    if !rules.is_empty() {
        parts.push(format!("the effect of the rules on {} of server.toml", lines_words(&rules)));
    }
    if parts.is_empty() { String::new() } else { format!("; with it go {}", parts.join(", ")) }
}
