//! The SQL of notices: what people are told that needs no answer.

use std::time::Duration;

use crate::clock::Time;
use crate::db::{Error, Row, Tx};

/// What could not be told for so long is in the record, and is not told any more.
const WORTH_TELLING: Duration = Duration::from_secs(6 * 60 * 60);

/// What a notice is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// People ought to know.
    Alarm,
    /// People may like to know: a flood of these says no more than its beginning.
    News,
}

/// News that may wait, and alarms.
const WAITING_MAX: (i64, i64) = (200, 10_000);

/// Something to tell people once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Opaque id.
    pub id: String,
    /// Which relay, and where in it.
    pub destination: (String, String),
    /// What it says.
    pub text: String,
    /// The relay's id of the message that it answers.
    pub reply_to: Option<String>,
}

/// Puts a notice down, unless there was one about the same subject since then; true if it is new.
pub(in crate::logins) fn raise(
    tx: &Tx<'_>,
    notice: &Notice,
    (subject, worth): (&str, Worth),
    since: Time,
) -> Result<bool, Error> {
    let waiting_max = if worth == Worth::News { WAITING_MAX.0 } else { WAITING_MAX.1 };
    let (relay, destination) = &notice.destination;
    let added = tx.execute(
        "INSERT INTO notice (id, relay, destination, subject, text, created_at, reply_to)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?8
         WHERE NOT EXISTS (SELECT 1 FROM notice WHERE subject = ?4 AND created_at > ?7)
           AND (SELECT count(*) FROM notice WHERE relay = ?2 AND posted_at IS NULL AND created_at > ?9) < ?10",
        &[
            notice.id.as_str().into(),
            relay.as_str().into(),
            destination.as_str().into(),
            subject.into(),
            notice.text.as_str().into(),
            tx.now.into(),
            since.into(),
            notice.reply_to.clone().into(),
            tx.now.minus(WORTH_TELLING).into(),
            waiting_max.into(),
        ],
    )?;
    Ok(added == 1)
}

/// Notices of a relay that nobody was told yet, the oldest first, but none that says nothing any more.
pub(in crate::logins) fn due(tx: &Tx<'_>, relay: &str) -> Result<Vec<Notice>, Error> {
    let sql = "SELECT id, relay, destination, text, reply_to FROM notice
               WHERE relay = ?1 AND posted_at IS NULL AND created_at > ?2 ORDER BY created_at LIMIT 1000";
    tx.query(sql, &[relay.into(), tx.now.minus(WORTH_TELLING).into()], notice)
}

/// Notices put down after that moment, oldest first, with their moments.
///
/// # Errors
/// What the database says.
pub fn after(tx: &Tx<'_>, after: Time) -> Result<Vec<(Time, Notice)>, Error> {
    let sql = "SELECT id, relay, destination, text, reply_to, created_at FROM notice WHERE created_at > ?1 ORDER BY created_at";
    tx.query(sql, &[after.into()], |row| Ok((row.time("created_at")?, notice(row)?)))
}

pub(in crate::logins) fn posted(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("UPDATE notice SET posted_at = ?2 WHERE id = ?1", &[id.into(), tx.now.into()])?;
    Ok(())
}

fn notice(row: &Row<'_, '_>) -> Result<Notice, Error> {
    let destination = (row.text("relay")?, row.text("destination")?);
    let reply_to = row.text_or_null("reply_to")?;
    Ok(Notice { id: row.text("id")?, destination, text: row.text("text")?, reply_to })
}
