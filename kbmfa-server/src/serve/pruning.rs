//! The loop that removes old rows. It walks through the old logins and sessions, a few rows in each
//! transaction.

use std::time::Duration;

use crate::db::lease;
use crate::long_poll::Logins;
use crate::progress::Progress;
use crate::retention::Walk;
use crate::usecases::retention::prune_some;

/// Pause between two transactions.
const REST: Duration = Duration::from_millis(100);

/// Time from one walk to the next.
const INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// Runs until the process ends. With several servers, only one of them walks at a time.
pub(super) async fn run(logins: Logins, holder: lease::Holder, progress: Progress) {
    loop {
        walk(&logins, &holder, &progress).await;
        progress.waiting(tokio::time::sleep(INTERVAL)).await;
    }
}

async fn walk(logins: &Logins, holder: &lease::Holder, progress: &Progress) {
    let db = logins.db().for_bulk();
    let mut walk = Walk::new(db.now().minus(logins.rules().keep));
    while !walk.is_done() {
        progress.round().await;
        let (from, holder) = (walk.clone(), holder.clone());
        let stepped = db.write("retention.prune", move |tx| {
            if lease::hold(tx, "retention", &holder)? { prune_some(tx, from).map(Some) } else { Ok(None) }
        });
        match stepped.await {
            Ok(Some(next)) => walk = next,
            Ok(None) => return,
            Err(error) => return log::error!("old logins are not pruned now: {error}"),
        }
        tokio::time::sleep(REST).await;
    }
}
