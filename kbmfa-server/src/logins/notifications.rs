//! What people are told besides asks, each no more often than is good. Whatever it is stands in a row first, so that it is told
//! after a restart too.

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
use crate::machines::caller::Caller;
use crate::machines::hosts;
use crate::policy::{Approver, Channel, Refusal};
use crate::random;
use crate::secret::SecretHash;

/// People are told again of a limit that goes on being reached after this.
const NOTICE_PAUSE: Duration = Duration::from_secs(600);

/// People are told again of a machine and its clone after this.
const TWIN_PAUSE: Duration = Duration::from_secs(86_400);
/// No login waits for so long: what is said once in this time about an ask is said once.
const LONGER_THAN_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// Tells people that a limit was reached: once in a while about the same login, however often it is tried.
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

/// Tells people that policy refused a login: once in a while about the same, however often it is tried.
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

/// Notes on which computer a credential was used, and tells people when there are two: once a day, however often both are
/// used.
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
    // No quota: whoever copied the credential could use the machine's up, and nobody would hear of the copy.
    let about = About { subject: &subject, worth, repeated, quota: None };
    if notices::raise(tx, &notice, about, TWIN_PAUSE)? {
        let event = Event::new(Kind::MachineSeenTwice, Actor::machine(&caller.name)).machine(&caller.name);
        let event = event.detail("why", twin.as_str()).detail("host", told.machine.as_str());
        audit::append(tx, &event.detail("boot", told.boot.as_str()))?;
        log::warn!("machine {}: {}", caller.name, twin.sentence());
    }
    Ok(())
}

/// What counts as the same. With the `AUTH_TOKEN` any name can be claimed, so that names make no difference.
fn subject(login: &Login, refusal: Refusal) -> String {
    if login.machine.is_claimed() {
        return format!("{} claimed", refusal.code());
    }
    format!("{} {} {} {}", refusal.code(), login.machine_id, login.user(), login.source_key)
}

/// Tells people something through the relay, once in a while about the same subject; true if they are told.
///
/// # Errors
/// What the database says.
pub fn notice(tx: &Tx<'_>, rules: &Rules, about: About<'_>, text: String) -> Result<bool, Error> {
    let notice = for_everybody(rules, text)?;
    Ok(notices::raise(tx, &notice, about, NOTICE_PAUSE)?)
}

/// Tells people the head of the record, so that the relay witnesses it, unless it was told within the pause.
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

/// A notice where people are told what is about no ask: in the chat's default destination, or at the console.
fn for_everybody(rules: &Rules, text: String) -> Result<notices::Notice, Error> {
    let channel = rules.chat.unwrap_or(Channel::Console);
    let destination = rules.policy.default.destination.clone();
    Ok(notices::Notice { id: random::hex::<16>()?, channel, destination, text, reply_to: None })
}

/// A notice where an ask was posted, in reply to its message.
fn in_reply(ask: &Ask, text: String) -> Result<notices::Notice, Error> {
    let (destination, reply_to) = (ask.destination.clone(), ask.message.clone());
    Ok(notices::Notice { id: random::hex::<16>()?, channel: ask.channel, destination, text, reply_to })
}

/// A short reply to the ask.
pub(super) fn rejection(tx: &Tx<'_>, ask: &Ask, answer: &LiveAnswer) -> Result<(), Error> {
    let Some(rejection) = &answer.rejection else { return Ok(()) };
    let text = notice_texts::did_not_count(answer.person.name(), answer.answer, rejection);
    let notice = in_reply(ask, text)?;
    let subject = format!("reply {}", notice.id);
    let about = About { subject: &subject, worth: Worth::Alarm, repeated: Repeated::Dropped, quota: None };
    notices::raise(tx, &notice, about, Duration::ZERO)?;
    Ok(())
}

/// Tells somebody what counts whose reaction decides nothing: once for each ask and person.
pub(super) fn unclear(tx: &Tx<'_>, ask: &Ask, person: &Approver, how: &str) -> Result<(), Error> {
    let subject = format!("unclear {} {person}", ask.id);
    reply(tx, ask, &subject, notice_texts::unclear(person.name(), how)).map(drop)
}

/// Tells people once that the message that asked was deleted, and puts that on record.
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

/// Says something about an ask where it was asked, once about the same subject; true if it is said.
fn reply(tx: &Tx<'_>, ask: &Ask, subject: &str, text: String) -> Result<bool, Error> {
    let notice = in_reply(ask, text)?;
    let about = About { subject, worth: Worth::Alarm, repeated: Repeated::Dropped, quota: None };
    Ok(notices::raise(tx, &notice, about, LONGER_THAN_ASKED)?)
}
