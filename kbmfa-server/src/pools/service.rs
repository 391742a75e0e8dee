//! Finds a pool by its name.

use kbmfa_proto::names::PoolName;

use super::Error;
use super::store::{self, Pool};
use crate::db::Tx;
use crate::near::did_you_mean;

/// The pool of this name.
///
/// # Errors
/// [`Error::NoSuchPool`].
pub fn find(tx: &Tx<'_>, name: &PoolName) -> Result<Pool, Error> {
    if let Some(pool) = store::by_name(tx, name)? {
        return Ok(pool);
    }
    let known = store::all(tx)?.into_iter().map(|pool| pool.name.to_string());
    Err(Error::NoSuchPool(name.clone(), did_you_mean(name.as_str(), known)))
}
