//! `employee ..`: the people who may log in.

use clap::{Args as ClapArgs, Subcommand};
use kbmfa_proto::names::{KeybaseName, UserName};
use kbmfa_proto::text::SafeText;
use serde::Serialize;
use serde_json::json;

use super::print::{self, Column, Moment};
use super::{Admin, Failure, session};
use crate::admin_socket::rows::SessionRow;
use crate::clock::{Clock, SystemClock};
use crate::employees::store::{self, Employee};
use crate::employees::{Email, State, service};
use crate::random;
use crate::usecases::employees as usecase;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Add an employee: their Unix account, and the names under which they answer.
    Add(Add),
    /// List the employees.
    List {
        /// Also those who were removed.
        #[arg(long)]
        removed: bool,
    },
    /// Show one employee.
    Show {
        /// Their e-mail address.
        email: Email,
    },
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
    /// Remove an employee. Logins of their account stay refused until it belongs to another employee.
    Remove {
        /// Their e-mail address.
        email: Email,
        /// Do it; without this, only print what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// A new employee.
#[derive(ClapArgs)]
pub struct Add {
    /// Their e-mail address.
    email: Email,
    /// Their full name.
    #[arg(long)]
    name: SafeText,
    /// Their Unix account, the same on every machine.
    #[arg(long)]
    unix_name: UserName,
    /// Their name in Keybase.
    #[arg(long)]
    keybase_name: Option<KeybaseName>,
}

/// Runs the verb.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add(new) => add(admin, new),
        Verb::List { removed } => list(admin, removed),
        Verb::Show { email } => show(admin, &email),
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

fn add(admin: &Admin, new: Add) -> Result<(), Failure> {
    let Add { email, name, unix_name, keybase_name } = new;
    let now = SystemClock.now();
    let id = random::hex::<16>().map_err(Failure::new)?;
    let state = State::Active;
    let employee =
        Employee { id, email, name, unix_name, keybase_name, state, created_at: now, changed_at: now };
    let email = employee.email.clone();
    admin.change("employee.add", move |tx, _, actor| usecase::add(tx, actor, &employee))?;
    admin.tell(&format!("employee {email} was added"), &json!({ "email": email }))
}

fn list(admin: &Admin, removed: bool) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = db.read_blocking(|tx| store::all(tx, removed)).map_err(Failure::new)?;
    let employees: Vec<EmployeeRow> = found.into_iter().map(EmployeeRow::from).collect();
    admin.print(&employees, COLUMNS, |employee| employee.cells(admin))
}

fn show(admin: &Admin, email: &Email) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let found = EmployeeRow::from(db.read_blocking(|tx| service::find(tx, email)).map_err(Failure::new)?);
    if admin.json {
        print::print_json(&found)
    } else {
        admin.print(&[found], COLUMNS, |employee| employee.cells(admin))
    }
}

/// Changes the state and ends all waiting logins, in one transaction.
fn change(admin: &Admin, email: &Email, state: State) -> Result<(), Failure> {
    let whose = email.clone();
    let changed = admin.change("employee.state", move |tx, config, actor| {
        usecase::set_state(tx, &config.rules(None), actor, &whose, state)
    })?;
    let usecase::Changed { refused, open, .. } = changed;
    let open: Vec<_> = open.into_iter().map(SessionRow::from).collect();
    if admin.json {
        return print::print_json(
            &json!({ "email": email, "state": state, "refused": refused, "open": open }),
        );
    }
    let ended =
        if refused == 0 { String::new() } else { format!("; logins refused that were waiting: {refused}") };
    print::say(&format!("employee {email} is {}{ended}", state.as_str()))?;
    if open.is_empty() {
        return Ok(());
    }
    print::say("\nThese sessions are still open; end them on their machines (loginctl terminate-user):")?;
    admin.print(&open, session::COLUMNS, |session| session::cells(admin, session))
}

fn preview(admin: &Admin, email: &Email) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let employee = db.read_blocking(|tx| service::find(tx, email)).map_err(Failure::new)?;
    admin.preview(&format!(
        "remove employee {email}: logins of {} are refused from then on",
        employee.unix_name
    ))
}
