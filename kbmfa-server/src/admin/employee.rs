//! `employee ..`: the people who may log in.

use clap::Subcommand;
use kbmfa_proto::names::{KeybaseName, UserName};
use kbmfa_proto::text::SafeText;
use serde::Serialize;
use serde_json::json;

use super::print::{self, Column, Moment};
use super::{Admin, Failure, session};
use crate::admin_socket::rows::SessionRow;
use crate::employees::store::{self, Employee};
use crate::employees::{Email, Error, State, service};
use crate::enrolment::store as invites;
use crate::grants::store::of_employee;
use crate::keys::{State as KeyState, store as keys};
use crate::usecases::employees as usecase;

mod add;
mod invite;
mod set;
mod show;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Add an employee: their Unix account, the names under which they answer, and the pools they may go to.
    Add(add::Args),
    /// List the employees.
    List {
        /// Also those who were removed.
        #[arg(long)]
        removed: bool,
    },
    /// Show one employee, with their grants and keys.
    Show {
        /// Their e-mail address.
        email: Email,
    },
    /// Change an employee's address, name or Keybase name; or give a uid to one who has none yet.
    Set(set::Args),
    /// Invite an employee to enrol an ssh key from their own computer.
    Invite(invite::Args),
    /// Refuse an employee's logins from now on, including those that wait or were just approved.
    Suspend {
        /// Their e-mail address.
        email: Email,
    },
    /// Let an employee log in again, with an approval.
    Resume {
        /// Their e-mail address.
        email: Email,
    },
    /// Remove an employee, with their grants. Logins of their account stay refused; its name and uid are never given
    /// to another person.
    Remove {
        /// Their e-mail address.
        email: Email,
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add(args) => add::run(admin, args),
        Verb::List { removed } => list(admin, removed),
        Verb::Show { email } => show::run(admin, &email),
        Verb::Set(args) => set::run(admin, args),
        Verb::Invite(args) => invite::run(admin, &args),
        Verb::Suspend { email } => change(admin, &email, State::Suspended),
        Verb::Resume { email } => change(admin, &email, State::Active),
        Verb::Remove { email, yes: true } => change(admin, &email, State::Removed),
        Verb::Remove { email, yes: false } => preview(admin, &email),
    }
}

#[derive(Serialize)]
struct EmployeeRow {
    email: Email,
    name: SafeText,
    unix_name: UserName,
    keybase_name: Option<KeybaseName>,
    state: State,
    created: Moment,
    changed: Moment,
}

impl From<Employee> for EmployeeRow {
    fn from(employee: Employee) -> Self {
        Self {
            email: employee.email,
            name: employee.name,
            unix_name: employee.unix_name,
            keybase_name: employee.keybase_name,
            state: employee.state,
            created: employee.created_at.into(),
            changed: employee.changed_at.into(),
        }
    }
}

impl EmployeeRow {
    fn cells(&self, admin: &Admin) -> Vec<String> {
        vec![
            self.email.to_string(),
            self.name.to_string(),
            self.unix_name.to_string(),
            self.keybase_name.as_ref().map_or_else(|| "-".into(), ToString::to_string),
            self.state.as_str().to_owned(),
            admin.time(self.changed),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column::short("E-MAIL", 12),
    Column::short("NAME", 8).rank(2),
    Column::short("UNIX", 6),
    Column::short("KEYBASE", 6).rank(3),
    Column::whole("STATE").state(),
    Column::whole("SINCE").rank(1),
];

fn list(admin: &Admin, removed: bool) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| store::all(tx, removed)).map_err(Failure::new)?;
    let employees: Vec<EmployeeRow> = found.into_iter().map(EmployeeRow::from).collect();
    admin.print(&employees, COLUMNS, |employee| employee.cells(admin))
}

/// Changes the state and ends all waiting logins, in one transaction.
fn change(admin: &Admin, email: &Email, state: State) -> Result<(), Failure> {
    let whose = email.clone();
    let changed = admin.change("employee.state", move |tx, config, actor| {
        usecase::set_state(tx, &config.rules(None), actor, &whose, state)
    })?;
    let usecase::Changed { refused, gone, open, .. } = changed;
    let open: Vec<_> = open.into_iter().map(SessionRow::from).collect();
    if admin.json {
        return print::print_json(
            &json!({ "email": email, "state": state, "refused": refused, "grants": gone.grants, "keys": gone.keys, "password": gone.password, "open": open }),
        );
    }
    let ended =
        if refused == 0 { String::new() } else { format!("; logins refused that were waiting: {refused}") };
    let went = |what: &str, count: usize| match count {
        0 => String::new(),
        count => format!("; {what} that went with it: {count}"),
    };
    let password = if gone.password { "; the account password is forgotten" } else { "" };
    let gone = went("grants", gone.grants) + &went("keys", gone.keys.len()) + password;
    print::say(&format!("employee {email} is {}{ended}{gone}", state.as_str()))?;
    if open.is_empty() {
        return Ok(());
    }
    print::say("\nThese sessions are still open; end them on their machines (loginctl terminate-user):")?;
    admin.print(&open, session::COLUMNS, |session| session::cells(admin, session))
}

fn preview(admin: &Admin, email: &Email) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| {
        let employee = service::find(tx, email)?;
        let pools = of_employee(tx, &employee.id)?.into_iter().map(|grant| grant.pool.to_string());
        let (grants, keys) = (pools.collect::<Vec<_>>(), keys::of_employee(tx, &employee.id)?);
        let keys = keys.into_iter().filter(|key| key.state != KeyState::Revoked).count();
        let invite = invites::open_of(tx, &employee.id)?.map_or("", |_| "; an open invite ends");
        Ok::<_, Error>((employee, grants, keys, invite))
    });
    let (employee, grants, keys, invite) = found.map_err(Failure::new)?;
    let grants = if grants.is_empty() {
        String::new()
    } else {
        format!("; grants to {} go with it", grants.join(" "))
    };
    let keys = if keys == 0 { String::new() } else { format!("; keys that no longer count: {keys}") };
    admin.preview(&format!(
        "remove employee {email}: logins of {} are refused from then on{grants}{keys}{invite}",
        employee.unix_name
    ))
}
