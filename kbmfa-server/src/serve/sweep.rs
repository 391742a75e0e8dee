//! The sweep: ends logins that nobody answered in time, and logins of machines that fell silent.

use std::time::Duration;
use tokio::sync::mpsc;

use crate::db::lease;
use crate::fault_log::FaultLog;
use crate::logins::Error;
use crate::long_poll::{BrokenPoll, Logins};
use crate::progress::Progress;
use crate::secret::SecretHash;
use crate::usecases::{logins as usecase, machines};

/// Interval of the sweep. A waiting poll notices the end of its login's window by itself.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the process ends. Each server records its own broken polls. By a lease, only one of them
/// sweeps.
pub(super) async fn run(
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
    let mut token_faults = FaultLog::new("a shared token that is a machine's credential was not retired");
    let (mut is_starting, mut retired) = (true, None);
    loop {
        progress.round().await;
        tokio::select! {
            _ = ticks.tick() => {
                is_starting = is_starting && !start_faults.note(end_start(&logins).await).unwrap_or(false);
                token_faults.note(retire_auth_token(&logins, &mut retired).await);
                faults.note(sweep(&logins, &holder, &progress).await);
            }
            broken = broken_polls.recv() => match broken {
                Some(broken) => drop(unnoted.note(note(&logins, broken).await)),
                None => return,
            },
        }
    }
}

/// Ends all overdue logins, in small transactions, so that other writes are not delayed.
async fn sweep(logins: &Logins, holder: &lease::Holder, progress: &Progress) -> Result<(), Error> {
    loop {
        progress.round().await;
        let (rules, holder) = (logins.rules(), holder.clone());
        let swept = logins.db().write("login.sweep", move |tx| {
            if lease::hold(tx, "sweep", &holder)? { usecase::sweep(tx, &rules) } else { Ok(Vec::new()) }
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

/// Retires the `AUTH_TOKEN` as a credential, once for each token that a configuration names.
async fn retire_auth_token(logins: &Logins, done: &mut Option<SecretHash>) -> Result<(), Error> {
    let rules = logins.rules();
    let token = rules.auth_token.as_ref().map(|token| token.hash.clone());
    if token == *done {
        return Ok(());
    }
    logins.db().write("machine.retire-token", move |tx| machines::retire_auth_token(tx, &rules)).await?;
    *done = token;
    Ok(())
}

/// Denies the logins that wait for the chat's first check, if it finds the chat down. True when none is left.
async fn end_start(logins: &Logins) -> Result<bool, Error> {
    let rules = logins.rules();
    let ended = logins.db().write("login.start", move |tx| usecase::end_start(tx, &rules)).await?;
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
        .write("login.poll-broke", move |tx| usecase::poll_broke(tx, &rules, &broken.login, broken.poll));
    noted.await
}
