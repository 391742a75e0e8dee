//! The loop that keeps machines as they should be. It compares what each should have with what was confirmed last, so no
//! change in the roster has to be announced to it, and none can be forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use super::provisioner::Provisioner;
use super::settings::Settings;
use super::snapshot::{self, Snapshot};
use crate::clock::Time;
use crate::db::{self, lease};
use crate::deliveries::store::Delivery;
use crate::deliveries::waits_out;
use crate::fault_log::FaultLog;
use crate::progress::Progress;
use crate::usecases::deliveries as usecase;

/// The lease of the loop: only one server works on machines.
const LEASE: &str = "provision";

/// Interval of the comparison.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest time of a round: a comparison and a write.
pub const BOUND: Duration = Duration::from_secs(30);

/// Runs until the process ends.
pub async fn run(provisioner: Provisioner, holder: lease::Holder, progress: Progress) {
    let mut faults = FaultLog::new("the delivery of keys");
    let permits = Arc::new(Semaphore::new(provisioner.settings().workers));
    loop {
        progress.round().await;
        let due = due(&provisioner, &holder).await;
        for delivery in faults.note(due).unwrap_or_default() {
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { break };
            let provisioner = provisioner.clone();
            tokio::spawn(async move {
                let machine = delivery.machine.clone();
                if let Err(failure) = provisioner.run(delivery, None).await {
                    log::warn!("keys on {machine}: {failure}");
                }
                drop(permit);
            });
        }
        let _ = tokio::time::timeout(INTERVAL, provisioner.woken()).await;
    }
}

/// The machines that are due, the most urgent first; none while another server has the lease.
async fn due(provisioner: &Provisioner, holder: &lease::Holder) -> Result<Vec<Delivery>, db::Error> {
    let db = provisioner.db();
    let holder = holder.clone();
    if !db.write("provision.lease", move |tx| lease::hold(tx, LEASE, &holder)).await? {
        provisioner.abandon();
        return Ok(Vec::new());
    }
    let (settings, busy) = (provisioner.settings(), provisioner.busy());
    let (due, differ) = db
        .read(move |tx| {
            let snapshot = snapshot::read(tx)?;
            Ok::<_, db::Error>((choose(&snapshot, &settings, &busy), differing(&snapshot, &settings)))
        })
        .await?;
    if !differ.is_empty() {
        db.write("delivery.differ", move |tx| usecase::differ(tx, &differ)).await?;
    }
    Ok(due)
}

/// How urgent a pass is; the first ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// Somebody has to lose a key.
    Revoke,
    /// Somebody has to get one.
    Grant,
    /// A check-up.
    CheckUp,
}

/// The machines that are due now.
fn choose(snapshot: &Snapshot, settings: &Settings, busy: &BTreeSet<String>) -> Vec<Delivery> {
    let mut due: Vec<(Urgency, Time, &Delivery)> = Vec::new();
    for delivery in snapshot.deliveries.iter().filter(|delivery| !busy.contains(&delivery.machine_id)) {
        let desired = snapshot.desired(delivery, settings);
        let differs = delivery.applied.as_deref() != Some(desired.hash(delivery.place).as_str());
        let is_due = delivery.next_at <= snapshot.now;
        // After a failure a machine is left alone for its pause, whatever changes; otherwise a change counts at once.
        let is_paused = delivery.failure.as_ref().is_some_and(|(kind, _, _)| waits_out(*kind));
        if !is_due && (!differs || is_paused) {
            continue;
        }
        let urgency = match (differs, snapshot.has_to_lose(delivery, &desired)) {
            (true, true) => Urgency::Revoke,
            (true, false) => Urgency::Grant,
            (false, _) => Urgency::CheckUp,
        };
        due.push((urgency, delivery.next_at, delivery));
    }
    due.sort_by_key(|(urgency, next_at, _)| (*urgency, *next_at));
    due.into_iter().map(|(_, _, delivery)| delivery.clone()).collect()
}

/// The machines that should have another state than the confirmed one, and of which that is not recorded yet.
fn differing(snapshot: &Snapshot, settings: &Settings) -> Vec<String> {
    let confirmed = snapshot.deliveries.iter().filter(|delivery| delivery.differs_since.is_none());
    let differs = |delivery: &&Delivery| {
        delivery.applied.as_deref()
            != Some(snapshot.desired(delivery, settings).hash(delivery.place).as_str())
    };
    confirmed.filter(differs).map(|delivery| delivery.machine_id.clone()).collect()
}
