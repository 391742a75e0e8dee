//! Records actions on certificates that happened while the database was read-only. They are noted in the
//! database, and become audit events as soon as it can be written again.

use kbmfa_proto::pin::Pin;
use kbmfa_proto::text::SafeText;
use serde::{Deserialize, Serialize};

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::{self, Tx, meta};

/// Name of the database's note.
const NOTE: &str = "certificates-owed";

/// One action to record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Owed {
    /// The server's certificate was made.
    Certificate { why: String, names: String, ca: Pin, not_after: Option<Time> },
    /// An authority replaced one that is lost.
    Authority { pin: Pin, machines: usize, by: String, claim: Option<SafeText> },
}

impl Owed {
    fn event(&self) -> Event {
        match self {
            Self::Certificate { why, names, ca, not_after } => {
                let event = Event::new(Kind::ServerCertificateRenewed, Actor::new("server"));
                event
                    .detail("why", why)
                    .detail("names", names)
                    .detail("ca", ca)
                    .maybe("not-after", *not_after)
            }
            Self::Authority { pin, machines, by, claim } => {
                let actor = Actor { who: by.clone(), claim: claim.clone() };
                Event::new(Kind::CaStartedOver, actor).detail("pin", pin).detail("machines", machines)
            }
        }
    }
}

/// Writes the event. While the database is read-only, writes a note instead.
pub(super) fn record(tx: &Tx<'_>, done: Owed) -> Result<(), db::Error> {
    if meta::get(tx, meta::READ_ONLY)?.is_none() {
        return audit::append(tx, &done.event()).map(drop);
    }
    let mut owed = noted(tx)?;
    owed.push((tx.now, done));
    let text = serde_json::to_string(&owed).map_err(|error| db::Error::BadValue(error.to_string()))?;
    meta::set(tx, NOTE, &text)
}

/// Whether there are notes.
pub fn is_any(tx: &Tx<'_>) -> Result<bool, db::Error> {
    Ok(meta::get(tx, NOTE)?.is_some())
}

/// Writes the audit events of what was done while the database was read-only.
pub fn record_all(tx: &Tx<'_>) -> Result<(), db::Error> {
    for (at, done) in noted(tx)? {
        audit::append(tx, &done.event().detail("done-at", at))?;
    }
    meta::remove(tx, NOTE)
}

fn noted(tx: &Tx<'_>) -> Result<Vec<(Time, Owed)>, db::Error> {
    let text = meta::get(tx, NOTE)?;
    let read = text.map(|text| serde_json::from_str(&text)).transpose();
    Ok(read.map_err(|error| db::Error::BadValue(error.to_string()))?.unwrap_or_default())
}
