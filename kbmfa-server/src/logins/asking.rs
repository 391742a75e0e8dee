//! What happens to an ask: each function is one action inside the caller's transaction, with its event.

use super::Error;
use super::events::about_ask;
use super::store::asks::{self, Ask};
use super::store::{self, Login};
use crate::audit::{Kind, store as audit};
use crate::db::Tx;
use crate::policy::{Channel, Terms};
use crate::random;

/// Asks about a login in one channel. An ask at the console counts as posted as soon as it is in the database.
pub(super) fn ask_in(tx: &Tx<'_>, login: &Login, terms: &Terms, channel: Channel) -> Result<(), Error> {
    let destination = match channel {
        Channel::Console => Channel::Console.to_string(),
        Channel::Keybase => terms.destination.clone(),
    };
    let (id, approvers) = (random::hex::<16>()?, terms.approvers.clone());
    let (login_id, asked_at) = (login.id.clone(), tx.now);
    let ask = Ask {
        id,
        login: login_id,
        channel,
        destination,
        approvers,
        message: None,
        asked_at,
        sends: 0,
        sent_at: None,
    };
    asks::insert(tx, &ask)?;
    if channel == Channel::Console {
        asks::posted(tx, &ask.id, &ask.id)?;
        record_posting(tx, login, &ask, &ask.id)?;
    }
    Ok(())
}

/// Records that the chat has posted an ask.
///
/// # Errors
/// What the database says.
pub fn ask_posted(tx: &Tx<'_>, ask: &Ask, message: &str) -> Result<(), Error> {
    if asks::posted(tx, &ask.id, message)?
        && let Some(login) = store::by_id(tx, &ask.login)?
    {
        record_posting(tx, &login, ask, message)?;
    }
    Ok(())
}

fn record_posting(tx: &Tx<'_>, login: &Login, ask: &Ask, message: &str) -> Result<(), Error> {
    let event = about_ask(login, Kind::AskPosted, ask);
    audit::append(tx, &event.detail("message", message))?;
    Ok(())
}

/// Records a second message about the same ask, on which people may have answered.
///
/// # Errors
/// What the database says.
pub fn ask_doubled(tx: &Tx<'_>, ask: &Ask, message: &str) -> Result<(), Error> {
    if asks::add_copy(tx, ask, message)?
        && let Some(login) = store::by_id(tx, &ask.login)?
    {
        audit::append(tx, &about_ask(&login, Kind::AskDoubled, ask).detail("message", message))?;
    }
    Ok(())
}

/// Closes an ask whose message cannot be edited into the verdict.
///
/// # Errors
/// What the database says.
pub fn abandon_ask(tx: &Tx<'_>, ask: &Ask, why: &str) -> Result<(), Error> {
    asks::close(tx, &ask.id)?;
    if let Some(login) = store::by_id(tx, &ask.login)? {
        audit::append(tx, &about_ask(&login, Kind::AskAbandoned, ask).detail("why", why))?;
    }
    Ok(())
}
