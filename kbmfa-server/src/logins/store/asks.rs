//! The SQL of asks and of the answers to them.

use kbmfa_proto::names::LoginId;

use crate::db::{Error, Row, Tx, Value};
use crate::policy::{Approver, Approvers};
use crate::relay::Answer;

/// An ask as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Opaque id.
    pub id: String,
    /// The login that it is about.
    pub login: LoginId,
    /// Which relay, and where in it.
    pub destination: (String, String),
    /// Who may answer.
    pub approvers: Approvers,
    /// The relay's id of the message, once it is posted.
    pub message: Option<String>,
}

const ASK: &str = "SELECT id, login_id, relay, destination, approvers, message FROM ask";

fn ask(row: &Row<'_, '_>) -> Result<Ask, Error> {
    Ok(Ask {
        id: row.text("id")?,
        login: row.parsed("login_id")?,
        destination: (row.text("relay")?, row.text("destination")?),
        approvers: row.parsed("approvers")?,
        message: row.text_or_null("message")?,
    })
}

pub(in crate::logins) fn insert(tx: &Tx<'_>, ask: &Ask) -> Result<(), Error> {
    let (relay, destination) = &ask.destination;
    tx.execute(
        "INSERT INTO ask (id, login_id, relay, destination, approvers, state, asked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 'wanted', ?6)",
        &[
            ask.id.as_str().into(),
            ask.login.as_str().into(),
            relay.as_str().into(),
            destination.as_str().into(),
            ask.approvers.to_string().into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

/// The asks about a login.
///
/// # Errors
/// What the database says.
pub fn of(tx: &Tx<'_>, login: &LoginId) -> Result<Vec<Ask>, Error> {
    tx.query(&format!("{ASK} WHERE login_id = ?1 ORDER BY id"), &[login.as_str().into()], ask)
}

/// What an ask needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::logins) enum Due {
    /// To be posted.
    Wanted,
    /// To become the verdict.
    Ended,
}

/// Ids of the asks of a relay that need this, the longest waiting first.
pub(in crate::logins) fn due(tx: &Tx<'_>, relay: &str, which: Due) -> Result<Vec<String>, Error> {
    // A statement for each: only then SQLite sees that the partial index of that state fits.
    let sql = match which {
        Due::Wanted => {
            "SELECT id FROM ask WHERE relay = ?1 AND state = 'wanted' ORDER BY asked_at, id LIMIT 200"
        }
        Due::Ended => {
            "SELECT id FROM ask WHERE relay = ?1 AND state = 'ended' ORDER BY asked_at, id LIMIT 200"
        }
    };
    tx.query(sql, &[relay.into()], |row| row.text("id"))
}

/// One ask.
pub(in crate::logins) fn by_id(tx: &Tx<'_>, id: &str) -> Result<Option<Ask>, Error> {
    tx.query_one(&format!("{ASK} WHERE id = ?1"), &[id.into()], ask)
}

/// The messages of a relay that stand unanswered.
pub(in crate::logins) fn standing(tx: &Tx<'_>, relay: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT message FROM ask WHERE relay = ?1 AND state = 'posted' AND message IS NOT NULL";
    tx.query(sql, &[relay.into()], |row| row.text("message"))
}

/// The ask that is this message, answered or not.
pub(in crate::logins) fn of_message(tx: &Tx<'_>, relay: &str, message: &str) -> Result<Option<Ask>, Error> {
    tx.query_one(&format!("{ASK} WHERE relay = ?1 AND message = ?2"), &[relay.into(), message.into()], ask)
}

/// Records the message; false if that was done before. The login may have ended meanwhile.
pub(in crate::logins) fn posted(tx: &Tx<'_>, ask: &str, message: &str) -> Result<bool, Error> {
    let sql = "UPDATE ask SET state = CASE state WHEN 'wanted' THEN 'posted' ELSE state END, message = ?2,
                   posted_at = ?3 WHERE id = ?1 AND message IS NULL";
    Ok(tx.execute(sql, &[ask.into(), message.into(), tx.now.into()])? == 1)
}

/// The login has ended: its asks are to become the verdict.
pub(in crate::logins) fn end_all(tx: &Tx<'_>, login: &LoginId) -> Result<(), Error> {
    let sql = "UPDATE ask SET state = 'ended' WHERE login_id = ?1 AND state IN ('wanted', 'posted')";
    tx.execute(sql, &[login.as_str().into()])?;
    Ok(())
}

pub(in crate::logins) fn close(tx: &Tx<'_>, ask: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE ask SET state = 'closed', closed_at = ?2 WHERE id = ?1",
        &[ask.into(), tx.now.into()],
    )?;
    Ok(())
}

/// An answer that somebody gave.
#[derive(Debug, Clone)]
pub(in crate::logins) struct Given<'a> {
    pub(in crate::logins) id: String,
    pub(in crate::logins) ask: &'a str,
    pub(in crate::logins) person: &'a Approver,
    pub(in crate::logins) answer: Answer,
    pub(in crate::logins) why_not: Option<&'a str>,
    pub(in crate::logins) note: Option<&'a str>,
}

pub(in crate::logins) fn insert_answer(tx: &Tx<'_>, given: &Given<'_>) -> Result<(), Error> {
    let counted = i64::from(given.why_not.is_none());
    tx.execute(
        "INSERT INTO answer (id, ask_id, person, answer, counted, why_not, note, answered_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            given.id.as_str().into(),
            given.ask.into(),
            given.person.to_string().into(),
            given.answer.as_str().into(),
            Value::from(counted),
            given.why_not.into(),
            given.note.into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

/// True if this very answer is on record already.
pub(in crate::logins) fn was_answered(
    tx: &Tx<'_>,
    login: &LoginId,
    person: &Approver,
    answer: Answer,
) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM answer JOIN ask ON ask.id = ask_id
               WHERE login_id = ?1 AND person = ?2 AND answer = ?3 LIMIT 1";
    let values = [login.as_str().into(), person.to_string().into(), answer.as_str().into()];
    Ok(tx.query_one(sql, &values, |_| Ok(()))?.is_some())
}
