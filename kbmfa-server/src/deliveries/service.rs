//! Finds deliveries.

use kbmfa_proto::names::MachineName;

use super::Error;
use super::store::{self, Delivery};
use crate::db::Tx;
use crate::machines::service as machines;

/// The delivery to the machine of this name.
///
/// # Errors
/// [`Error::NotDelivered`], or no such machine.
pub fn find(tx: &Tx<'_>, name: &MachineName) -> Result<Delivery, Error> {
    let machine = machines::find(tx, name)?;
    store::of_machine(tx, &machine.id)?.ok_or_else(|| Error::NotDelivered(name.to_string()))
}
