//! Records rejected callers: the first rejection from an address at once, repetitions later as a number. The
//! number of events is limited, so that callers cannot flood the audit log, but every rejection is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::audit::{Actor, Event, Kind};
use crate::db::{self, Db};
use crate::fault_log::FaultLog;
use crate::progress::Progress;
use crate::source::{Address, Source};
use crate::usecases::server::callers_refused;

/// Period at whose end repetitions are recorded as a number.
const GATHERED_FOR: Duration = Duration::from_secs(600);

/// Maximum number of sources that are recorded separately in that period. The others share one event.
const SOURCES_MAX: usize = 64;

/// Maximum length of the queue for the audit log. Rejections beyond it are only counted.
const WAITING_MAX: usize = 256;

/// What was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A machine's credential, or a request without one.
    Credential,
    /// The `AUTH_TOKEN`, or the address that it came from.
    AuthToken,
    /// A join token.
    JoinToken,
    /// An invite to enrol a key.
    Invite,
    /// A signature of an employee's key.
    EmployeeKey,
}

impl What {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Credential, Self::AuthToken, Self::JoinToken, Self::Invite, Self::EmployeeKey];

    /// One word for the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::AuthToken => "auth-token",
            Self::JoinToken => "join-token",
            Self::Invite => "invite",
            Self::EmployeeKey => "employee-key",
        }
    }
}

/// One rejection: what was not accepted, and from which address.
type Rejection = (What, Address);

/// Counts rejected callers, and queues them for the audit log.
#[derive(Clone)]
pub struct RejectedCallers {
    counts: Arc<[AtomicU64; What::ALL.len()]>,
    queue: mpsc::Sender<Rejection>,
}

/// The other end of the queue for the audit log.
pub struct Rejections(mpsc::Receiver<Rejection>);

impl RejectedCallers {
    /// A counter without rejections, and the other end of its queue.
    pub fn new() -> (Self, Rejections) {
        let (queue, queued) = mpsc::channel(WAITING_MAX);
        (Self { counts: Arc::default(), queue }, Rejections(queued))
    }

    /// Counts and queues a rejection of a caller at this address.
    pub fn add(&self, what: What, address: Address) {
        if let Some(count) = self.counts.get(what as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // If the queue is full the rejection is only counted.
        let _ = self.queue.try_send((what, address));
    }

    /// Number of rejections since the start, by kind.
    pub fn counts(&self) -> [(What, u64); What::ALL.len()] {
        What::ALL.map(|what| {
            (what, self.counts.get(what as usize).map_or(0, |count| count.load(Ordering::Relaxed)))
        })
    }
}

/// Writes rejections to the audit log until all senders are gone.
pub async fn run(db: Db, mut rejections: Rejections, progress: Progress) {
    let mut faults = FaultLog::new("rejected callers cannot be recorded in the audit log");
    let mut gathered = Gathered::default();
    let mut until = Instant::now() + GATHERED_FOR;
    loop {
        let rejection = progress.waiting(timeout_at(until, rejections.0.recv())).await;
        let events = match rejection {
            Ok(Some(rejection)) => gathered.add(rejection).into_iter().collect(),
            Ok(None) => return,
            Err(_) => {
                until += GATHERED_FOR;
                std::mem::take(&mut gathered).events()
            }
        };
        faults.note(record(&db, events).await);
    }
}

async fn record(db: &Db, events: Vec<Event>) -> Result<(), db::Error> {
    if events.is_empty() {
        return Ok(());
    }
    db.for_bulk().write("caller.refused", move |tx| callers_refused(tx, &events)).await
}

/// Rejections in this period that are not in the audit log yet, as a number for each caller.
#[derive(Default)]
struct Gathered {
    repeated: BTreeMap<(What, Source), u64>,
    elsewhere: BTreeMap<What, u64>,
}

impl Gathered {
    /// Adds a rejection. Returns the event if it is the caller's first.
    fn add(&mut self, (what, address): Rejection) -> Option<Event> {
        let from = (what, address.source());
        if let Some(times) = self.repeated.get_mut(&from) {
            *times += 1;
            return None;
        }
        if self.repeated.len() >= SOURCES_MAX {
            *self.elsewhere.entry(what).or_default() += 1;
            return None;
        }
        self.repeated.insert(from, 0);
        Some(event(what, address))
    }

    /// The events for the repetitions, at the end of the period.
    fn events(self) -> Vec<Event> {
        let repeated = self.repeated.into_iter().filter(|(_, times)| *times > 0);
        let repeated = repeated.map(|((what, source), times)| event(what, source).detail("times", times));
        let elsewhere = self.elsewhere.into_iter();
        let elsewhere =
            elsewhere.map(|(what, times)| event(what, "many other addresses").detail("times", times));
        repeated.chain(elsewhere).collect()
    }
}

fn event(what: What, address: impl std::fmt::Display) -> Event {
    let event = Event::new(Kind::CallerRefused, Actor::new("server"));
    event.detail("what", what.as_str()).detail("address", address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn told(events: &[Event]) -> Vec<String> {
        events.iter().map(|event| serde_json::to_value(event).unwrap()["detail"].to_string()).collect()
    }

    #[test]
    fn the_first_refusal_is_told_at_once_and_the_rest_as_a_number() {
        let mut gathered = Gathered::default();
        let rejection = (What::Credential, "192.0.2.7".parse().unwrap());
        let first: Vec<_> = (0..5).filter_map(|_| gathered.add(rejection)).collect();
        let other = gathered.add((What::JoinToken, "192.0.2.7".parse().unwrap()));
        insta::assert_snapshot!(told(&first).join("\n"), @r#"{"address":"192.0.2.7","what":"credential"}"#);
        assert!(other.is_some());
        insta::assert_snapshot!(told(&gathered.events()).join("\n"), @r#"{"address":"192.0.2.7","times":"4","what":"credential"}"#);
    }

    #[test]
    fn an_ipv6_network_is_recorded_as_one_source() {
        let mut gathered = Gathered::default();
        let rejection = |n: u16| (What::Credential, format!("2001:db8::{n:x}").parse().unwrap());
        let first: Vec<_> = (1..=900).filter_map(|n| gathered.add(rejection(n))).collect();
        insta::assert_snapshot!(told(&first).join("\n"), @r#"{"address":"2001:db8::1","what":"credential"}"#);
        insta::assert_snapshot!(told(&gathered.events()).join("\n"), @r#"{"address":"2001:db8::/64","times":"899","what":"credential"}"#);
    }

    #[test]
    fn any_number_of_strangers_causes_few_audit_events() {
        let mut gathered = Gathered::default();
        let rejections = (0..100_000_u32).map(|n| (What::AuthToken, IpAddr::from(n.to_be_bytes()).into()));
        assert_eq!(rejections.filter_map(|rejection| gathered.add(rejection)).count(), SOURCES_MAX);
        let rest = told(&gathered.events());
        let expected = 100_000 - SOURCES_MAX;
        assert_eq!(
            rest,
            [format!(r#"{{"address":"many other addresses","times":"{expected}","what":"auth-token"}}"#)]
        );
    }
}
