//! Actions on employees' keys: each function is one action inside the caller's transaction, with its audit event.

use kbmfa_proto::key::PublicKey;
use kbmfa_proto::text::SafeText;

use super::Error as AnyError;
use super::passwords;
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{self, Tx, meta};
use crate::employees::store::{self as employees, Employee};
use crate::employees::{self as people, Email, service};
use crate::keys::store::{self, Key};
use crate::keys::{
    ADDED_BY_KEYS_MAX, ADDED_BY_KEYS_WITHIN, AddedKeys, Error, Origin, Reason, State, service as keys,
};
use crate::logins::Rules;
use crate::logins::ending::revoke_all_with;
use crate::logins::notifications;
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
    /// Who vouches for it.
    pub origin: Origin,
    /// Fingerprint of the active key of the same person whose place it takes; none for one more device.
    pub replaces: Option<String>,
}

/// A key that was added or approved.
#[derive(Debug)]
pub struct Added {
    /// The key. If it is pending, it counts for nothing until it is approved.
    pub key: Key,
    /// The key whose place it took, now revoked. None while it is pending.
    pub replaced: Option<Revoked>,
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

/// Remembers keys as the server's own: nobody can enrol them, and machines are never told to refuse them.
///
/// # Errors
/// The database failed.
pub fn remember_servers_own(tx: &Tx<'_>, fingerprints: &[String]) -> Result<(), db::Error> {
    let mut known = keys::servers_own(tx)?;
    let before = known.len();
    known.extend(fingerprints.iter().cloned());
    if known.len() > before {
        meta::set(tx, meta::SERVERS_KEYS, &known.into_iter().collect::<Vec<_>>().join(" "))?;
    }
    Ok(())
}

/// Adds a key to an employee. One that another key vouches for waits for [`approve`], unless the rules accept it at
/// once. A notice names a key that no operator has added.
///
/// # Errors
/// [`Error`]: for a key that somebody has or had, a device that has another key, a key to replace or a vouching key that is
/// not an active one of the same person, or too many keys; or an employee that does not exist.
pub fn add(tx: &Tx<'_>, rules: &Rules, actor: &Actor, new: &New) -> Result<Added, AnyError> {
    let employee = service::find(tx, &new.email)?;
    let all = store::of_employee(tx, &employee.id)?;
    // Everything is checked before the first write, so that a caller can go on to find other faults.
    let (key, parent, before) = accepted(tx, rules, (&employee, &all), new)?;
    store::insert(tx, &key)?;
    let event = about(&employee, Kind::KeyAdded, actor, &key).detail("state", key.state);
    let event = event.maybe("vouched-by", parent.map(|key| &key.fingerprint));
    audit::append(tx, &event.maybe("replaces", before.map(|key| &key.fingerprint)))?;
    match (&new.origin, parent) {
        (Origin::Invite, _) => notifications::of_enrolled_key(tx, rules, &employee, (&key, before))?,
        (_, Some(parent)) => notifications::of_added_key(tx, rules, &employee, (&key, parent, before))?,
        (_, None) => {}
    }
    if key.state == State::Pending {
        let with_it = std::slice::from_ref(&key.fingerprint);
        revoke_all_with(tx, rules, with_it, Revocation::PendingKey, actor)?;
        return Ok(Added { key, replaced: None });
    }
    let replaced = before.map(|old| replace(tx, rules, actor, &employee, (old, &key))).transpose()?;
    Ok(Added { key, replaced })
}

/// Checks a new key, without a write. Returns the key, the one that vouches for it, and the one that it replaces.
fn accepted<'a>(
    tx: &Tx<'_>,
    rules: &Rules,
    (employee, all): (&Employee, &'a [Key]),
    new: &New,
) -> Result<(Key, Option<&'a Key>, Option<&'a Key>), AnyError> {
    let email = || new.email.to_string();
    if keys::servers_own(tx)?.contains(new.key.fingerprint()) {
        return Err(Error::ServersOwn.into());
    }
    if let Some(known) = keys::owned(tx, new.key.fingerprint())? {
        return Err(AnyError::Key(match known.key.revoked_for {
            Some(why) => Error::RevokedBefore(why),
            None if known.owner.id == employee.id => Error::HasIt(email(), known.key.device.to_string()),
            None => Error::HeldBy(known.owner.email.to_string()),
        }));
    }
    if new.origin != Origin::Operator && employee.state != people::State::Active {
        return Err(Error::Suspended(email()).into());
    }
    let active =
        |is_it: &dyn Fn(&Key) -> bool| all.iter().find(|key| key.state == State::Active && is_it(key));
    let parent = match &new.origin {
        Origin::Operator | Origin::Invite => None,
        Origin::Key { parent } => {
            let since = tx.now.minus(ADDED_BY_KEYS_WITHIN);
            let recent = all.iter().filter(|key| key.parent_id.is_some() && key.added_at > since).count();
            if recent >= ADDED_BY_KEYS_MAX {
                return Err(Error::TooMany(email()).into());
            }
            Some(active(&|key| key.id == *parent).ok_or_else(|| Error::NotVouched(email()))?)
        }
    };
    let find_replaced = |fingerprint: &String| {
        let found = active(&|key| key.fingerprint == *fingerprint);
        found.ok_or_else(|| Error::NothingToReplace(email(), fingerprint.clone()))
    };
    let before = new.replaces.as_ref().map(find_replaced).transpose()?;
    let stays = |key: &&Key| key.state != State::Revoked && before.is_none_or(|before| before.id != key.id);
    if all.iter().filter(stays).any(|key| key.device == new.device) {
        return Err(Error::DeviceTaken(email(), new.device.to_string()).into());
    }
    let waits = parent.is_some() && rules.added_keys == AddedKeys::Approve;
    let key = Key {
        id: random::hex::<16>().map_err(Error::from)?,
        employee_id: employee.id.clone(),
        fingerprint: new.key.fingerprint().to_owned(),
        line: new.key.line().to_owned(),
        device: new.device.clone(),
        state: if waits { State::Pending } else { State::Active },
        parent_id: parent.map(|key| key.id.clone()),
        replaces_id: before.map(|key| key.id.clone()),
        added_at: tx.now,
        active_at: (!waits).then_some(tx.now),
        revoked_at: None,
        revoked_for: None,
    };
    Ok((key, parent, before))
}

/// Revokes a key whose place another one takes.
fn replace(
    tx: &Tx<'_>,
    rules: &Rules,
    actor: &Actor,
    owner: &Employee,
    (old, new): (&Key, &Key),
) -> Result<Revoked, AnyError> {
    mark(tx, actor, (owner, old), (Reason::Replaced, Some(new)))?;
    let with_it = std::slice::from_ref(&old.fingerprint);
    let refused = revoke_all_with(tx, rules, with_it, Revocation::RevokedKey, actor)?;
    Ok(Revoked { key: old.clone(), owner: owner.email.clone(), refused })
}

/// Lets a key count that waits for an approval. The one that it replaces is revoked, unless it was meanwhile.
///
/// # Errors
/// [`Error::NoSuchKey`], [`Error::Ambiguous`], [`Error::NotPending`].
pub fn approve(tx: &Tx<'_>, rules: &Rules, actor: &Actor, fingerprint: &str) -> Result<Added, AnyError> {
    let (key, owner) = pending(tx, fingerprint)?;
    store::activate(tx, &key.id)?;
    let key = Key { state: State::Active, active_at: Some(tx.now), ..key };
    audit::append(tx, &about(&owner, Kind::KeyApproved, actor, &key))?;
    let all = store::of_employee(tx, &owner.id)?;
    let is_before = |old: &&Key| Some(&old.id) == key.replaces_id.as_ref() && old.state == State::Active;
    let before = all.iter().find(is_before);
    let replaced = before.map(|old| replace(tx, rules, actor, &owner, (old, &key))).transpose()?;
    Ok(Added { key, replaced })
}

/// Refuses a key that waits for an approval, for ever. Returns it as it was.
///
/// # Errors
/// [`Error::NoSuchKey`], [`Error::Ambiguous`], [`Error::NotPending`].
pub fn reject(tx: &Tx<'_>, actor: &Actor, fingerprint: &str) -> Result<Key, AnyError> {
    let (key, owner) = pending(tx, fingerprint)?;
    mark(tx, actor, (&owner, &key), (Reason::Rejected, None))?;
    Ok(key)
}

fn pending(tx: &Tx<'_>, fingerprint: &str) -> Result<(Key, Employee), AnyError> {
    let key = keys::find(tx, fingerprint)?;
    if key.state != State::Pending {
        return Err(Error::NotPending(key.fingerprint, key.state).into());
    }
    let owner = owner(tx, &key)?;
    Ok((key, owner))
}

fn owner(tx: &Tx<'_>, key: &Key) -> Result<Employee, AnyError> {
    let owner = employees::by_id(tx, &key.employee_id)?;
    Ok(owner.ok_or_else(|| people::Error::NoSuchEmployee(key.employee_id.clone(), String::new()))?)
}

/// Revokes a key for ever, and with [`Reason::Lost`] the keys that it vouched for, and those that these vouched for. Logins
/// that wait and used one of them are refused; whoever has a lost key may have chosen the account's password, so that is
/// forgotten. People are told if an enrolled key is the actor. Returns all of them, the key first.
///
/// A key that was revoked before can still be reported lost, for the sake of those keys, and of sessions that are open with
/// it on the machines.
///
/// # Errors
/// [`Error::NoSuchKey`], [`Error::Ambiguous`]; [`Error::AlreadyRevoked`] if there is nothing to revoke.
pub fn revoke(
    tx: &Tx<'_>,
    rules: &Rules,
    actor: &Actor,
    fingerprint: &str,
    why: Reason,
) -> Result<Vec<Revoked>, AnyError> {
    let all = keys::doomed(tx, fingerprint, why)?;
    let mut revoked = Vec::new();
    for key in all {
        let owner = owner(tx, &key)?;
        mark(tx, actor, (&owner, &key), (why, None))?;
        let with_it = std::slice::from_ref(&key.fingerprint);
        let refused = revoke_all_with(tx, rules, with_it, Revocation::RevokedKey, actor)?;
        revoked.push(Revoked { key, owner: owner.email, refused });
    }
    if let (Reason::Lost, Some(first)) = (why, revoked.first()) {
        passwords::remove_password(tx, actor, &owner(tx, &first.key)?)?;
    }
    if let (Some(by), Some(first)) = (actor.who.strip_prefix("key:"), revoked.first()) {
        let keys: Vec<&Key> = revoked.iter().map(|one| &one.key).collect();
        notifications::of_revoked_keys(tx, rules, &owner(tx, &first.key)?, (by, &keys))?;
    }
    Ok(revoked)
}

/// Revokes the keys of an employee who is being removed; returns their fingerprints. The caller ends the logins that
/// wait.
pub(super) fn revoke_all_of(tx: &Tx<'_>, actor: &Actor, owner: &Employee) -> Result<Vec<String>, AnyError> {
    let mut revoked = Vec::new();
    for key in store::of_employee(tx, &owner.id)?.into_iter().filter(|key| key.state != State::Revoked) {
        mark(tx, actor, (owner, &key), (Reason::Removed, None))?;
        revoked.push(key.fingerprint);
    }
    Ok(revoked)
}

/// Revokes a key for this reason, and perhaps because another takes its place.
fn mark(
    tx: &Tx<'_>,
    actor: &Actor,
    (owner, key): (&Employee, &Key),
    (why, by): (Reason, Option<&Key>),
) -> Result<(), db::Error> {
    store::revoke(tx, &key.id, why)?;
    let event = about(owner, Kind::KeyRevoked, actor, key).detail("reason", why);
    audit::append(tx, &event.maybe("replaced-by", by.map(|key| &key.fingerprint)))?;
    Ok(())
}

fn about(owner: &Employee, kind: Kind, actor: &Actor, key: &Key) -> Event {
    let event = Event { user: Some(owner.unix_name.clone()), ..Event::new(kind, actor.clone()) };
    event.detail("email", &owner.email).detail("key", &key.fingerprint).detail("device", &key.device)
}

#[cfg(test)]
mod tests;
