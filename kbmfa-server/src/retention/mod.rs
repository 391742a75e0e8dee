//! Removes rows that are older than the operator wants to keep: ended logins with their asks and answers,
//! closed sessions, and old records of reports and notices. It never touches the audit log; `audit archive`
//! does that.
//!
//! A walk goes through each table from the oldest row on. Each transaction handles a few rows and has one
//! audit event. Logins and sessions that have not ended are skipped, however old they are.

pub mod store;

#[cfg(test)]
mod tests;

use crate::audit::Kind;
use crate::audit::store::search::{Filter, search};
use crate::clock::Time;
use crate::db::{Error, Tx};
use store::Cursor;

pub use store::Removed;

/// Number of rows read in one transaction. It limits how long the next login waits
/// ([`crate::db::BULK_WORK`]).
const BATCH: i64 = 25;

/// The position of a walk, and its time limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    before: Time,
    stage: Stage,
}

/// The tables, in the order of a walk. Sessions come first, because a login is kept as long as its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Sessions(Cursor),
    Logins(Cursor),
    ReportsAndNotices,
    Done,
}

impl Walk {
    /// Begins a walk that removes what is older than this.
    pub fn new(before: Time) -> Self {
        Self { before, stage: Stage::Sessions(Cursor::START) }
    }

    /// True at the end of the walk.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Only rows that are older than this are removed.
    pub fn before(&self) -> Time {
        self.before
    }

    /// Reads some rows and removes those that have ended. Returns the next position, and what was removed.
    pub fn step(self, tx: &Tx<'_>) -> Result<(Self, Removed), Error> {
        let Self { before, stage } = self;
        let mut removed = Removed::default();
        let stage = match stage {
            Stage::Sessions(from) => match store::prune_sessions(tx, (before, &from, BATCH), &mut removed)? {
                Some(next) => Stage::Sessions(next),
                None => Stage::Logins(Cursor::START),
            },
            Stage::Logins(from) => match store::prune_logins(tx, (before, &from, BATCH), &mut removed)? {
                Some(next) => Stage::Logins(next),
                None => Stage::ReportsAndNotices,
            },
            Stage::ReportsAndNotices => {
                store::prune_reports_and_notices(tx, before, BATCH, &mut removed)?;
                if removed == Removed::default() { Stage::Done } else { Stage::ReportsAndNotices }
            }
            Stage::Done => Stage::Done,
        };
        Ok((Self { before, stage }, removed))
    }
}

/// The time limit of the last step that removed rows, from the audit log.
pub fn pruned_before(tx: &Tx<'_>) -> Result<Option<String>, Error> {
    let filter = Filter { kinds: vec![Kind::RecordsPruned], limit: 1, ..Filter::default() };
    let newest = search(tx, &filter)?.pop();
    let body = newest.and_then(|event| serde_json::from_str::<serde_json::Value>(&event.body).ok());
    Ok(body.and_then(|body| body.pointer("/detail/before")?.as_str().map(str::to_owned)))
}
