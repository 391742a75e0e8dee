//! The loop that keeps machines as they should be. It compares what each should have with what was confirmed last, so no
//! change in the roster has to be announced to it, and none can be forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::provisioner::Provisioner;
use super::settings::Settings;
use super::snapshot::{self, Snapshot};
use crate::clock::Time;
use crate::db::{self, lease};
use crate::deliveries::store::Delivery;
use crate::fault_log::FaultLog;
use crate::progress::Progress;
use crate::usecases::deliveries as usecase;
use crate::usecases::own_logins;

/// The lease of the loop: only one server works on machines.
const LEASE: &str = "provision";

/// Interval of the comparison.
const INTERVAL: Duration = Duration::from_secs(1);

/// Least time between two tries to take a key away from a machine that failed.
const REVOCATION: Duration = Duration::from_secs(30);

/// Longest time of a round: a comparison and a write.
pub const BOUND: Duration = Duration::from_secs(30);

/// Time after which a pass makes way for others: a machine that hangs keeps its thread, but not its turn.
const TURN: Duration = Duration::from_secs(5);

/// Most passes that take longer than that and make way. More of them keep their turn.
const SLOW_MAX: usize = 256;

/// Runs until the process ends.
pub async fn run(provisioner: Provisioner, holder: lease::Holder, progress: Progress) {
    let mut faults = FaultLog::new("the delivery of keys");
    // Logins do not depend on the keys: a disk on which they cannot be made stops nothing else.
    let (mut key_faults, mut has_keys) = (FaultLog::new("the server's keys for machines"), false);
    let permits = Arc::new(Semaphore::new(provisioner.settings().workers));
    let of_slow = Arc::new(Semaphore::new(SLOW_MAX));
    loop {
        progress.round().await;
        has_keys = has_keys || key_faults.note(provisioner.make_keys().await).is_some();
        let due = due(&provisioner, &holder).await;
        // Each gets a turn as soon as another has ended its own, until it is time to look anew at what is urgent.
        let turns = async {
            for delivery in faults.note(due).unwrap_or_default() {
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
                tokio::spawn(work(provisioner.clone(), delivery, permit, Arc::clone(&of_slow)));
            }
            provisioner.woken().await;
        };
        let _ = tokio::time::timeout(INTERVAL, turns).await;
    }
}

/// One pass. After [`TURN`] it gives its permit back for one of those of slow machines, if one is left.
async fn work(
    provisioner: Provisioner,
    delivery: Delivery,
    permit: OwnedSemaphorePermit,
    of_slow: Arc<Semaphore>,
) {
    let machine = delivery.machine.clone();
    let mut pass = std::pin::pin!(provisioner.run(delivery, None));
    let (passed, _permit) = if let Ok(passed) = tokio::time::timeout(TURN, &mut pass).await {
        (passed, permit)
    } else {
        let slow = of_slow.try_acquire_owned().unwrap_or(permit);
        (pass.await, slow)
    };
    if let Err(failure) = passed {
        log::warn!("keys on {machine}: {failure}");
    }
}

/// The machines that are due, the most urgent first; none while another server has the lease.
async fn due(provisioner: &Provisioner, holder: &lease::Holder) -> Result<Vec<Delivery>, db::Error> {
    let db = provisioner.db();
    let holder = holder.clone();
    let holds = db.write("provision.lease", move |tx| {
        own_logins::forget(tx)?;
        lease::hold(tx, LEASE, &holder)
    });
    if !holds.await? {
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
        let hash = desired.hash(delivery.place, &settings.profiles);
        let differs = delivery.applied.as_deref() != Some(hash.as_str());
        let is_due = delivery.next_at <= snapshot.now;
        // After a failure a machine is left alone for its pause, whatever changes; otherwise a change counts at once.
        let loses = snapshot.has_to_lose(delivery, &desired);
        if !(is_due || differs && may_begin(delivery, loses, snapshot.now)) {
            continue;
        }
        let urgency = match (differs, loses) {
            (true, true) => Urgency::Revoke,
            (true, false) => Urgency::Grant,
            (false, _) => Urgency::CheckUp,
        };
        due.push((urgency, delivery.next_at, delivery));
    }
    due.sort_by_key(|(urgency, next_at, _)| (*urgency, *next_at));
    due.into_iter().map(|(_, _, delivery)| delivery.clone()).collect()
}

/// True if a change counts before the machine is due. It does at once, unless the last pass failed: then a machine is left
/// alone for its pause, but for a loss of a key that may succeed in spite of the failure.
fn may_begin(delivery: &Delivery, loses: bool, now: Time) -> bool {
    let Some((kind, _, _)) = &delivery.failure else { return true };
    // The last try was at least the pause before the next one is due.
    let pause = kind.pause(delivery.failures).saturating_sub(REVOCATION);
    let next =
        Time::from_micros(delivery.next_at.micros() - i64::try_from(pause.as_micros()).unwrap_or_default());
    loses && kind.lets_revocations_pass() && next <= now
}

/// The machines that should have another state than the confirmed one, and of which that is not recorded yet.
fn differing(snapshot: &Snapshot, settings: &Settings) -> Vec<String> {
    let confirmed = snapshot.deliveries.iter().filter(|delivery| delivery.differs_since.is_none());
    let differs = |delivery: &&Delivery| {
        let hash = snapshot.desired(delivery, settings).hash(delivery.place, &settings.profiles);
        delivery.applied.as_deref() != Some(hash.as_str())
    };
    confirmed.filter(differs).map(|delivery| delivery.machine_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliveries::failure::Kind;
    use crate::deliveries::store::Given;
    use crate::deliveries::{self, Place};
    use crate::provision::desired::Roster;
    use std::collections::BTreeMap;

    const NOW: Time = Time::from_micros(1_800_000_000_000_000);

    fn delivery(name: &str, applied: Option<&str>, due_in: i64, failure: Option<Kind>) -> Delivery {
        Delivery {
            machine_id: name.to_owned(),
            machine: name.parse().unwrap(),
            place: Place::System,
            by_helper: false,
            leaving: false,
            host_id: None,
            applied: applied.map(str::to_owned),
            applied_at: None,
            differs_since: None,
            next_at: Time::from_micros(NOW.micros() + due_in),
            failures: u32::from(failure.is_some()),
            failure: failure.map(|kind| (kind, String::new(), NOW)),
            hindrances: Vec::new(),
        }
    }

    fn chosen(deliveries: Vec<Delivery>, given: &[&str], busy: &[&str]) -> Vec<String> {
        let given: Given = given
            .iter()
            .map(|machine| {
                let keys = BTreeMap::from([("dora".parse().unwrap(), ["SHA256:x".to_owned()].into())]);
                ((*machine).to_owned(), keys)
            })
            .collect();
        let (roster, access) = (Roster::default(), BTreeMap::new());
        let gone = Given::new();
        let snapshot =
            Snapshot { roster, access, deliveries, given, gone, adoptions: BTreeMap::new(), now: NOW };
        let busy = busy.iter().map(|machine| (*machine).to_owned()).collect();
        let due = choose(&snapshot, &Settings::for_tests(), &busy);
        due.into_iter().map(|delivery| delivery.machine_id).collect()
    }

    #[test]
    fn who_loses_a_key_comes_first_then_who_gets_one_then_check_ups() {
        let nothing = crate::provision::desired::Desired::default().hash(Place::System, &BTreeMap::new());
        let deliveries = vec![
            delivery("check-up", Some(&nothing), -5, None),
            delivery("grant", Some("other"), 1_000_000, None),
            delivery("revoke", Some("other"), 1_000_000, None),
            delivery("confirmed", Some(&nothing), 1_000_000, None),
            delivery("working", None, -5, None),
        ];
        assert_eq!(chosen(deliveries, &["revoke"], &["working"]), ["revoke", "grant", "check-up"]);
    }

    #[test]
    fn a_machine_that_failed_is_left_alone_for_its_pause_unless_a_loss_may_get_through() {
        for kind in Kind::ALL {
            // It failed many times, 31 s ago, and 29 s ago.
            let failed = |seconds: i64| {
                let pause = i64::try_from(kind.pause(9).as_secs()).unwrap();
                let due_in = (pause - seconds).max(1) * 1_000_000;
                vec![Delivery { failures: 9, ..delivery("web1", Some("other"), due_in, Some(kind)) }]
            };
            assert!(chosen(failed(31), &[], &[]).is_empty(), "{kind:?}: a grant waits");
            let is_tried = !chosen(failed(31), &["web1"], &[]).is_empty();
            assert_eq!(is_tried, kind.lets_revocations_pass() && kind != Kind::Busy, "{kind:?}");
            assert!(chosen(failed(29), &["web1"], &[]).is_empty(), "{kind:?}: not as often");
            let due = vec![delivery("web1", Some("other"), 0, Some(kind))];
            assert_eq!(chosen(due, &["web1"], &[]), ["web1"], "{kind:?}");
        }
    }

    #[test]
    fn a_check_up_is_spread_over_two_fifths_of_its_interval() {
        let outcome = deliveries::Outcome::Confirmed;
        let after = |jitter| {
            deliveries::next_pass(&outcome, 0, deliveries::CHECK_UP, jitter, NOW).since(NOW).as_secs()
        };
        assert_eq!((after(0), after(500), after(999)), (720, 900, 1079));
    }
}
