//! The server's own logins to machines to which it delivers keys. Nobody is asked about them. They are no rows of `login`,
//! and each has one event: there are hundreds of thousands a day.

use kbmfa_proto::login::{Account, FirstFactor, LoginReply, OpenLogin, Phase, State as WireState};
use kbmfa_proto::names::LoginId;
use kbmfa_proto::session::{SessionEvent, SessionReport};

use super::Error;
use super::facts::facts;
use super::key::{self, Key};
use super::people;
use super::rules::Rules;
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::Tx;
use crate::deliveries::own_login::{By, OwnLogin, Seen};
use crate::deliveries::store::own_logins as store;
use crate::machines::caller::Caller;
use crate::policy;

/// The stable code, which docs/protocol.md lists.
const REASON: &str = "own-login";

/// Lets a login in that this server has announced, without asking. `None`: it is a login like any other. A repeated
/// request, and the next phase of the same connection, are answered alike.
pub(super) fn enter(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    id: &LoginId,
    opened: &OpenLogin,
) -> Result<Option<LoginReply>, Error> {
    let Some(seen) = seen(opened, tx.now) else { return Ok(None) };
    let Some((own, by)) = announced(tx, caller, &seen)? else { return Ok(None) };
    let facts = facts(tx, rules, (&caller.machine_id, &caller.name), opened)?;
    if !policy::passes_itself(&facts) || !store::take(tx, &own.id, seen.connection)? {
        return Ok(None);
    }
    store::set_login(tx, &own.id, id)?;
    if own.connection.is_none() {
        let phase = match opened.phase {
            Phase::Auth => "auth",
            Phase::Account => "account",
            Phase::Session => "session",
        };
        audit::append(tx, &event(caller, &seen, by).detail("phase", phase))?;
    }
    Ok(Some(reply(id, WireState::Approved)))
}

/// The reply to a machine that asks again about such a login; `None` if there is none, or its connection has ended.
pub(super) fn poll(tx: &Tx<'_>, caller: &Caller, id: &LoginId) -> Result<Option<LoginReply>, Error> {
    let lets_in = store::lets_in(tx, &caller.machine_id, id)?;
    Ok(lets_in.then(|| reply(id, WireState::Approved)))
}

/// Cancels such a login for its machine; `None` if there is none.
pub(super) fn cancel(tx: &Tx<'_>, caller: &Caller, id: &LoginId) -> Result<Option<LoginReply>, Error> {
    let is_withdrawn = store::withdraw(tx, &caller.machine_id, id)?;
    Ok(is_withdrawn.then(|| reply(id, WireState::Cancelled)))
}

/// Whether a machine reports the session of such a login, which is not kept. On a machine that only reports sessions the
/// report is the first that is heard of the login, and uses the announcement up.
///
/// # Errors
/// What the database says.
pub fn is_session(tx: &Tx<'_>, caller: &Caller, report: &SessionReport) -> Result<bool, Error> {
    if report.event == SessionEvent::LetInUnreachable {
        return Ok(false);
    }
    let connection = report.connection.id.as_str();
    if store::is_taken_by(tx, &caller.machine_id, &report.user, connection)? {
        return Ok(true);
    }
    let (SessionEvent::Opened, Some(ends)) = (report.event, report.connection.ssh) else { return Ok(false) };
    let key = report.key.as_deref().map(plain);
    let Some(key) = key.map_or(Some(None), |key| Some(Some(key?))) else { return Ok(false) };
    let seen = Seen { account: &report.user, ends, connection, key };
    match announced(tx, caller, &seen)? {
        Some((own, By::Ends)) if store::take(tx, &own.id, connection)? => {
            audit::append(tx, &event(caller, &seen, By::Ends))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// The announcement of this connection, and how it is recognised.
fn announced(tx: &Tx<'_>, caller: &Caller, seen: &Seen<'_>) -> Result<Option<(OwnLogin, By)>, Error> {
    let live = store::live(tx, &caller.machine_id, seen.account)?;
    let found = live.into_iter().filter_map(|own| own.recognises(seen, tx.now).map(|by| (own, by)));
    Ok(found.min_by_key(|(_, by)| *by))
}

/// What a login has in common with one of the server's own: an account that exists and has one name, an ssh connection,
/// and a plain key as its first factor.
fn seen(opened: &OpenLogin, now: Time) -> Option<Seen<'_>> {
    let key = match &opened.first_factor {
        FirstFactor::Publickey { key } => Some(plain(key)?),
        // After the auth phase sshd does not tell the key.
        FirstFactor::Sshd if opened.phase != Phase::Auth => None,
        FirstFactor::Sshd | FirstFactor::Stack => return None,
    };
    let is_plain = people::account(opened, now) == Account::Known
        && opened.uid_user.is_none()
        && opened.caller.is_none()
        && !opened.rehearsal;
    let ends = opened.connection.ssh.filter(|_| is_plain)?;
    Some(Seen { account: &opened.user, ends, connection: opened.connection.id.as_str(), key })
}

/// The fingerprint of a key that is no certificate.
fn plain(line: &str) -> Option<String> {
    match key::read(line)? {
        Key { fingerprint, certificate: None } => Some(fingerprint),
        Key { certificate: Some(_), .. } => None,
    }
}

fn event(caller: &Caller, seen: &Seen<'_>, by: By) -> Event {
    let event = Event::new(Kind::DeliveryLogin, Actor::new("server")).machine(&caller.name);
    let event = event.detail("by", by.as_str()).detail("source", seen.ends.client);
    Event { user: Some(seen.account.clone()), ..event.maybe("key", seen.key.as_ref()) }
}

fn reply(id: &LoginId, state: WireState) -> LoginReply {
    let reason = (state == WireState::Approved).then(|| REASON.into());
    LoginReply { id: id.clone(), state, reason, say: None, expires_in_ms: None, held_ms: None }
}
