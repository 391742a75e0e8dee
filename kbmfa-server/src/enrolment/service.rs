//! Reads who may enrol a key: the holder of an invite, and the holder of an enrolled key.

use super::invite::{self, Invite, Outcome};
use super::store;
use crate::db::{Error, Tx};
use crate::employees::{Email, State};
use crate::keys::State as KeyState;
use crate::keys::service::{Owned, owned};

/// What an attempt with this invite does, and the invite; `None` if there is none with this id. Changes nothing.
pub fn judge(
    tx: &Tx<'_>,
    id: &str,
    (secret, email): (&str, &Email),
    key: Option<&str>,
) -> Result<Option<(Invite, Outcome)>, Error> {
    let Some(found) = store::invite(tx, id)? else { return Ok(None) };
    let outcome = invite::judge(&found, (secret, email), key, tx.now);
    Ok(Some((found, outcome)))
}

/// The active key with exactly this fingerprint, if its owner may log in.
pub fn signer(tx: &Tx<'_>, fingerprint: &str) -> Result<Option<Owned>, Error> {
    let found = owned(tx, fingerprint)?;
    Ok(found.filter(|found| found.key.state == KeyState::Active && found.owner.state == State::Active))
}
