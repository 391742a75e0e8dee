//! Ends logins for which no machine asks: overdue ones, those of a machine or a person that may no longer log in,
//! and those of a restored backup. Each function is one action inside the caller's transaction, with its events.

use kbmfa_proto::names::{LoginId, UserName};

use super::Error;
use super::facts::subject;
use super::grants;
use super::keys;
use super::rules::Rules;
use super::service::apply;
use super::state::{Change, Input, Revocation};
use super::store::{self, reach};
use crate::audit::Actor;
use crate::db::Tx;
use crate::policy::{self, Reach};

/// Maximum number of overdue logins of each kind that one transaction of the sweep ends. It limits how long
/// other writes wait.
const SWEPT_MAX: i64 = 20;

/// Ends overdue logins, at most `SWEPT_MAX` of each kind, and returns them. If it returns any, there may be
/// more.
///
/// # Errors
/// What the database says.
pub fn sweep(tx: &Tx<'_>, rules: &Rules) -> Result<Vec<LoginId>, Error> {
    let mut changed = Vec::new();
    for mut login in store::due(tx, rules.grace.length, SWEPT_MAX)? {
        if apply(tx, rules, &mut login, Input::Tick, &Actor::new("clock"))? != Change::None {
            changed.push(login.id);
        }
    }
    Ok(changed)
}

/// Call it after a start until it returns `Some`: it returns `None` until the chat's first check is over. If
/// the chat is down then, it denies the logins that waited for it and have no other channel, a limited number
/// at a time, and returns them.
///
/// # Errors
/// What the database says.
pub fn end_start(tx: &Tx<'_>, rules: &Rules) -> Result<Option<Vec<LoginId>>, Error> {
    let since = rules.grace.listening_since;
    let (Some(started), Some(chat)) = (since, rules.chat) else { return Ok(Some(Vec::new())) };
    if reach::is_starting(tx, chat, since)? {
        return Ok(None);
    }
    if reach::reach(tx, chat, since)? != Reach::Down {
        return Ok(Some(Vec::new()));
    }
    let mut refused = Vec::new();
    for mut login in store::unasked(tx, started)? {
        let subject = subject(tx, (&login.machine_id, &login.machine), &login.opened)?;
        let terms = policy::terms_for(&rules.policy, &subject);
        if policy::channels_now(terms, Reach::Down).is_empty() {
            apply(tx, rules, &mut login, Input::Revoke(Revocation::RelayDown), &Actor::new("policy"))?;
            refused.push(login.id);
        }
    }
    Ok(Some(refused))
}

/// Handles a poll whose connection broke: the login ends unless the machine polls again within the grace.
///
/// # Errors
/// What the database says.
pub fn poll_broke(tx: &Tx<'_>, rules: &Rules, id: &LoginId, poll: i64) -> Result<(), Error> {
    Ok(store::shorten(tx, id, poll, tx.now + rules.grace.length)?)
}

/// Denies all unfinished logins of a machine that is being removed.
///
/// # Errors
/// What the database says.
pub fn revoke_all_at(tx: &Tx<'_>, rules: &Rules, machine_id: &str, actor: &Actor) -> Result<(), Error> {
    for mut login in store::unfinished_of(tx, machine_id)? {
        apply(tx, rules, &mut login, Input::Revoke(Revocation::MachineRemoved), actor)?;
    }
    Ok(())
}

/// Ends all unfinished logins of a restored backup, because after the backup they may have been denied, or
/// their approvals used.
///
/// # Errors
/// What the database says.
pub fn revoke_all_restored(tx: &Tx<'_>, rules: &Rules, actor: &Actor) -> Result<(), Error> {
    for mut login in store::unfinished(tx)? {
        apply(tx, rules, &mut login, Input::Revoke(Revocation::Restored), actor)?;
    }
    Ok(())
}

/// Denies the unfinished logins of people who have no live grant to the machine any more, if grants are required.
/// Returns how many.
///
/// # Errors
/// What the database says.
pub fn revoke_ungranted(tx: &Tx<'_>, rules: &Rules, actor: &Actor) -> Result<usize, Error> {
    let mut revoked = 0;
    for mut login in store::unfinished(tx)? {
        let key = keys::of(tx, &login.opened)?;
        if grants::is_missing(tx, rules, &login.machine_id, (&login.opened, key.as_ref()))? {
            let change = apply(tx, rules, &mut login, Input::Revoke(Revocation::NoGrant), actor)?;
            revoked += usize::from(change != Change::None);
        }
    }
    Ok(revoked)
}

/// Denies all unfinished logins for which one of these keys was used. Returns how many.
///
/// # Errors
/// What the database says.
pub fn revoke_all_with(
    tx: &Tx<'_>,
    rules: &Rules,
    fingerprints: &[String],
    why: Revocation,
    actor: &Actor,
) -> Result<usize, Error> {
    let mut revoked = 0;
    let with_one = |login: &store::Login| login.key.as_ref().is_some_and(|key| fingerprints.contains(key));
    for mut login in store::unfinished(tx)?.into_iter().filter(with_one) {
        let change = apply(tx, rules, &mut login, Input::Revoke(why), actor)?;
        revoked += usize::from(change != Change::None);
    }
    Ok(revoked)
}

/// Denies all unfinished logins of a suspended or removed person, on all machines.
///
/// # Errors
/// What the database says.
pub fn revoke_all_of(
    tx: &Tx<'_>,
    rules: &Rules,
    user: &UserName,
    why: Revocation,
    actor: &Actor,
) -> Result<usize, Error> {
    let mut revoked = 0;
    for mut login in
        store::unfinished(tx)?.into_iter().filter(|login| login.opened.accounts().any(|name| name == user))
    {
        revoked += usize::from(apply(tx, rules, &mut login, Input::Revoke(why), actor)? != Change::None);
    }
    Ok(revoked)
}
