//! Lets time pass: expires logins that nobody answered, and gives up machines that fell silent.

use std::time::Duration;
use tokio::sync::mpsc;

use super::live::BrokenPoll;
use super::{Logins, service};
use crate::db::lease;

/// How often time is looked at. A waiting machine learns of its own expiry without the sweep.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the process ends. Broken polls are noted by every server, the sweep is made by one of them.
pub async fn run(
    logins: Logins,
    mut broken_polls: mpsc::UnboundedReceiver<BrokenPoll>,
    holder: lease::Holder,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_starting = true;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                is_starting = is_starting && !end_start(&logins).await;
                sweep(&logins, &holder).await;
            }
            broken = broken_polls.recv() => match broken {
                Some(broken) => note(&logins, broken).await,
                None => return,
            },
        }
    }
}

/// Ends whatever is due, a little in each transaction, so that other work comes in between.
async fn sweep(logins: &Logins, holder: &lease::Holder) {
    loop {
        let (rules, holder) = (logins.rules(), holder.clone());
        let swept = logins.db().write("login.sweep", move |tx| {
            if lease::hold(tx, "sweep", &holder)? { service::sweep(tx, &rules) } else { Ok(Vec::new()) }
        });
        match swept.await {
            Ok(changed) if changed.is_empty() => return,
            Ok(changed) => changed.iter().for_each(|id| logins.ended(id)),
            Err(error) => return log::error!("sweep: {error}"),
        }
    }
}

/// Refuses what waits for the relay's first look once that was in vain; true when nothing waits for it any more.
async fn end_start(logins: &Logins) -> bool {
    let rules = logins.rules();
    match logins.db().write("login.start", move |tx| service::end_start(tx, &rules)).await {
        Ok(None) => false,
        Ok(Some(refused)) => {
            for id in &refused {
                logins.ended(id);
            }
            refused.is_empty()
        }
        Err(error) => {
            log::error!("the logins that wait for the relay: {error}");
            false
        }
    }
}

async fn note(logins: &Logins, broken: BrokenPoll) {
    let rules = logins.rules();
    let noted = logins
        .db()
        .write("login.poll-broke", move |tx| service::poll_broke(tx, &rules, &broken.login, broken.poll));
    if let Err(error) = noted.await {
        log::error!("poll of a login broke, and that could not be noted: {error}");
    }
}
