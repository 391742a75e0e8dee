//! Lets time pass: expires logins that nobody answered, and gives up machines that fell silent.

use std::time::Duration;
use tokio::sync::mpsc;

use super::long_poll::BrokenPoll;
use super::{Error, Logins, service};
use crate::db::lease;
use crate::fault_log::FaultLog;
use crate::progress::Progress;

/// How often time is looked at. A waiting machine learns of its own expiry without the sweep.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the process ends. Broken polls are noted by every server, the sweep is made by one of them.
pub async fn run(
    logins: Logins,
    mut broken_polls: mpsc::UnboundedReceiver<BrokenPoll>,
    holder: lease::Holder,
    progress: Progress,
) {
    let (mut faults, mut unnoted) =
        (FaultLog::new("sweep"), FaultLog::new("a poll that broke was not noted"));
    let mut start_faults = FaultLog::new("the logins that wait for the relay");
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_starting = true;
    loop {
        progress.round().await;
        tokio::select! {
            _ = ticks.tick() => {
                is_starting = is_starting && !start_faults.note(end_start(&logins).await).unwrap_or(false);
                faults.note(sweep(&logins, &holder, &progress).await);
            }
            broken = broken_polls.recv() => match broken {
                Some(broken) => drop(unnoted.note(note(&logins, broken).await)),
                None => return,
            },
        }
    }
}

/// Ends whatever is due, a little in each transaction, so that other work comes in between.
async fn sweep(logins: &Logins, holder: &lease::Holder, progress: &Progress) -> Result<(), Error> {
    loop {
        progress.round().await;
        let (rules, holder) = (logins.rules(), holder.clone());
        let swept = logins.db().write("login.sweep", move |tx| {
            if lease::hold(tx, "sweep", &holder)? { service::sweep(tx, &rules) } else { Ok(Vec::new()) }
        });
        let changed = swept.await?;
        if changed.is_empty() {
            return Ok(());
        }
        for id in &changed {
            logins.ended(id);
        }
    }
}

/// Refuses what waits for the relay's first look once that was in vain; true when nothing waits for it any more.
async fn end_start(logins: &Logins) -> Result<bool, Error> {
    let rules = logins.rules();
    let ended = logins.db().write("login.start", move |tx| service::end_start(tx, &rules)).await?;
    let Some(refused) = ended else { return Ok(false) };
    for id in &refused {
        logins.ended(id);
    }
    Ok(refused.is_empty())
}

pub(crate) async fn note(logins: &Logins, broken: BrokenPoll) -> Result<(), Error> {
    let rules = logins.rules();
    let noted = logins
        .db()
        .write("login.poll-broke", move |tx| service::poll_broke(tx, &rules, &broken.login, broken.poll));
    noted.await
}
