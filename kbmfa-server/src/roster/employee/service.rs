//! What can be done about employees, each with its audit entry; and who is behind a Unix account.

use kbmfa_proto::names::UserName;

use super::store::{self, Employee};
use super::{Email, State};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{self, Tx};
use crate::policy::{Approver, Person};
use crate::roster::Error;

/// Who is behind a Unix account.
///
/// # Errors
/// What the database says.
pub fn behind(tx: &Tx<'_>, account: &UserName) -> Result<Person, db::Error> {
    Ok(match store::by_unix_name(tx, account)? {
        None => Person::Unknown,
        Some(employee) => match employee.state {
            State::Active => Person::Employee(names(&employee)),
            State::Suspended => Person::Suspended,
            State::Removed => Person::Removed,
        },
    })
}

/// The names under which an employee answers.
fn names(employee: &Employee) -> Vec<Approver> {
    let console = Approver::console(employee.unix_name.as_str()).ok();
    let keybase = employee.keybase_name.as_ref().map(Approver::keybase);
    console.into_iter().chain(keybase).collect()
}

/// The employee with this address.
///
/// # Errors
/// [`Error::NoSuchEmployee`].
pub fn find(tx: &Tx<'_>, email: &Email) -> Result<Employee, Error> {
    store::by_email(tx, email)?.ok_or_else(|| Error::NoSuchEmployee(email.to_string()))
}

/// Enters an employee.
///
/// # Errors
/// [`Error::EmployeeExists`] if the address, the account or the Keybase name is somebody's already.
pub fn add(tx: &Tx<'_>, actor: &Actor, new: &Employee) -> Result<(), Error> {
    if let Some(holder) = store::holder_of(tx, new)? {
        return Err(Error::EmployeeExists(holder.email.to_string()));
    }
    store::insert(tx, new)?;
    let event = about(new, Kind::EmployeeAdded, actor).detail("name", &new.name);
    audit::append(tx, &event.maybe("keybase", new.keybase_name.as_ref()))?;
    Ok(())
}

/// Suspends, resumes or removes an employee. What they wait for is refused by the caller, in the same
/// transaction.
///
/// # Errors
/// [`Error::NoSuchEmployee`]; [`Error::SameState`] if there is nothing to change.
pub fn set_state(tx: &Tx<'_>, actor: &Actor, email: &Email, state: State) -> Result<Employee, Error> {
    let employee = find(tx, email)?;
    if employee.state == state {
        return Err(Error::SameState(email.to_string(), state.as_str()));
    }
    store::set_state(tx, &employee.id, state)?;
    let kind = match state {
        State::Active => Kind::EmployeeResumed,
        State::Suspended => Kind::EmployeeSuspended,
        State::Removed => Kind::EmployeeRemoved,
    };
    let event = about(&employee, kind, actor).detail("before", employee.state.as_str());
    audit::append(tx, &event.detail("after", state.as_str()))?;
    Ok(employee)
}

fn about(employee: &Employee, kind: Kind, actor: &Actor) -> Event {
    let user = Some(employee.unix_name.clone());
    Event { user, ..Event::new(kind, actor.clone()).detail("email", &employee.email) }
}
