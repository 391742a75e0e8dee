//! The SQL of the chat's state: whether it is up, and who the members of its team are.

use std::time::Duration;

use crate::clock::Time;
use crate::db::{Error, Tx};
use crate::policy::{Approver, Channel, Membership, Reach};

/// Time for which a published state counts. If it is older, the server that posted asks is gone.
pub const SAID_FOR: Duration = Duration::from_secs(30);

/// Longest time from a server's start until the chat's state is known. Our own Keybase service may take 25 s,
/// and before that the lease of another server may have to expire.
const START_TIME: Duration = Duration::from_secs(45);

/// Time for which a list of members counts.
const MEMBERS_FOR: Duration = Duration::from_secs(180);

/// Records the chat's state. True if it has changed.
///
/// # Errors
/// What the database says.
pub fn say(tx: &Tx<'_>, chat: Channel, why_down: Option<&str>) -> Result<bool, Error> {
    let before =
        tx.query_one("SELECT why_down FROM relay_state WHERE relay = ?1", &[chat.as_str().into()], |row| {
            row.text_or_null("why_down")
        })?;
    let was_up = before.is_some_and(|why_down| why_down.is_none());
    tx.execute(
        "INSERT INTO relay_state (relay, why_down, since, heard_at) VALUES (?1, ?2, ?3, ?3)
         ON CONFLICT (relay) DO UPDATE SET why_down = excluded.why_down, heard_at = excluded.heard_at,
             since = CASE WHEN relay_state.why_down IS NOT DISTINCT FROM excluded.why_down
                          THEN relay_state.since ELSE excluded.since END",
        &[chat.as_str().into(), why_down.into(), tx.now.into()],
    )?;
    Ok(was_up != why_down.is_none())
}

/// Records the list of members.
///
/// # Errors
/// What the database says.
pub fn list(tx: &Tx<'_>, chat: Channel, members: &[Approver]) -> Result<(), Error> {
    tx.execute("DELETE FROM relay_member WHERE relay = ?1", &[chat.as_str().into()])?;
    for member in members {
        tx.execute(
            "INSERT INTO relay_member (relay, person) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            &[chat.as_str().into(), member.to_string().into()],
        )?;
    }
    tx.execute(
        "UPDATE relay_state SET members_at = ?2 WHERE relay = ?1",
        &[chat.as_str().into(), tx.now.into()],
    )?;
    Ok(())
}

/// Why the chat is down; `None` if it is up.
///
/// # Errors
/// What the database says.
pub fn why_down(tx: &Tx<'_>, chat: Channel) -> Result<Option<String>, Error> {
    let sql = "SELECT why_down, heard_at FROM relay_state WHERE relay = ?1";
    let said = tx.query_one(sql, &[chat.as_str().into()], |row| {
        Ok((row.text_or_null("why_down")?, row.time("heard_at")?))
    })?;
    Ok(match said {
        None => Some("it has not been up yet".to_owned()),
        Some((Some(why), _)) => Some(why),
        Some((None, heard_at)) if tx.now.since(heard_at) > SAID_FOR => {
            Some("no server carries asks".to_owned())
        }
        Some((None, _)) => None,
    })
}

/// Whether the chat is up, as far as a server that started at `since` can know.
///
/// # Errors
/// What the database says.
pub(in crate::logins) fn reach(tx: &Tx<'_>, chat: Channel, since: Option<Time>) -> Result<Reach, Error> {
    Ok(match why_down(tx, chat)? {
        None => Reach::Up,
        Some(_) if is_starting(tx, chat, since)? => Reach::Starting,
        Some(_) => Reach::Down,
    })
}

/// True if this server started at `since` and the chat's state was not recorded after that, until
/// [`START_TIME`] has passed.
///
/// # Errors
/// What the database says.
pub(in crate::logins) fn is_starting(tx: &Tx<'_>, chat: Channel, since: Option<Time>) -> Result<bool, Error> {
    let Some(since) = since.filter(|since| tx.now.since(*since) < START_TIME) else { return Ok(false) };
    let sql = "SELECT heard_at FROM relay_state WHERE relay = ?1";
    Ok(tx
        .query_one(sql, &[chat.as_str().into()], |row| row.time("heard_at"))?
        .is_none_or(|heard_at| heard_at < since))
}

/// Whether a person with these names is a member.
///
/// # Errors
/// What the database says.
pub(in crate::logins) fn membership(
    tx: &Tx<'_>,
    chat: Channel,
    names: &[Approver],
) -> Result<Membership, Error> {
    let sql = "SELECT members_at FROM relay_state WHERE relay = ?1";
    let listed = tx.query_one(sql, &[chat.as_str().into()], |row| row.time_or_null("members_at"))?.flatten();
    if listed.is_none_or(|at| tx.now.since(at) > MEMBERS_FOR) {
        return Ok(Membership::Unknown);
    }
    for name in names {
        let sql = "SELECT 1 FROM relay_member WHERE relay = ?1 AND person = ?2";
        if tx.query_one(sql, &[chat.as_str().into(), name.to_string().into()], |_| Ok(()))?.is_some() {
            return Ok(Membership::Member);
        }
    }
    Ok(Membership::Stranger)
}
