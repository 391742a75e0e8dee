//! Audit events about the server itself.

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::{Error, Tx};

/// Records that the database was created, and the pin of its authority.
pub fn initialised(tx: &Tx<'_>, actor: &Actor, pin: &str) -> Result<(), Error> {
    audit::append(tx, &Event::new(Kind::ServerInitialised, actor.clone()).detail("pin", pin)).map(drop)
}

/// Records the start of the server. Returns its time, because a machine's silence counts only from then on.
pub fn started(tx: &Tx<'_>) -> Result<Time, Error> {
    let event = Event::new(Kind::ServerStarted, Actor::new("server"));
    audit::append(tx, &event.detail("version", env!("CARGO_PKG_VERSION")))?;
    Ok(tx.now)
}

/// Records callers that were rejected.
pub fn callers_refused(tx: &Tx<'_>, events: &[Event]) -> Result<(), Error> {
    events.iter().try_for_each(|event| audit::append(tx, event).map(drop))
}
