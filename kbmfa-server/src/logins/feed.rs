//! Hears what other processes did to logins - the command line, a second server - and wakes whoever waits
//! here. The audit is the feed: every change of a login has an event.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

use super::{Error, Logins};
use crate::audit::{Kind, journal, store as audit};
use crate::db::Changes;

/// How often the database's version is looked at. The command line pokes besides, so this is the bound for
/// changes by another server.
const INTERVAL: Duration = Duration::from_millis(200);

/// What a waiting machine must hear of.
const ENDS: &[Kind] =
    &[Kind::LoginApproved, Kind::LoginDenied, Kind::LoginExpired, Kind::LoginCancelled, Kind::LoginLapsed];

/// Runs until the database fails. A ring of `poke` makes it look at once.
///
/// # Errors
/// What the database says.
pub async fn run(logins: Logins, poke: Arc<Notify>) -> Result<(), Error> {
    let mut changes = logins.db().watch()?;
    let mut seen = logins.db().read(|tx| Ok::<_, Error>(audit::head(tx)?.seq)).await?;
    let mut last = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = poke.notified() => {}
        }
        let version;
        (changes, version) = version_of(changes).await?;
        if last == Some(version) {
            continue;
        }
        loop {
            let (newest, events) = logins.db().read(move |tx| audit::since(tx, seen)).await?;
            let ended = events.iter().filter(|event| ENDS.contains(&event.kind));
            for id in ended.filter_map(|event| event.login.as_ref()?.parse().ok()) {
                logins.ended(&id);
            }
            for line in events.iter().filter_map(journal::line) {
                log::info!("{line}");
            }
            if newest == std::mem::replace(&mut seen, newest) {
                break;
            }
        }
        logins.tell_relay();
        last = Some(version);
    }
}

async fn version_of(changes: Changes) -> Result<(Changes, i64), Error> {
    let joined =
        tokio::task::spawn_blocking(move || changes.version().map(|version| (changes, version))).await;
    Ok(joined.map_err(|_| crate::db::Error::Closed)??)
}
