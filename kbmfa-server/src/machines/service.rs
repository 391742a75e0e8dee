//! Finds the machine that a request comes from.

use kbmfa_proto::names::MachineName;
use std::time::Duration;

use super::Error;
use super::caller::{Caller, Claim};
use super::store::{self, Machine};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
use crate::near::did_you_mean;
use crate::random;
use crate::secret::SecretHash;

/// Precision of "last seen". A write for each login would cost too much.
const SEEN_GRAIN: Duration = Duration::from_secs(60);

/// Maximum number of claimed names at one time: enough to move a fleet, and a limit for floods.
const CLAIMED_MAX: usize = 1000;

/// The longest possible window, so no login waits longer than this.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// Finds the caller; `None` if the credential is not accepted.
///
/// The first use of a new credential retires the machine's older ones.
pub fn authenticate(
    tx: &Tx<'_>,
    hash: &SecretHash,
    module_version: Option<&str>,
) -> Result<Option<Caller>, Error> {
    let Some(credential) = store::credential(tx, hash, tx.now)? else { return Ok(None) };
    if credential.first_used_at.is_none() {
        let retired = store::first_use(tx, hash, &credential)?;
        if retired > 0 {
            let event = Event::new(Kind::MachineRotated, Actor::machine(&credential.name));
            audit::append(tx, &event.machine(&credential.name).detail("retired", retired))?;
        }
    }
    if credential.last_seen_at.is_none_or(|seen| tx.now.since(seen) >= SEEN_GRAIN) {
        store::seen(tx, &credential.machine_id, module_version)?;
    }
    Ok(Some(Caller { machine_id: credential.machine_id, name: credential.name, login: None }))
}

/// [`authenticate`] for a machine that waits for a login. If the login was opened before its credential was
/// replaced, the old credential is still accepted for that.
pub fn authenticate_waiting(tx: &Tx<'_>, hash: &SecretHash) -> Result<Option<Caller>, Error> {
    let retired_since = tx.now.minus(LONGEST_WAIT);
    let found = store::credential(tx, hash, retired_since)?;
    Ok(found.map(|credential| Caller {
        machine_id: credential.machine_id,
        name: credential.name,
        login: None,
    }))
}

/// The machine that a claim by the `AUTH_TOKEN` names; `None` if nobody has claimed that name. Opening a
/// login, which reports the module's version, adds a machine under the claimed name.
///
/// # Errors
/// [`Error::TooManyClaimed`].
pub fn claimed(tx: &Tx<'_>, claim: &Claim, module_version: Option<&str>) -> Result<Option<Caller>, Error> {
    let known = match (store::machine_by_name(tx, &claim.name)?, module_version) {
        (None, None) => return Ok(None),
        (None, Some(_)) => enter_claimed(tx, claim)?,
        (Some(known), _) => known,
    };
    if known.last_seen_at.is_none_or(|seen| tx.now.since(seen) >= SEEN_GRAIN) {
        store::seen(tx, &known.id, module_version)?;
    }
    Ok(Some(Caller { machine_id: known.id, name: known.name, login: Some(claim.login.clone()) }))
}

fn enter_claimed(tx: &Tx<'_>, claim: &Claim) -> Result<Machine, Error> {
    let claimed = store::machines(tx)?.iter().filter(|machine| machine.name.is_claimed()).count();
    if claimed >= CLAIMED_MAX {
        return Err(Error::TooManyClaimed);
    }
    store::insert_machine(tx, &random::hex::<16>()?, &claim.name)?;
    let event = Event::new(Kind::MachineClaimed, Actor::machine(&claim.name)).machine(&claim.name);
    audit::append(tx, &event.detail("address", claim.address))?;
    find(tx, &claim.name)
}

/// The machine of this name.
///
/// # Errors
/// [`Error::NoSuchMachine`].
pub fn find(tx: &Tx<'_>, name: &MachineName) -> Result<Machine, Error> {
    if let Some(machine) = store::machine_by_name(tx, name)? {
        return Ok(machine);
    }
    let known = store::machines(tx)?.into_iter().map(|machine| machine.name.to_string());
    Err(Error::NoSuchMachine(name.clone(), did_you_mean(name.as_str(), known)))
}

/// Rejects a name that is only claimed: it gets no token and no pool.
///
/// # Errors
/// [`Error::OnlyClaimed`].
pub fn refuse_claimed(name: &MachineName) -> Result<(), Error> {
    if name.is_claimed() { Err(Error::OnlyClaimed(name.clone())) } else { Ok(()) }
}

/// True if this token is valid, or was used. Only reads.
pub fn is_join_token(tx: &Tx<'_>, token: &SecretHash) -> Result<bool, Error> {
    Ok(store::join_token(tx, token)?.is_some_and(|token| tx.now < token.expires_at))
}
