//! Chooses the account of a new employee.

use kbmfa_proto::names::UserName;

use super::{Uids, next, store};
use crate::db::{self, Tx, meta};
use crate::employees::account::check_uid;
use crate::employees::{Email, Error};

/// The uid for somebody who is given one now: the one that the operator chose, or the next of the range.
///
/// # Errors
/// [`Error::UidTaken`], [`Error::BadAccount`], [`Error::UidsUsedUp`].
pub fn choose(tx: &Tx<'_>, uids: Uids, chosen: Option<u32>) -> Result<u32, Error> {
    let Some(uid) = chosen else {
        let given = store::highest_given(tx, uids)?.max(floor(tx, uids)?);
        return Ok(next(uids, given, store::highest_seen(tx, uids)?.as_ref())?);
    };
    check_uid(uid)?;
    match store::holder_of_uid(tx, uid)? {
        Some(email) => Err(Error::UidTaken(uid, email.to_string())),
        None => Ok(uid),
    }
}

/// The highest uid of the range that a database which a restore replaced had given or seen.
fn floor(tx: &Tx<'_>, uids: Uids) -> Result<Option<u32>, db::Error> {
    let floor = meta::get(tx, meta::UID_FLOOR)?.and_then(|uid| uid.parse().ok());
    Ok(floor.filter(|uid| uids.contains(*uid)))
}

/// The highest uid of the range that was given or seen; the next one is above it. A restore hands it over.
pub fn highest(tx: &Tx<'_>, uids: Uids) -> Result<Option<u32>, db::Error> {
    let seen = store::highest_seen(tx, uids)?.map(|seen| seen.uid);
    Ok(store::highest_given(tx, uids)?.max(floor(tx, uids)?).max(seen))
}

/// Records a uid that a machine reported, unless the ledger knows whose it is. It is of the range, and so never given
/// out.
pub fn note_seen(tx: &Tx<'_>, machine_id: &str, uid: u32) -> Result<(), db::Error> {
    match store::holder_of_uid(tx, uid)? {
        Some(_) => Ok(()),
        None => store::saw(tx, machine_id, uid),
    }
}

/// The uid that a Unix name has in the ledger, if it may be given to the person with this address: nobody has
/// had it, or this person has. `Some(None)` if it is theirs without a uid.
///
/// # Errors
/// [`Error::NameTaken`] if it was another person's.
pub fn returning(tx: &Tx<'_>, name: &UserName, email: &Email) -> Result<Option<Option<u32>>, Error> {
    match store::entry(tx, name)? {
        None => Ok(None),
        Some(entry) if entry.email == *email => Ok(Some(entry.uid)),
        Some(entry) => Err(Error::NameTaken(name.to_string(), entry.email.to_string())),
    }
}
