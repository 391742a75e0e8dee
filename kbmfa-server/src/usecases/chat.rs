//! What the outbox records about a chat: asks and the answers to them, notices, and the chat's state.

use std::time::Duration;

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::channels::Answers;
use crate::db::Tx;
use crate::logins::asking::{about_ask, record_posting};
use crate::logins::store::asks::{self, Ask};
use crate::logins::store::{self, notices, reach};
use crate::logins::{Error, Rules, decide, notifications};
use crate::policy::{Approver, Channel};

/// The answers that were read from the messages of an ask.
#[derive(Debug, Clone)]
pub struct ReadAnswers {
    /// The ask.
    pub ask: Ask,
    /// The answers.
    pub answers: Answers,
    /// The list of members by which the answers were judged; `None` if it has not changed since the last
    /// time.
    pub members: Option<Vec<Approver>>,
    /// How people answer in this chat, as the end of a sentence.
    pub how: &'static str,
}

/// Applies answers. The login is judged by the same list of members as the answers were.
///
/// # Errors
/// What the database says.
pub fn apply_answers(tx: &Tx<'_>, rules: &Rules, read: &ReadAnswers) -> Result<(), Error> {
    if let Some(members) = &read.members {
        reach::list(tx, read.ask.channel, members)?;
    }
    decide::apply_answers(tx, rules, &read.ask, &read.answers, read.how)
}

/// Records an attempt to send an ask, before it begins.
///
/// # Errors
/// What the database says.
pub fn sending(tx: &Tx<'_>, ask: &Ask) -> Result<(), Error> {
    Ok(asks::sending(tx, &ask.id)?)
}

/// Records that an ask was posted.
///
/// # Errors
/// What the database says.
pub fn posted(tx: &Tx<'_>, ask: &Ask, message: &str) -> Result<(), Error> {
    if asks::posted(tx, &ask.id, message)?
        && let Some(login) = store::by_id(tx, &ask.login)?
    {
        record_posting(tx, &login, ask, message)?;
    }
    Ok(())
}

/// Records further messages of the same ask (copies), on which people may have answered.
///
/// # Errors
/// What the database says.
pub fn doubled<'m>(tx: &Tx<'_>, ask: &Ask, messages: impl IntoIterator<Item = &'m str>) -> Result<(), Error> {
    for message in messages {
        if asks::add_copy(tx, ask, message)?
            && let Some(login) = store::by_id(tx, &ask.login)?
        {
            audit::append(tx, &about_ask(&login, Kind::AskDoubled, ask).detail("message", message))?;
        }
    }
    Ok(())
}

/// Records that a copy of an ask was edited.
///
/// # Errors
/// What the database says.
pub fn copy_edited(tx: &Tx<'_>, chat: Channel, message: &str) -> Result<(), Error> {
    Ok(asks::copy_told(tx, chat, message)?)
}

/// Closes an ask whose message shows the decision.
///
/// # Errors
/// What the database says.
pub fn close(tx: &Tx<'_>, ask: &Ask) -> Result<(), Error> {
    Ok(asks::close(tx, &ask.id)?)
}

/// Closes an ask whose message cannot be edited into the decision.
///
/// # Errors
/// What the database says.
pub fn abandon(tx: &Tx<'_>, ask: &Ask, why: &str) -> Result<(), Error> {
    asks::close(tx, &ask.id)?;
    if let Some(login) = store::by_id(tx, &ask.login)? {
        audit::append(tx, &about_ask(&login, Kind::AskAbandoned, ask).detail("why", why))?;
    }
    Ok(())
}

/// Records that a notice was posted.
///
/// # Errors
/// What the database says.
pub fn notice_posted(tx: &Tx<'_>, notice: &str) -> Result<(), Error> {
    Ok(notices::posted(tx, notice)?)
}

/// Publishes that the chat is up, or why it is down; and its members, if they were listed again.
///
/// # Errors
/// What the database says.
pub fn publish_state(
    tx: &Tx<'_>,
    chat: Channel,
    why_down: Option<&str>,
    members: Option<&[Approver]>,
) -> Result<(), Error> {
    if reach::say(tx, chat, why_down)? {
        let kind = if why_down.is_none() { Kind::RelayUp } else { Kind::RelayDown };
        audit::append(tx, &Event::new(kind, Actor::new(format!("relay:{chat}"))).maybe("why", why_down))?;
    }
    members.map_or(Ok(()), |members| Ok(reach::list(tx, chat, members)?))
}

/// Raises a notice with the head of the audit log. Does nothing if there was such a notice within the pause.
/// True if it will be posted.
///
/// # Errors
/// What the database says.
pub fn post_head(tx: &Tx<'_>, rules: &Rules, pause: Duration) -> Result<bool, Error> {
    notifications::head(tx, rules, pause)
}
