//! Finds keys.

use std::collections::BTreeSet;

use super::lineage::taken_along;
use super::store::{self, Key};
use super::{Error, Reason, State};
use crate::db::{self, Tx, meta};
use crate::employees::store::{self as employees, Employee};

/// The key with this fingerprint, or the only one whose fingerprint begins with it. `SHA256:` may be left out.
///
/// # Errors
/// [`Error::NoSuchKey`], [`Error::Ambiguous`].
pub fn find(tx: &Tx<'_>, text: &str) -> Result<Key, Error> {
    let wanted = format!("SHA256:{}", text.strip_prefix("SHA256:").unwrap_or(text));
    if let Some(key) = store::by_fingerprint(tx, &wanted)? {
        return Ok(key);
    }
    let all = store::all(tx)?;
    let mut fitting = all.iter().filter(|key| key.fingerprint.starts_with(&wanted) && wanted.len() > 7);
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(key.clone()),
        (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
        (None, _) => Err(Error::NoSuchKey(text.to_owned())),
    }
}

/// The keys that a revocation for this reason revokes: the key first, then those that it takes along.
///
/// # Errors
/// [`Error::NoSuchKey`], [`Error::Ambiguous`]; [`Error::AlreadyRevoked`] if there are none.
pub fn doomed(tx: &Tx<'_>, text: &str, why: Reason) -> Result<Vec<Key>, Error> {
    let key = find(tx, text)?;
    let all = store::of_employee(tx, &key.employee_id)?;
    let along: Vec<Key> = taken_along(&all, &key.id, why).into_iter().cloned().collect();
    let is_reported = key.revoked_for == Some(Reason::Lost) || why != Reason::Lost;
    if key.state == State::Revoked && is_reported && along.is_empty() {
        return Err(Error::AlreadyRevoked(key.fingerprint));
    }
    Ok([vec![key], along].concat())
}

/// The fingerprints of the keys by which the server reaches machines, or reached them, or signs orders. A machine that
/// was told to refuse one would refuse the server.
pub fn servers_own(tx: &Tx<'_>) -> Result<BTreeSet<String>, db::Error> {
    let known = meta::get(tx, meta::SERVERS_KEYS)?.unwrap_or_default();
    Ok(known.split_whitespace().map(str::to_owned).collect())
}

/// A registered key and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The key.
    pub key: Key,
    /// Its owner, who may have been suspended or removed.
    pub owner: Employee,
}

/// The registered key with this fingerprint, in any state, and its owner.
pub fn owned(tx: &Tx<'_>, fingerprint: &str) -> Result<Option<Owned>, db::Error> {
    let Some(key) = store::by_fingerprint(tx, fingerprint)? else { return Ok(None) };
    Ok(employees::by_id(tx, &key.employee_id)?.map(|owner| Owned { key, owner }))
}

/// The fingerprints of all keys that an employee has or had.
pub fn fingerprints_of(tx: &Tx<'_>, employee_id: &str) -> Result<Vec<String>, db::Error> {
    Ok(store::of_employee(tx, employee_id)?.into_iter().map(|key| key.fingerprint).collect())
}
