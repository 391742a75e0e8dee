//! Finds the employee who owns a Unix account.

use kbmfa_proto::names::UserName;

use super::store::{self, Employee};
use super::{Email, Error, State};
use crate::db::{self, Tx};
use crate::near::did_you_mean;
use crate::policy::{Approver, Person};

/// The person who owns a Unix account: an employee, or somebody unknown.
pub fn behind(tx: &Tx<'_>, account: &UserName) -> Result<Person, db::Error> {
    Ok(store::by_unix_name(tx, account)?.map_or(Person::Unknown, |employee| person(&employee)))
}

/// An employee as policy judges them.
pub fn person(employee: &Employee) -> Person {
    match employee.state {
        State::Active => Person::Employee(names(employee)),
        State::Suspended => Person::Suspended,
        State::Removed => Person::Removed,
    }
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
    if let Some(employee) = store::by_email(tx, email)? {
        return Ok(employee);
    }
    let known = store::all(tx, false)?.into_iter().map(|employee| employee.email.to_string());
    Err(Error::NoSuchEmployee(email.to_string(), did_you_mean(email.as_str(), known)))
}
