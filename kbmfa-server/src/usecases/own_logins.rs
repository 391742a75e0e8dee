//! The server's own logins to machines. They are announced before the server connects, and get their event when a
//! machine lets them in.

use crate::db::{self, Tx};
use crate::deliveries::Error;
use crate::deliveries::own_login::Announcement;
use crate::deliveries::store::{self, own_logins};
use crate::random;

/// Announces a connection in place of the `earlier` one, which has failed. Returns the announcement's id.
///
/// # Errors
/// [`Error::NotDelivered`]: nobody is let in unasked to a machine to which nothing is delivered.
pub fn announce(tx: &Tx<'_>, announced: &Announcement, earlier: Option<&str>) -> Result<String, Error> {
    if let Some(earlier) = earlier {
        own_logins::end(tx, earlier)?;
    }
    if !store::exists(tx, &announced.machine_id)? {
        return Err(Error::NotDelivered(announced.machine_id.clone()));
    }
    let id = random::hex::<16>()?;
    own_logins::insert(tx, &id, announced)?;
    Ok(id)
}

/// Ends an announcement, because its connection is through or has ended.
///
/// # Errors
/// The database failed.
pub fn end(tx: &Tx<'_>, id: &str) -> Result<(), db::Error> {
    own_logins::end(tx, id)
}

/// Removes what is not needed any more.
///
/// # Errors
/// The database failed.
pub fn forget(tx: &Tx<'_>) -> Result<(), db::Error> {
    own_logins::forget(tx)
}
