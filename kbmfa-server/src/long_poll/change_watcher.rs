//! Watches the audit log for logins that other processes (the command line, a second server) have changed,
//! and wakes the polls that wait for them here. Every change of a login has an event, so no change is missed.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

use super::Logins;
use crate::audit::{Kind, journal, store as audit};
use crate::db::Changes;
use crate::fault_log::FaultLog;
use crate::logins::Error;
use crate::progress::Progress;

/// Interval at which the database's version is checked. It is the longest delay for a change by another
/// server; the command line also notifies this server.
const INTERVAL: Duration = Duration::from_millis(200);

/// The kinds of events after which a poll need not wait.
const ENDS: &[Kind] =
    &[Kind::LoginApproved, Kind::LoginDenied, Kind::LoginExpired, Kind::LoginCancelled, Kind::LoginLapsed];

/// Runs until the process ends. A `notify` on the admin socket starts a check at once. If the database cannot
/// be read (for example, because no file descriptor is free), the next check covers the same events.
///
/// # Errors
/// If the database cannot be read at the start.
pub async fn run(logins: Logins, changed: Arc<Notify>, progress: Progress) -> Result<(), Error> {
    let seen = logins.db().read(|tx| Ok::<_, Error>(audit::head(tx)?.seq)).await?;
    let mut feed = Feed { logins, changes: None, seen, last: None };
    let mut faults = FaultLog::new("changes cannot be read");
    loop {
        progress.round().await;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = changed.notified() => {}
        }
        faults.note(feed.look().await);
    }
}

struct Feed {
    logins: Logins,
    changes: Option<Changes>,
    /// Number of the newest event that was checked.
    seen: i64,
    /// The database's version at that check.
    last: Option<i64>,
}

impl Feed {
    async fn look(&mut self) -> Result<(), Error> {
        let changes = if let Some(changes) = self.changes.take() {
            changes
        } else {
            // A version is comparable only within one connection, so a new connection starts again.
            self.last = None;
            self.logins.db().watch()?
        };
        let (changes, version) = version_of(changes).await?;
        self.changes = Some(changes);
        if self.last == Some(version) {
            return Ok(());
        }
        loop {
            let seen = self.seen;
            let (newest, events) = self.logins.db().read(move |tx| audit::since(tx, seen)).await?;
            let ended = events.iter().filter(|event| ENDS.contains(&event.kind));
            for id in ended.filter_map(|event| event.login.as_ref()?.parse().ok()) {
                self.logins.ended(&id);
            }
            for line in events.iter().filter_map(journal::line) {
                log::info!("{line}");
            }
            self.seen = newest;
            if newest == seen {
                break;
            }
        }
        self.logins.notify_outbox();
        self.last = Some(version);
        Ok(())
    }
}

async fn version_of(changes: Changes) -> Result<(Changes, i64), Error> {
    let joined =
        tokio::task::spawn_blocking(move || changes.version().map(|version| (changes, version))).await;
    Ok(joined.map_err(|_| crate::db::Error::Closed)??)
}
