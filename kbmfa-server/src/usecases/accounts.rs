//! Gives employees their accounts: a Unix name and a uid that nobody else ever had.

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{self, Tx};
use crate::deliveries::store as deliveries;
use crate::employees::ledger::service::{Taken, choose, hand_over, returning};
use crate::employees::ledger::{Uids, store};
use crate::employees::store::Employee;
use crate::employees::{self, account};

/// The uid of a new employee, if the Unix name may be given to them.
pub(super) fn account_of(
    tx: &Tx<'_>,
    uids: Uids,
    new: &Employee,
    chosen: Option<u32>,
) -> Result<u32, employees::Error> {
    let Employee { unix_name, email, .. } = new;
    let before = returning(tx, unix_name, email)?;
    match before {
        // A name of before the rule, such as one of a directory, may come back.
        Some(_) => {}
        None => account::check(unix_name)?,
    }
    match (before.flatten(), chosen) {
        (Some(uid), None) => Ok(uid),
        (Some(uid), Some(chosen)) if uid == chosen => Ok(uid),
        (Some(uid), Some(_)) => Err(employees::Error::HasUid(email.to_string(), uid)),
        (None, chosen) => choose(tx, uids, chosen),
    }
}

/// Gives an employee of before the ledger a uid, `chosen` or the next of the range. A chosen one replaces another one under
/// which nothing was delivered. Returns the uid.
///
/// # Errors
/// [`employees::Error::UidInUse`] if they have another one than `chosen` on a machine; [`employees::Error`] if none can be given.
pub(super) fn ensure_uid(
    tx: &Tx<'_>,
    uids: Uids,
    actor: &Actor,
    employee: &Employee,
    chosen: Option<u32>,
) -> Result<u32, employees::Error> {
    let entry = store::entry(tx, &employee.unix_name)?;
    let before = entry.and_then(|entry| entry.uid);
    if let Some(uid) = before {
        if chosen.is_none_or(|chosen| chosen == uid) {
            return Ok(uid);
        }
        // Files of theirs have it on the machines.
        if deliveries::delivered_accounts(tx)?.contains(&employee.unix_name) {
            return Err(employees::Error::UidInUse(employee.email.to_string(), uid));
        }
    }
    let uid = choose(tx, uids, chosen)?;
    if let Some(before) = before {
        // An account of that uid may be on a machine, without a key: nobody else is given it.
        hand_over(tx, Taken { uids: [before].into(), ..Taken::default() })?;
    }
    give(tx, employee, uid)?;
    let user = Some(employee.unix_name.clone());
    let event = Event { user, ..Event::new(Kind::EmployeeChanged, actor.clone()) };
    let event = event.detail("email", &employee.email).detail("uid", uid);
    audit::append(tx, &event.maybe("uid-before", before))?;
    Ok(uid)
}

/// Records that the employee has the uid.
pub(super) fn give(tx: &Tx<'_>, employee: &Employee, uid: u32) -> Result<(), db::Error> {
    if store::entry(tx, &employee.unix_name)?.is_some() {
        store::complete(tx, &employee.unix_name, uid, &employee.id)
    } else {
        store::insert(tx, &employee.unix_name, uid, &employee.id)
    }
}
