//! The employee's key that was used for a login, where the machine reports it.

use kbmfa_proto::login::{FirstFactor, OpenLogin};

use super::key;
use super::state::Revocation;
use crate::db::{Error, Tx};
use crate::keys::State;
use crate::keys::service::{self, Owned};
use crate::policy::Refusal;

/// The key of a login, if an employee has or had it.
pub(super) fn of(tx: &Tx<'_>, opened: &OpenLogin) -> Result<Option<Owned>, Error> {
    let FirstFactor::Publickey { key } = &opened.first_factor else { return Ok(None) };
    let Some(key) = key::read(key) else { return Ok(None) };
    service::owned(tx, &key.fingerprint)
}

/// Why a login with this key is refused, if it is.
pub(super) fn refusal(key: Option<&Owned>) -> Option<Refusal> {
    match key?.key.state {
        State::Active => None,
        State::Pending => Some(Refusal::PendingKey),
        State::Revoked => Some(Refusal::RevokedKey),
    }
}

/// [`refusal`] of a login that waits.
pub(super) fn revocation(key: Option<&Owned>) -> Option<Revocation> {
    match key?.key.state {
        State::Active => None,
        State::Pending => Some(Revocation::PendingKey),
        State::Revoked => Some(Revocation::RevokedKey),
    }
}
