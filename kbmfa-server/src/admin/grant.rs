//! `grant ..`: which employee may go to which pool, perhaps with sudo, and until when.

use clap::{ArgGroup, Args as ClapArgs, Subcommand};
use kbmfa_proto::names::PoolName;
use serde::Serialize;
use serde_json::json;

use super::print::{Column, Moment};
use super::time_arg::Until;
use super::{Admin, Failure};
use crate::clock::{Clock, SystemClock, Time};
use crate::employees::{Email, service as employees};
use crate::grants::store::{self, Grant};
use crate::grants::{Error, State, SudoProfile};
use crate::policy::RequireGrant;
use crate::pools::service as pools;
use crate::usecases::grants::{self as usecase, Terms};

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Grant a pool to an employee.
    Add(Add),
    /// List the grants.
    List {
        /// Only those of this employee.
        #[arg(long)]
        employee: Option<Email>,
        /// Only those to this pool.
        #[arg(long)]
        pool: Option<PoolName>,
        /// Only those that have not ended.
        #[arg(long)]
        live: bool,
    },
    /// Put off a grant's end; this also revives one that has ended.
    Extend(Extend),
    /// Remove a grant now.
    Remove {
        /// The employee's e-mail address.
        email: Email,
        /// The pool.
        pool: PoolName,
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// A new grant.
#[derive(ClapArgs)]
pub struct Add {
    /// The employee's e-mail address.
    email: Email,
    /// The pool.
    pool: PoolName,
    /// The name of what they may do there with sudo; without it, nothing.
    #[arg(long, value_name = "PROFILE")]
    sudo: Option<SudoProfile>,
    /// When it ends: 2026-12-24T18:00:00Z, 2026-12-24 (with that day, in UTC), or in how long, as 8h or 30d. Without
    /// it, it has no end.
    #[arg(long)]
    until: Option<Until>,
}

/// The new end of a grant.
#[derive(ClapArgs)]
#[command(group(ArgGroup::new("end").required(true)))]
pub struct Extend {
    /// The employee's e-mail address.
    email: Email,
    /// The pool.
    pool: PoolName,
    /// When it ends, as for `grant add`.
    #[arg(long, group = "end")]
    until: Option<Until>,
    /// It has no end.
    #[arg(long, group = "end")]
    no_end: bool,
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add(new) => add(admin, new),
        Verb::List { employee, pool, live } => list(admin, employee.as_ref(), pool.as_ref(), live),
        Verb::Extend(args) => extend(admin, &args),
        Verb::Remove { email, pool, yes } => remove(admin, &email, &pool, yes),
    }
}

/// A grant as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct GrantRow {
    email: Email,
    pool: PoolName,
    sudo: Option<SudoProfile>,
    ends: Option<Moment>,
    state: State,
    created: Moment,
}

impl GrantRow {
    /// The grant as it is at this moment.
    pub(super) fn at(now: Time, grant: Grant) -> Self {
        Self {
            email: grant.email,
            pool: grant.pool,
            sudo: grant.sudo,
            ends: grant.ends_at.map(Moment),
            state: State::at(now, grant.ends_at),
            created: grant.created_at.into(),
        }
    }

    /// The cells of [`COLUMNS_OF_ONE`].
    pub(super) fn cells_of_one(&self, admin: &Admin) -> Vec<String> {
        vec![
            self.pool.to_string(),
            self.sudo.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            admin.time_or_dash(self.ends),
            self.state.as_str().to_owned(),
        ]
    }
}

/// The columns of one employee's grants.
pub(super) const COLUMNS_OF_ONE: &[Column] = &[
    Column::short("GRANTED POOL", 12),
    Column::short("SUDO", 4).rank(1),
    Column::whole("ENDS"),
    Column::whole("STATE").state(),
];

const COLUMNS: &[Column] = &[
    Column::short("E-MAIL", 12),
    Column::short("POOL", 8),
    Column::short("SUDO", 4).rank(1),
    Column::whole("ENDS"),
    Column::whole("STATE").state(),
];

/// The moment of `--until`.
fn end(until: Option<Until>) -> Option<Time> {
    until.map(|until| until.seen_from(SystemClock.now()))
}

/// ` until 2026-12-24 18:00:00`, or nothing for no end.
fn until_words(admin: &Admin, ends_at: Option<Time>) -> String {
    ends_at.map_or_else(String::new, |end| format!(" until {}", admin.time(Moment(end))))
}

fn add(admin: &Admin, new: Add) -> Result<(), Failure> {
    let Add { email, pool, sudo, until } = new;
    let terms = Terms { sudo, ends_at: end(until) };
    let (whose, which, given) = (email.clone(), pool.clone(), terms.clone());
    admin.change("grant.add", move |tx, config, actor| {
        usecase::add(tx, config.uids, actor, (&whose, &which), &given)
    })?;
    let sudo =
        terms.sudo.as_ref().map_or_else(String::new, |profile| format!(" with sudo profile {profile}"));
    let sentence = format!("{email} may go to pool {pool}{sudo}{}", until_words(admin, terms.ends_at));
    let ends = terms.ends_at.map(Moment);
    admin.tell(&sentence, &json!({ "email": email, "pool": pool, "sudo": terms.sudo, "ends": ends }))
}

fn list(
    admin: &Admin,
    email: Option<&Email>,
    pool: Option<&PoolName>,
    only_live: bool,
) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        // An unknown name is an error, and not an empty list.
        let whose = email.map(|email| employees::find(tx, email)).transpose()?;
        let which = pool.map(|pool| pools::find(tx, pool)).transpose()?;
        let wanted = |grant: &Grant| {
            whose.as_ref().is_none_or(|employee| employee.id == grant.employee_id)
                && which.as_ref().is_none_or(|pool| pool.name == grant.pool)
        };
        let all = store::all(tx)?.into_iter().filter(wanted);
        let rows = all.map(|grant| GrantRow::at(tx.now, grant));
        Ok::<_, Error>(rows.filter(|row| !only_live || row.state == State::Live).collect::<Vec<_>>())
    });
    print(admin, &found.map_err(Failure::new)?)
}

/// Prints grants of several employees.
pub(super) fn print(admin: &Admin, grants: &[GrantRow]) -> Result<(), Failure> {
    admin.print(grants, COLUMNS, |row| [vec![row.email.to_string()], row.cells_of_one(admin)].concat())
}

fn extend(admin: &Admin, args: &Extend) -> Result<(), Failure> {
    let Extend { email, pool, until, .. } = args;
    let ends_at = end(*until);
    let (whose, which) = (email.clone(), pool.clone());
    admin
        .change("grant.extend", move |tx, _, actor| usecase::extend(tx, actor, (&whose, &which), ends_at))?;
    let words = if ends_at.is_some() { until_words(admin, ends_at) } else { ", without an end".to_owned() };
    let json = json!({ "email": email, "pool": pool, "ends": ends_at.map(Moment) });
    admin.tell(&format!("{email} may go to pool {pool}{words}"), &json)
}

fn remove(admin: &Admin, email: &Email, pool: &PoolName, yes: bool) -> Result<(), Failure> {
    if !yes {
        let (config, db) = admin.open()?;
        let found = db.read_blocking(|tx| {
            let (employee, pool) = (employees::find(tx, email)?, pools::find(tx, pool)?);
            let grant = store::find(tx, &employee.id, &pool.id)?;
            grant.ok_or_else(|| Error::NoSuchGrant(email.to_string(), pool.name.clone())).map(|_| pool)
        });
        let pool = found.map_err(Failure::new)?;
        let effect = match config.policy.require_grant {
            RequireGrant::Everywhere => {
                "logins there are refused from then on, unless another grant reaches the machine"
            }
            RequireGrant::Delivered => {
                "logins to its machines are refused where keys are delivered, unless another grant reaches the machine"
            }
            RequireGrant::Nowhere => {
                "logins there are still possible, because require_grant in server.toml is false"
            }
        };
        return admin.preview(&format!("remove the grant of {email} to pool {}: {effect}", pool.name));
    }
    let (whose, which) = (email.clone(), pool.clone());
    let refused = admin.change("grant.remove", move |tx, config, actor| {
        usecase::remove(tx, &config.rules(None), actor, (&whose, &which))
    })?;
    let ended =
        if refused == 0 { String::new() } else { format!("; logins refused that were waiting: {refused}") };
    let sentence = format!("removed the grant of {email} to pool {pool}{ended}");
    admin.tell(&sentence, &json!({ "email": email, "pool": pool, "refused": refused }))
}
