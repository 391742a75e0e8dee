//! Raises notices to people. Each is limited in frequency, and is stored before it is posted, so that a
//! restart does not lose it.

use kbmfa_proto::machine::Host;
use std::time::Duration;

use super::Error;
use super::events::{about, about_ask};
use super::notice_texts;
use super::rules::Rules;
use super::store::Login;
use super::store::asks::Ask;
use super::store::history;
use super::store::notices::{self, About, Repeated, Worth};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::channels::LiveAnswer;
use crate::db::Tx;
use crate::employees::store::Employee;
use crate::keys::store::Key;
use crate::machines::caller::Caller;
use crate::machines::hosts;
use crate::policy::{Approver, Channel, Refusal};
use crate::random;
use crate::secret::SecretHash;

/// Minimum time between two notices about the same limit.
const NOTICE_PAUSE: Duration = Duration::from_secs(600);

/// Minimum time between two notices about the same cloned machine.
const TWIN_PAUSE: Duration = Duration::from_secs(86_400);
/// Longer than any login is pending. A notice with this pause is posted once for an ask.
const LONGER_THAN_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// Raises a notice that a limit was reached, once per [`NOTICE_PAUSE`] for the same user, machine and source.
pub(super) fn of_limit(tx: &Tx<'_>, rules: &Rules, login: &Login, refusal: Refusal) -> Result<(), Error> {
    let from = login.source.as_deref().unwrap_or("an unknown address");
    let subject = subject(login, refusal);
    let text =
        notice_texts::limit_reached(login.user().as_str(), login.machine.as_str(), from, refusal.code());
    if notice(tx, rules, about_login(login, &subject, Worth::Alarm), text)? {
        let event = about(login, Kind::LimitReached, Actor::new("policy"));
        audit::append(tx, &event.detail("limit", refusal.code()).detail("source", from))?;
    }
    Ok(())
}

/// Raises a notice that policy denied a login, once per [`NOTICE_PAUSE`] for the same user, machine and source.
pub(super) fn of_refusal(tx: &Tx<'_>, rules: &Rules, login: &Login, refusal: Refusal) -> Result<(), Error> {
    let from = login.source.as_deref().unwrap_or("an unknown address");
    let subject = subject(login, refusal);
    let text = notice_texts::refused(login.user().as_str(), login.machine.as_str(), from, refusal.code());
    notice(tx, rules, about_login(login, &subject, Worth::News), text).map(drop)
}

fn about_login<'a>(login: &'a Login, subject: &'a str, worth: Worth) -> About<'a> {
    let quota = Some(history::quota(&login.machine_id, &login.machine));
    About { subject, worth, repeated: Repeated::Dropped, quota }
}

/// Records on which computer a credential is used. Raises a notice, at most once a day, if there are two
/// computers.
///
/// # Errors
/// What the database says.
pub fn of_host(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    (credential, told): (&SecretHash, &Host),
) -> Result<(), Error> {
    let Some(twin) = hosts::note(tx, credential, told)? else { return Ok(()) };
    let subject = format!("seen-twice {}", caller.machine_id);
    let text = notice_texts::seen_twice(caller.name.as_str(), twin.sentence());
    let notice = for_everybody(rules, text)?;
    let (worth, repeated) = (Worth::Alarm, Repeated::Dropped);
    // This does not count against the machine's quota, which the holder of the copied credential could use
    // up.
    let about = About { subject: &subject, worth, repeated, quota: None };
    if notices::raise(tx, &notice, about, TWIN_PAUSE)? {
        let event = Event::new(Kind::MachineSeenTwice, Actor::machine(&caller.name)).machine(&caller.name);
        let event = event.detail("why", twin.as_str()).detail("host", told.machine.as_str());
        audit::append(tx, &event.detail("boot", told.boot.as_str()))?;
        log::warn!("machine {}: {}", caller.name, twin.sentence());
    }
    Ok(())
}

/// The subject of a notice. Any name can be claimed with the `AUTH_TOKEN`, so all claimed machines share one
/// subject.
fn subject(login: &Login, refusal: Refusal) -> String {
    if login.machine.is_claimed() {
        return format!("{} claimed", refusal.code());
    }
    format!("{} {} {} {}", refusal.code(), login.machine_id, login.user(), login.source_key)
}

/// Raises a notice, once per `NOTICE_PAUSE` for the same subject; true if it will be posted.
///
/// # Errors
/// What the database says.
pub fn notice(tx: &Tx<'_>, rules: &Rules, about: About<'_>, text: String) -> Result<bool, Error> {
    let notice = for_everybody(rules, text)?;
    Ok(notices::raise(tx, &notice, about, NOTICE_PAUSE)?)
}

/// Raises a notice with the head of the audit log, so that the chat keeps a copy of it. Does nothing if there
/// was such a notice within the pause.
///
/// # Errors
/// What the database says.
pub fn head(tx: &Tx<'_>, rules: &Rules, pause: Duration) -> Result<bool, Error> {
    let newest = audit::head(tx)?;
    let text = notice_texts::head(&format!("{}:{}", newest.seq, newest.seal));
    let notice = for_everybody(rules, text)?;
    let (worth, repeated) = (Worth::Alarm, Repeated::Dropped);
    Ok(notices::raise(tx, &notice, About { subject: "head", worth, repeated, quota: None }, pause)?)
}

/// Raises notices about a key that an enrolled key has added: one for everybody, and one for its owner alone, where the
/// chat can reach them.
///
/// # Errors
/// What the database says.
pub fn of_added_key(
    tx: &Tx<'_>,
    rules: &Rules,
    owner: &Employee,
    (key, parent, before): (&Key, &Key, Option<&Key>),
) -> Result<(), Error> {
    let subject = format!("key-added {}", key.fingerprint);
    let everybody = notice_texts::key_added(owner, key, parent, before);
    of_key(tx, rules, owner, &subject, (everybody, notice_texts::key_added_to_you(key, parent, before)))
}

/// Raises notices about a key that an invite has enrolled: one for everybody, and one for its owner alone, where the chat
/// can reach them.
///
/// # Errors
/// What the database says.
pub fn of_enrolled_key(
    tx: &Tx<'_>,
    rules: &Rules,
    owner: &Employee,
    (key, before): (&Key, Option<&Key>),
) -> Result<(), Error> {
    let subject = format!("key-enrolled {}", key.fingerprint);
    let everybody = notice_texts::key_enrolled(owner, key, before);
    of_key(tx, rules, owner, &subject, (everybody, notice_texts::key_enrolled_to_you(key, before)))
}

/// Raises notices about keys that an enrolled key of the same person, named by its fingerprint, has revoked.
///
/// # Errors
/// What the database says.
pub fn of_revoked_keys(
    tx: &Tx<'_>,
    rules: &Rules,
    owner: &Employee,
    (by, keys): (&str, &[&Key]),
) -> Result<(), Error> {
    let Some(first) = keys.first() else { return Ok(()) };
    let subject = format!("key-revoked {}", first.fingerprint);
    let everybody = notice_texts::keys_revoked(owner, by, keys);
    of_key(tx, rules, owner, &subject, (everybody, notice_texts::keys_revoked_to_you(by, keys)))
}

/// Raises notices that an enrolled key, named by its fingerprint, has set or removed the password of its owner's account on
/// the machines.
///
/// # Errors
/// What the database says.
pub fn of_password(
    tx: &Tx<'_>,
    rules: &Rules,
    owner: &Employee,
    (by, is_set): (&str, bool),
) -> Result<(), Error> {
    // Each change is told, also the second one of a day.
    let subject = format!("password {} {}", owner.id, random::hex::<8>()?);
    let everybody = notice_texts::password(owner, by, is_set);
    of_key(tx, rules, owner, &subject, (everybody, notice_texts::password_to_you(by, is_set)))
}

/// Raises two notices, once for the same subject: one for everybody, and one for the owner of the key alone, where the chat
/// can reach them.
fn of_key(
    tx: &Tx<'_>,
    rules: &Rules,
    owner: &Employee,
    subject: &str,
    (everybody, personal): (String, String),
) -> Result<(), Error> {
    let everybody = for_everybody(rules, everybody)?;
    let (worth, repeated) = (Worth::Alarm, Repeated::Dropped);
    let about = About { subject, worth, repeated, quota: None };
    notices::raise(tx, &everybody, about, LONGER_THAN_ASKED)?;
    let Some((channel, name)) = rules.chat.zip(owner.keybase_name.as_ref()) else { return Ok(()) };
    // As `channels/keybase` writes a conversation with one person.
    let destination = format!("@{name}");
    if destination == everybody.destination {
        return Ok(());
    }
    let personal =
        notices::Notice { id: random::hex::<16>()?, channel, destination, text: personal, reply_to: None };
    let subject = format!("your-{subject}");
    notices::raise(tx, &personal, About { subject: &subject, ..about }, LONGER_THAN_ASKED)?;
    Ok(())
}

/// A notice for the chat's default destination, or for the console if there is no chat.
fn for_everybody(rules: &Rules, text: String) -> Result<notices::Notice, Error> {
    let channel = rules.chat.unwrap_or(Channel::Console);
    let destination = rules.policy.default.destination.clone();
    Ok(notices::Notice { id: random::hex::<16>()?, channel, destination, text, reply_to: None })
}

/// A notice in the destination of an ask, as a reply to its message.
fn in_reply(ask: &Ask, text: String) -> Result<notices::Notice, Error> {
    let (destination, reply_to) = (ask.destination.clone(), ask.message.clone());
    Ok(notices::Notice { id: random::hex::<16>()?, channel: ask.channel, destination, text, reply_to })
}

/// Raises a reply that an answer did not count.
pub(super) fn rejection(tx: &Tx<'_>, ask: &Ask, answer: &LiveAnswer) -> Result<(), Error> {
    let Some(rejection) = &answer.rejection else { return Ok(()) };
    let text = notice_texts::did_not_count(answer.person.name(), answer.answer, rejection);
    let notice = in_reply(ask, text)?;
    let subject = format!("reply {}", notice.id);
    let about = About { subject: &subject, worth: Worth::Alarm, repeated: Repeated::Dropped, quota: None };
    notices::raise(tx, &notice, about, Duration::ZERO)?;
    Ok(())
}

/// Raises a reply to a person with an unclear reaction: once for each ask and person.
pub(super) fn unclear(tx: &Tx<'_>, ask: &Ask, person: &Approver, how: &str) -> Result<(), Error> {
    let subject = format!("unclear {} {person}", ask.id);
    reply(tx, ask, &subject, notice_texts::unclear(person.name(), how)).map(drop)
}

/// Raises a notice, once for each ask, that the ask's message was deleted. Adds an event.
pub(super) fn ask_deleted(tx: &Tx<'_>, ask: &Ask, login: &Login, console: bool) -> Result<(), Error> {
    let (short, until) = (login.id.short(), login.life.expires_at);
    let text =
        notice_texts::ask_deleted(short, login.user().as_str(), login.machine.as_str(), until, console);
    let without_message = Ask { message: None, ..ask.clone() };
    if reply(tx, &without_message, &format!("deleted {}", ask.id), text)? {
        let event = about_ask(login, Kind::AskDeleted, ask);
        audit::append(tx, &event.maybe("message", ask.message.as_ref()))?;
    }
    Ok(())
}

/// Raises a reply to an ask, once for the same subject; true if it will be posted.
fn reply(tx: &Tx<'_>, ask: &Ask, subject: &str, text: String) -> Result<bool, Error> {
    let notice = in_reply(ask, text)?;
    let about = About { subject, worth: Worth::Alarm, repeated: Repeated::Dropped, quota: None };
    Ok(notices::raise(tx, &notice, about, LONGER_THAN_ASKED)?)
}
