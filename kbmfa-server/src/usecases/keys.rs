//! Actions on employees' keys: each function is one action inside the caller's transaction, with its audit event.

use kbmfa_proto::key::PublicKey;
use kbmfa_proto::text::SafeText;

use super::Error as AnyError;
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{self, Tx};
use crate::employees::store::{self as employees, Employee};
use crate::employees::{self as people, Email, service};
use crate::keys::store::{self, Key};
use crate::keys::{Error, Reason, State, service as keys};
use crate::logins::Rules;
use crate::logins::ending::revoke_all_with;
use crate::logins::state::Revocation;
use crate::random;

/// A key to add.
#[derive(Debug, Clone)]
pub struct New {
    /// Its owner.
    pub email: Email,
    /// The key.
    pub key: PublicKey,
    /// The computer that has it, as its owner calls it.
    pub device: SafeText,
}

/// Adds a key to an employee.
///
/// # Errors
/// [`Error::HeldBy`], [`Error::HasIt`], [`Error::RevokedBefore`], [`Error::DeviceTaken`], or an employee that does
/// not exist.
pub fn add(tx: &Tx<'_>, actor: &Actor, new: &New) -> Result<Key, Error> {
    let employee = service::find(tx, &new.email)?;
    if let Some(known) = keys::owned(tx, new.key.fingerprint())? {
        return Err(match known.key.revoked_for {
            Some(why) => Error::RevokedBefore(why),
            None if known.owner.id == employee.id => {
                Error::HasIt(new.email.to_string(), known.key.device.to_string())
            }
            None => Error::HeldBy(known.owner.email.to_string()),
        });
    }
    let is_taken = |key: &Key| key.state == State::Active && key.device == new.device;
    if store::of_employee(tx, &employee.id)?.iter().any(is_taken) {
        return Err(Error::DeviceTaken(new.email.to_string(), new.device.to_string()));
    }
    let key = Key {
        id: random::hex::<16>()?,
        employee_id: employee.id.clone(),
        fingerprint: new.key.fingerprint().to_owned(),
        line: new.key.line().to_owned(),
        device: new.device.clone(),
        state: State::Active,
        added_at: tx.now,
        revoked_at: None,
        revoked_for: None,
    };
    store::insert(tx, &key)?;
    audit::append(tx, &about(&employee, Kind::KeyAdded, actor, &key))?;
    Ok(key)
}

/// Why [`add_all`] added no key. The transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum NoneAdded {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The faults, each with the index of its key.
    #[error("{}", .0.iter().map(|(_, error)| error.to_string()).collect::<Vec<_>>().join("\n"))]
    Faulty(Vec<(usize, Error)>),
    /// It was a dry run.
    #[error("no key was added, because it was a dry run")]
    DryRun,
}

/// Adds all of these keys, or none.
///
/// # Errors
/// [`NoneAdded`], with every fault.
pub fn add_all(tx: &Tx<'_>, actor: &Actor, all: &[New], dry_run: bool) -> Result<(), NoneAdded> {
    let mut faults = Vec::new();
    for (at, new) in all.iter().enumerate() {
        match add(tx, actor, new) {
            Ok(_) => {}
            Err(Error::Db(error)) => return Err(error.into()),
            Err(error) => faults.push((at, error)),
        }
    }
    match (faults.is_empty(), dry_run) {
        (false, _) => Err(NoneAdded::Faulty(faults)),
        (true, true) => Err(NoneAdded::DryRun),
        (true, false) => Ok(()),
    }
}

/// A key that was revoked.
#[derive(Debug)]
pub struct Revoked {
    /// The key before.
    pub key: Key,
    /// Its owner's address.
    pub owner: Email,
    /// Number of waiting logins with it that were refused.
    pub refused: usize,
}

/// Revokes a key for ever. Logins that wait and used it are refused.
///
/// # Errors
/// [`Error::NoSuchKey`], [`Error::Ambiguous`], [`Error::AlreadyRevoked`].
pub fn revoke(
    tx: &Tx<'_>,
    rules: &Rules,
    actor: &Actor,
    fingerprint: &str,
    why: Reason,
) -> Result<Revoked, AnyError> {
    let key = keys::find(tx, fingerprint)?;
    if key.state == State::Revoked {
        return Err(Error::AlreadyRevoked(key.fingerprint).into());
    }
    let owner = employees::by_id(tx, &key.employee_id).map_err(Error::from)?;
    let owner = owner.ok_or_else(|| people::Error::NoSuchEmployee(key.employee_id.clone(), String::new()))?;
    mark(tx, actor, (&owner, &key), why)?;
    let with_it = std::slice::from_ref(&key.fingerprint);
    let refused = revoke_all_with(tx, rules, with_it, Revocation::RevokedKey, actor)?;
    Ok(Revoked { key, owner: owner.email, refused })
}

/// Revokes the keys of an employee who is being removed; returns their fingerprints. The caller ends the logins that
/// wait.
pub(super) fn revoke_all_of(tx: &Tx<'_>, actor: &Actor, owner: &Employee) -> Result<Vec<String>, AnyError> {
    let mut revoked = Vec::new();
    for key in store::of_employee(tx, &owner.id)?.into_iter().filter(|key| key.state == State::Active) {
        mark(tx, actor, (owner, &key), Reason::Removed)?;
        revoked.push(key.fingerprint);
    }
    Ok(revoked)
}

fn mark(tx: &Tx<'_>, actor: &Actor, (owner, key): (&Employee, &Key), why: Reason) -> Result<(), db::Error> {
    store::revoke(tx, &key.id, why)?;
    audit::append(tx, &about(owner, Kind::KeyRevoked, actor, key).detail("reason", why))?;
    Ok(())
}

fn about(owner: &Employee, kind: Kind, actor: &Actor, key: &Key) -> Event {
    let event = Event { user: Some(owner.unix_name.clone()), ..Event::new(kind, actor.clone()) };
    event.detail("email", &owner.email).detail("key", &key.fingerprint).detail("device", &key.device)
}
