//! Actions on an ask. Each function is one action inside the caller's transaction, with its event.

use super::Error;
pub(crate) use super::events::about_ask;
use super::store::Login;
use super::store::asks::{self, Ask};
use crate::audit::{Kind, store as audit};
use crate::db::Tx;
use crate::policy::{Channel, Terms};
use crate::random;

/// Creates an ask about a login in one channel. An ask at the console counts as posted as soon as it is in
/// the database.
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

/// Records in the audit log that an ask is posted.
///
/// # Errors
/// What the database says.
pub(crate) fn record_posting(tx: &Tx<'_>, login: &Login, ask: &Ask, message: &str) -> Result<(), Error> {
    let event = about_ask(login, Kind::AskPosted, ask);
    audit::append(tx, &event.detail("message", message))?;
    Ok(())
}
