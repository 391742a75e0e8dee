//! Finds a pool by its name.

use kbmfa_proto::names::PoolName;

use super::Error;
use super::store::{self, Pool};
use crate::db::Tx;

/// The pool of this name.
///
/// # Errors
/// [`Error::NoSuchPool`].
pub fn find(tx: &Tx<'_>, name: &PoolName) -> Result<Pool, Error> {
    store::by_name(tx, name)?.ok_or_else(|| Error::NoSuchPool(name.clone()))
}
