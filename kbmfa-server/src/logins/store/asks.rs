//! The SQL of asks and of answers.

use kbmfa_proto::names::LoginId;
use std::collections::HashMap;

use crate::channels::Answer;
use crate::clock::Time;
use crate::db::{Error, Row, Tx, Value};
use crate::policy::{Approver, Approvers, Channel};

/// A row of `ask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Opaque id.
    pub id: String,
    /// The login that it is about.
    pub login: LoginId,
    /// The channel.
    pub channel: Channel,
    /// The destination in that channel.
    pub destination: String,
    /// Who may answer.
    pub approvers: Approvers,
    /// The chat's id of the message, once it is posted.
    pub message: Option<String>,
    /// When the login was opened.
    pub asked_at: Time,
    /// Number of attempts to send it. If it is not 0, the ask may be posted even though `message` is empty.
    pub sends: i64,
    /// Start of the last attempt to send it.
    pub sent_at: Option<Time>,
}

const ASK: &str =
    "SELECT id, login_id, relay, destination, approvers, message, asked_at, sends, sent_at FROM ask";

fn ask(row: &Row<'_>) -> Result<Ask, Error> {
    Ok(Ask {
        id: row.text("id")?,
        login: row.parsed("login_id")?,
        channel: row.parsed("relay")?,
        destination: row.text("destination")?,
        approvers: row.parsed("approvers")?,
        message: row.text_or_null("message")?,
        asked_at: row.time("asked_at")?,
        sends: row.integer("sends")?,
        sent_at: row.time_or_null("sent_at")?,
    })
}

pub(in crate::logins) fn insert(tx: &Tx<'_>, ask: &Ask) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO ask (id, login_id, relay, destination, approvers, state, asked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 'wanted', ?6)",
        &[
            ask.id.as_str().into(),
            ask.login.as_str().into(),
            ask.channel.as_str().into(),
            ask.destination.as_str().into(),
            ask.approvers.to_string().into(),
            ask.asked_at.into(),
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

/// The work that an ask needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// To be posted.
    Wanted,
    /// To be edited into the decision.
    Ended,
}

/// Ids of the asks in a chat that need this work. The machines take turns, each with its oldest ask first, so
/// that many asks of one machine do not delay those of another.
pub fn due(tx: &Tx<'_>, chat: Channel, which: Due) -> Result<Vec<String>, Error> {
    // One statement per state, so that SQLite uses the partial index of that state.
    let sql = match which {
        Due::Wanted => {
            "SELECT ask.id, quota FROM ask JOIN login ON login.id = login_id WHERE relay = ?1 AND ask.state = 'wanted'
             ORDER BY asked_at, ask.id LIMIT 1000"
        }
        Due::Ended => {
            "SELECT ask.id, quota FROM ask JOIN login ON login.id = login_id WHERE relay = ?1 AND ask.state = 'ended'
             ORDER BY asked_at, ask.id LIMIT 1000"
        }
    };
    Ok(in_turns(tx.query(sql, &[chat.as_str().into()], |row| Ok((row.text("quota")?, row.text("id")?)))?))
}

/// Orders (machine, id) pairs in rounds: the first id of each machine, then the second of each, and so on.
fn in_turns(found: Vec<(String, String)>) -> Vec<String> {
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut turns: Vec<(usize, String)> = Vec::with_capacity(found.len());
    for (machine, id) in found {
        let turn = taken.entry(machine).or_default();
        turns.push((*turn, id));
        *turn += 1;
    }
    // The sort is stable, so it keeps the order within a round.
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, id)| id).collect()
}

/// The ask with this id.
pub fn by_id(tx: &Tx<'_>, id: &str) -> Result<Option<Ask>, Error> {
    tx.query_one(&format!("{ASK} WHERE id = ?1"), &[id.into()], ask)
}

/// The posted messages of a chat whose logins are pending.
pub fn list_posted(tx: &Tx<'_>, chat: Channel) -> Result<Vec<String>, Error> {
    let sql = "SELECT message FROM ask WHERE relay = ?1 AND state = 'posted' AND message IS NOT NULL";
    tx.query(sql, &[chat.as_str().into()], |row| row.text("message"))
}

/// The ask to which this message belongs, as its own message or as a copy.
pub fn of_message(tx: &Tx<'_>, chat: Channel, message: &str) -> Result<Option<Ask>, Error> {
    let values = [chat.as_str().into(), message.into()];
    let own = tx.query_one(&format!("{ASK} WHERE relay = ?1 AND message = ?2"), &values, ask)?;
    if own.is_some() {
        return Ok(own);
    }
    let sql = "SELECT ask_id FROM ask_copy WHERE relay = ?1 AND message = ?2";
    let copied = tx.query_one(sql, &values, |row| row.text("ask_id"))?;
    copied.map_or(Ok(None), |id| by_id(tx, &id))
}

/// The ask in a chat whose id begins with `id`.
pub fn beginning(tx: &Tx<'_>, chat: Channel, id: &str) -> Result<Option<Ask>, Error> {
    // Ids are hexadecimal, so `g` sorts after all of them.
    let values = [chat.as_str().into(), id.into(), format!("{id}g").into()];
    tx.query_one(&format!("{ASK} WHERE relay = ?1 AND id >= ?2 AND id < ?3 LIMIT 1"), &values, ask)
}

/// The copies of an ask: its messages besides its own.
pub fn copies(tx: &Tx<'_>, ask: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT message FROM ask_copy WHERE ask_id = ?1 ORDER BY relay, message LIMIT 100";
    tx.query(sql, &[ask.into()], |row| row.text("message"))
}

/// Records a copy of an ask; false if it is known already.
pub fn add_copy(tx: &Tx<'_>, ask: &Ask, message: &str) -> Result<bool, Error> {
    let sql =
        "INSERT INTO ask_copy (ask_id, relay, message, state, found_at) VALUES (?1, ?2, ?3, 'found', ?4)
               ON CONFLICT DO NOTHING";
    let values = [ask.id.as_str().into(), ask.channel.as_str().into(), message.into(), tx.now.into()];
    Ok(tx.execute(sql, &values)? == 1)
}

/// Copies that are not edited yet.
pub fn found_copies(tx: &Tx<'_>, chat: Channel) -> Result<Vec<String>, Error> {
    let sql = "SELECT message FROM ask_copy WHERE relay = ?1 AND state = 'found' ORDER BY message LIMIT 200";
    tx.query(sql, &[chat.as_str().into()], |row| row.text("message"))
}

/// Marks a copy as edited.
pub fn copy_told(tx: &Tx<'_>, chat: Channel, message: &str) -> Result<(), Error> {
    let sql = "UPDATE ask_copy SET state = 'told' WHERE relay = ?1 AND message = ?2";
    tx.execute(sql, &[chat.as_str().into(), message.into()])?;
    Ok(())
}

/// Records an attempt to send the ask, before it begins.
pub fn sending(tx: &Tx<'_>, ask: &str) -> Result<(), Error> {
    tx.execute("UPDATE ask SET sends = sends + 1, sent_at = ?2 WHERE id = ?1", &[ask.into(), tx.now.into()])?;
    Ok(())
}

/// Records the first attempt to send the asks of a new login, in the transaction that opens it.
pub fn sending_at_once(tx: &Tx<'_>, login: &LoginId) -> Result<(), Error> {
    let sql =
        "UPDATE ask SET sends = 1, sent_at = asked_at WHERE login_id = ?1 AND state = 'wanted' AND sends = 0";
    tx.execute(sql, &[login.as_str().into()])?;
    Ok(())
}

/// Records the ask's message; false if the ask has one already. The login may have ended meanwhile.
pub fn posted(tx: &Tx<'_>, ask: &str, message: &str) -> Result<bool, Error> {
    let sql = "UPDATE ask SET state = CASE state WHEN 'wanted' THEN 'posted' ELSE state END, message = ?2,
                   posted_at = ?3 WHERE id = ?1 AND message IS NULL";
    Ok(tx.execute(sql, &[ask.into(), message.into(), tx.now.into()])? == 1)
}

/// Ends the asks of a login that has ended. Those in a chat are then to be edited into the decision, those at
/// the console are closed.
pub(in crate::logins) fn end_all(tx: &Tx<'_>, login: &LoginId) -> Result<(), Error> {
    let sql = "UPDATE ask SET state = CASE relay WHEN 'console' THEN 'closed' ELSE 'ended' END,
                   closed_at = CASE relay WHEN 'console' THEN ?2 ELSE closed_at END
               WHERE login_id = ?1 AND state IN ('wanted', 'posted')";
    tx.execute(sql, &[login.as_str().into(), tx.now.into()])?;
    Ok(())
}

/// Closes an ask: its message shows the decision, or cannot be edited.
pub fn close(tx: &Tx<'_>, ask: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE ask SET state = 'closed', closed_at = ?2 WHERE id = ?1",
        &[ask.into(), tx.now.into()],
    )?;
    Ok(())
}

/// A row of `answer`.
#[derive(Debug, Clone)]
pub(in crate::logins) struct Given<'a> {
    pub(in crate::logins) id: String,
    pub(in crate::logins) ask: &'a str,
    pub(in crate::logins) person: &'a Approver,
    pub(in crate::logins) answer: Answer,
    pub(in crate::logins) rejection: Option<&'a str>,
    pub(in crate::logins) note: Option<&'a str>,
}

pub(in crate::logins) fn insert_answer(tx: &Tx<'_>, given: &Given<'_>) -> Result<(), Error> {
    let counted = i64::from(given.rejection.is_none());
    tx.execute(
        "INSERT INTO answer (id, ask_id, person, answer, counted, why_not, note, answered_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            given.id.as_str().into(),
            given.ask.into(),
            given.person.to_string().into(),
            given.answer.as_str().into(),
            Value::from(counted),
            given.rejection.into(),
            given.note.into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

/// True if the same answer of this person is recorded already.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_asks_of_one_machine_do_not_stand_before_one_of_another() {
        let flood = (0..100).map(|n| ("web2".to_owned(), format!("flood{n}")));
        let honest = [("web1".to_owned(), "honest".to_owned())];
        let order = in_turns(flood.chain(honest).collect());
        assert_eq!(order[..3], ["flood0", "honest", "flood1"]);
        assert_eq!((order.len(), order[100].as_str()), (101, "flood99"));
    }
}
