//! Actions on employees: each function is one action inside the caller's transaction, with its audit event.

use super::Error;
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
use crate::employees::store::{self, Employee};
use crate::employees::{self, Email, State, service};
use crate::logins::Rules;
use crate::logins::ending::revoke_all_of;
use crate::logins::state::Revocation;
use crate::sessions::store::{self as sessions, Session};

/// Adds an employee.
///
/// # Errors
/// [`employees::Error::EmployeeExists`] if the address, the account or the Keybase name already belongs to
/// somebody.
pub fn add(tx: &Tx<'_>, actor: &Actor, new: &Employee) -> Result<(), employees::Error> {
    if let Some(holder) = store::holder_of(tx, new)? {
        return Err(employees::Error::EmployeeExists(holder.email.to_string()));
    }
    store::insert(tx, new)?;
    let event = about(new, Kind::EmployeeAdded, actor).detail("name", &new.name);
    audit::append(tx, &event.maybe("keybase", new.keybase_name.as_ref()))?;
    Ok(())
}

/// Maximum number of open sessions that are listed when somebody may no longer log in.
pub const SESSIONS_MAX: i64 = 100;

/// An employee whose state has changed.
#[derive(Debug)]
pub struct Changed {
    /// The employee before the change.
    pub employee: Employee,
    /// Number of their waiting logins that were refused.
    pub refused: usize,
    /// Their open sessions, newest first, at most [`SESSIONS_MAX`]. Empty if they may log in.
    pub open: Vec<Session>,
}

/// Suspends, resumes or removes an employee. Suspending and removing also refuses their waiting logins.
///
/// # Errors
/// [`employees::Error::NoSuchEmployee`]; [`employees::Error::SameState`] if the state would not change.
pub fn set_state(
    tx: &Tx<'_>,
    rules: &Rules,
    actor: &Actor,
    email: &Email,
    state: State,
) -> Result<Changed, Error> {
    let employee = service::find(tx, email)?;
    if employee.state == state {
        return Err(employees::Error::SameState(email.to_string(), state.as_str()).into());
    }
    store::set_state(tx, &employee.id, state)?;
    let (kind, revocation) = match state {
        State::Active => (Kind::EmployeeResumed, None),
        State::Suspended => (Kind::EmployeeSuspended, Some(Revocation::Suspended)),
        State::Removed => (Kind::EmployeeRemoved, Some(Revocation::Removed)),
    };
    let event = about(&employee, kind, actor).detail("before", employee.state.as_str());
    audit::append(tx, &event.detail("after", state.as_str()))?;
    let Some(why) = revocation else { return Ok(Changed { employee, refused: 0, open: Vec::new() }) };
    let refused = revoke_all_of(tx, rules, &employee.unix_name, why, actor)?;
    let open = sessions::newest(tx, true, Some(&employee.unix_name), SESSIONS_MAX)?;
    Ok(Changed { employee, refused, open })
}

fn about(employee: &Employee, kind: Kind, actor: &Actor) -> Event {
    let user = Some(employee.unix_name.clone());
    Event { user, ..Event::new(kind, actor.clone()).detail("email", &employee.email) }
}
