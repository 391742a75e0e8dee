//! The SQL that finds and removes old rows of logins, sessions, reports and notices.

use crate::clock::Time;
use crate::db::{Error, Tx};

/// The position of a walk: the row with this time and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor(Time, String);

impl Cursor {
    /// Before the first row.
    pub(super) const START: Self = Self(Time::from_micros(i64::MIN), String::new());
}

/// How many rows of each kind were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub(super) logins: usize,
    pub(super) asks: usize,
    pub(super) answers: usize,
    pub(super) sessions: usize,
    pub(super) reports: usize,
    pub(super) notices: usize,
}

impl Removed {
    /// Each kind of which rows were removed, with their number.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let counts = [
            ("logins", self.logins),
            ("asks", self.asks),
            ("answers", self.answers),
            ("sessions", self.sessions),
            ("reports", self.reports),
            ("notices", self.notices),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0)
    }
}

/// A page of rows: before a time, after a position, and at most this many.
type Page<'a> = (Time, &'a Cursor, i64);

/// A row, and whether it may be removed.
struct Found {
    at: Cursor,
    is_over: bool,
}

fn page(tx: &Tx<'_>, sql: &str, (before, from, limit): Page<'_>) -> Result<Vec<Found>, Error> {
    let Cursor(at, id) = from;
    tx.query(sql, &[(*at).into(), id.as_str().into(), before.into(), limit.into()], |row| {
        Ok(Found { at: Cursor(row.time("at")?, row.text("id")?), is_over: row.integer("is_over")? == 1 })
    })
}

/// The position after a page; `None` if there are no more rows.
fn next(found: Vec<Found>, limit: i64) -> Option<Cursor> {
    let is_full = i64::try_from(found.len()).is_ok_and(|count| count >= limit);
    found.into_iter().next_back().filter(|_| is_full).map(|last| last.at)
}

/// Removes sessions that were closed before that time. An open one is kept, unless its machine was removed
/// before that time, because then nobody can report its end.
pub(super) fn prune_sessions(
    tx: &Tx<'_>,
    what: Page<'_>,
    removed: &mut Removed,
) -> Result<Option<Cursor>, Error> {
    let sql = "SELECT heard_at AS at, id, CASE WHEN closed_at < ?3 OR EXISTS (SELECT 1 FROM machine
                   WHERE machine.id = machine_id AND removed_at < ?3) THEN 1 ELSE 0 END AS is_over
               FROM session WHERE (heard_at, id) > (?1, ?2) AND heard_at < ?3 ORDER BY heard_at, id LIMIT ?4";
    let found = page(tx, sql, what)?;
    for Found { at: Cursor(_, id), .. } in found.iter().filter(|found| found.is_over) {
        removed.sessions += tx.execute("DELETE FROM session WHERE id = ?1", &[id.as_str().into()])?;
    }
    Ok(next(found, what.2))
}

/// Removes logins that were opened before that time, with their asks and answers. A login is kept while it
/// waits, its approval can be collected, an ask must still be edited, or a session of its connection is kept.
/// The last is because a denial applies to the connection for as long as that may exist.
pub(super) fn prune_logins(
    tx: &Tx<'_>,
    what: Page<'_>,
    removed: &mut Removed,
) -> Result<Option<Cursor>, Error> {
    let sql = "SELECT opened_at AS at, id, CASE WHEN state = 'pending'
                   OR state = 'approved' AND collected_at IS NULL AND lapsed_at IS NULL
                   OR EXISTS (SELECT 1 FROM ask WHERE ask.login_id = login.id AND ask.state <> 'closed')
                   OR EXISTS (SELECT 1 FROM session WHERE session.machine_id = login.machine_id
                       AND session.connection = login.connection) THEN 0 ELSE 1 END AS is_over
               FROM login WHERE (opened_at, id) > (?1, ?2) AND opened_at < ?3 ORDER BY opened_at, id LIMIT ?4";
    let found = page(tx, sql, what)?;
    for Found { at: Cursor(_, id), .. } in found.iter().filter(|found| found.is_over) {
        let answers = "DELETE FROM answer WHERE ask_id IN (SELECT id FROM ask WHERE login_id = ?1)";
        removed.answers += tx.execute(answers, &[id.as_str().into()])?;
        let copies = "DELETE FROM ask_copy WHERE ask_id IN (SELECT id FROM ask WHERE login_id = ?1)";
        tx.execute(copies, &[id.as_str().into()])?;
        removed.asks += tx.execute("DELETE FROM ask WHERE login_id = ?1", &[id.as_str().into()])?;
        removed.logins += tx.execute("DELETE FROM login WHERE id = ?1", &[id.as_str().into()])?;
    }
    Ok(next(found, what.2))
}

/// Removes some old rows of reports and of notices. A report's row makes a repeated report count once, but
/// reports that old are never sent again.
pub(super) fn prune_reports_and_notices(
    tx: &Tx<'_>,
    before: Time,
    limit: i64,
    removed: &mut Removed,
) -> Result<(), Error> {
    let reports = "DELETE FROM report WHERE (machine_id, id) IN
                   (SELECT machine_id, id FROM report WHERE taken_at < ?1 ORDER BY taken_at LIMIT ?2)";
    removed.reports += tx.execute(reports, &[before.into(), limit.into()])?;
    let notices = "DELETE FROM notice WHERE id IN
                   (SELECT id FROM notice WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)";
    removed.notices += tx.execute(notices, &[before.into(), limit.into()])?;
    Ok(())
}

#[cfg(test)]
pub(super) mod testing {
    use super::{Error, Tx};

    /// Closes every ask that has ended, as the outbox does once it has edited the message.
    pub(in crate::retention) fn close_asks(tx: &Tx<'_>) -> Result<(), Error> {
        tx.execute("UPDATE ask SET state = 'closed' WHERE state = 'ended'", &[]).map(drop)
    }
}
