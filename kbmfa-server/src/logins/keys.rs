//! The employee's key that was used for a login, where the machine reports it.

use kbmfa_proto::login::{FirstFactor, OpenLogin};

use super::key;
use crate::db::{Error, Tx};
use crate::keys::State;
use crate::keys::service::{self, Owned};

/// The key of a login, if an employee has or had it.
pub(super) fn of(tx: &Tx<'_>, opened: &OpenLogin) -> Result<Option<Owned>, Error> {
    let FirstFactor::Publickey { key } = &opened.first_factor else { return Ok(None) };
    let Some(key) = key::read(key) else { return Ok(None) };
    service::owned(tx, &key.fingerprint)
}

/// True if the key was revoked.
pub(super) fn is_revoked(key: Option<&Owned>) -> bool {
    key.is_some_and(|owned| owned.key.state == State::Revoked)
}
