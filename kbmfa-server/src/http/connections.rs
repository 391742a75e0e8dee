//! The connection limiter. Connections with a proven credential have permits of their own, and so have those of
//! employees who enrol a key. The others have few permits, and only for a short time. If those run out, one of the others is evicted, so that a new
//! connection is never rejected because of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::random;
use crate::secret::SecretHash;
use crate::shared::Shared;
use crate::source::Source;

/// A connection that has sent nothing for this long is evicted before active ones. The time is longer than a
/// round trip or a lost packet on most networks. It is short enough that in a flood of silent connections
/// some have nearly always been silent for this long.
const STALL_TIME: Duration = Duration::from_millis(500);

/// An unproven connection may be in the middle of a request when its time is up. It is then checked again
/// after this interval.
const SERVED_INTERVAL: Duration = Duration::from_millis(250);

/// How many connections are held at once, and how long they may take to prove a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of connections with a proven credential.
    pub proven: usize,
    /// Maximum number of these from one source.
    pub proven_per_source: usize,
    /// Maximum number of connections without a proven credential.
    pub unproven: usize,
    /// Maximum number of these from one source.
    pub unproven_per_source: usize,
    /// Time after its acceptance within which a connection must prove a credential.
    pub unproven_time: Duration,
    /// Maximum number of connections on which an employee's computer has asked for something.
    pub enrolment: usize,
    /// Maximum number of these from one source.
    pub enrolment_per_source: usize,
}

/// Counters of connections, for the metrics.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections open now.
    pub open: AtomicU64,
    /// Of these, the ones that have not proven a credential.
    pub unproven: AtomicUsize,
    /// Accepted connections since the start.
    pub accepted: AtomicU64,
    /// Connections with a valid credential, or of enrolment, that were refused because there were too many.
    pub refused: AtomicU64,
    /// Unproven connections that were closed to make room for others.
    pub evicted: AtomicU64,
    /// Connections that were closed because they did not prove a credential in time.
    pub overdue: AtomicU64,
    /// Requests with a complete head, whatever their result.
    pub requests: AtomicU64,
    /// Requests of unknown callers that were answered with `busy`.
    pub busy: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
}

/// Whose credential was proven: that of a machine or, because all hosts share the `AUTH_TOKEN`, only the
/// source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProvenCaller {
    /// The machine with this credential.
    Machine(SecretHash),
    /// All callers from this source.
    Source(Source),
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MustEnd {
    /// Other connections needed its permit.
    #[error("evicted: it has proved no credential, and there are too many such connections")]
    Evicted,
    /// Its time is up.
    #[error("it proved no credential in time")]
    Overdue,
}

/// The state of one open connection.
#[derive(Debug)]
struct Life {
    opened: Instant,
    /// Milliseconds from `opened` to the time at which it last sent something, plus one. 0 if it never did.
    received: AtomicU64,
    /// Number of its requests on which the server is working.
    served: AtomicUsize,
    proven: AtomicBool,
    evicted: Notify,
}

impl Life {
    fn begin() -> Self {
        let (received, served, proven) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        Self { opened: Instant::now(), received, served, proven, evicted: Notify::new() }
    }

    fn stage(&self, now: Instant) -> Stage {
        let received = self.received.load(Ordering::Relaxed);
        let last = self.opened + Duration::from_millis(received.saturating_sub(1));
        match (self.served.load(Ordering::Relaxed), now.saturating_duration_since(last) > STALL_TIME) {
            (1.., _) => Stage::Served,
            (0, false) => Stage::Active,
            (0, true) if received == 0 => Stage::Silent,
            (0, true) => Stage::Stalled,
        }
    }
}

/// Progress of an unproven connection, in the order of eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It has sent nothing, although it has had the time.
    Silent,
    /// It has sent something, and then stopped.
    Stalled,
    /// It is new, or has just sent something.
    Active,
    /// The server is working on its request.
    Served,
}

/// Chooses the unproven connection of a source to evict, from a list with the oldest first: a random one of
/// the lowest stage. It never takes the oldest if that one has sent something and is not alone. In a flood
/// the oldest may be about to prove a credential, so this lets at least one succeed.
fn victim(stages: &[Stage], random_below: impl FnOnce(usize) -> usize) -> Option<usize> {
    let may_go = |(n, stage): &(usize, Stage)| *n > 0 || *stage == Stage::Silent || stages.len() == 1;
    let those: Vec<_> = stages.iter().copied().enumerate().filter(may_go).collect();
    let least = those.iter().map(|(_, stage)| *stage).min()?;
    let least: Vec<_> = those.into_iter().filter(|(_, stage)| *stage == least).collect();
    least.get(random_below(least.len())).map(|(n, _)| *n)
}

/// Gives out the permits of one listener.
#[derive(Debug, Clone)]
pub(super) struct ConnectionLimiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    seen: Arc<Seen>,
    state: Shared<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Connections of each source, the oldest first.
    unproven: HashMap<Source, Vec<(u64, Arc<Life>)>>,
    unproven_count: usize,
    proven: HashMap<u64, ProvenCaller>,
    proven_by_source: HashMap<Source, usize>,
    proven_by_caller: HashMap<ProvenCaller, usize>,
    enrolment: HashSet<u64>,
    enrolment_by_source: HashMap<Source, usize>,
}

impl ConnectionLimiter {
    pub(super) fn new(limits: Limits, seen: Arc<Seen>) -> Self {
        Self(Arc::new(Inner { limits, seen, state: Shared::default() }))
    }

    /// A permit for a connection that was just accepted.
    pub(super) fn admit(&self, source: Source) -> ConnectionPermit {
        let life = Arc::new(Life::begin());
        let limits = self.0.limits;
        let number = self.with(|state| {
            if state.unproven.get(&source).map_or(0, Vec::len) >= limits.unproven_per_source {
                self.evict(state, source);
            } else if state.unproven_count >= limits.unproven {
                self.evict_where_most_are(state);
            }
            state.next += 1;
            state.unproven.entry(source).or_default().push((state.next, Arc::clone(&life)));
            state.unproven_count += 1;
            state.next
        });
        self.0.seen.open.fetch_add(1, Ordering::Relaxed);
        self.0.seen.accepted.fetch_add(1, Ordering::Relaxed);
        ConnectionPermit { limiter: self.clone(), number, source, life }
    }

    /// When the system has no resources left: evicts an unproven connection of the source that has the most.
    pub(super) fn make_room(&self) {
        self.with(|state| self.evict_where_most_are(state));
    }

    fn evict_where_most_are(&self, state: &mut State) {
        let most = state.unproven.iter().max_by_key(|(_, here)| here.len()).map(|(source, _)| *source);
        if let Some(source) = most {
            self.evict(state, source);
        }
    }

    fn evict(&self, state: &mut State, source: Source) {
        let Some(here) = state.unproven.get(&source) else { return };
        let now = Instant::now();
        let stages: Vec<_> = here.iter().map(|(_, life)| life.stage(now)).collect();
        // Without random numbers the newest one is evicted.
        let random_below = |bound: usize| random::below(bound).unwrap_or(bound.saturating_sub(1));
        let chosen = victim(&stages, random_below).and_then(|n| here.get(n));
        if let Some((number, life)) = chosen.map(|(number, life)| (*number, Arc::clone(life))) {
            life.evicted.notify_one();
            state.remove_unproven(source, number);
            self.0.seen.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        self.0.state.with(|state| {
            let result = work(state);
            self.0.seen.unproven.store(state.unproven_count, Ordering::Relaxed);
            result
        })
    }
}

impl State {
    /// Removes a connection from the unproven ones. True if it was among them.
    fn remove_unproven(&mut self, source: Source, number: u64) -> bool {
        let Some(here) = self.unproven.get_mut(&source) else { return false };
        let Some(position) = here.iter().position(|(other, _)| *other == number) else { return false };
        here.remove(position);
        if here.is_empty() {
            self.unproven.remove(&source);
        }
        self.unproven_count -= 1;
        true
    }

    fn remove_proven(&mut self, source: Source, number: u64) {
        if let Some(caller) = self.proven.remove(&number) {
            count_down(&mut self.proven_by_source, &source);
            count_down(&mut self.proven_by_caller, &caller);
        }
    }

    fn remove_enrolment(&mut self, source: Source, number: u64) {
        if self.enrolment.remove(&number) {
            count_down(&mut self.enrolment_by_source, &source);
        }
    }
}

fn count_down<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The permit of one open connection, given back on drop.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limiter: ConnectionLimiter,
    number: u64,
    source: Source,
    life: Arc<Life>,
}

impl ConnectionPermit {
    /// Where the connection comes from.
    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// Notes that the connection has sent something.
    pub(super) fn received(&self) {
        let after = self.life.opened.elapsed().as_millis();
        self.life
            .received
            .store(u64::try_from(after).unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
    }

    /// Counts as working on a request until the result is dropped.
    pub(super) fn serve(&self) -> Served {
        Served::new(&self.life)
    }

    /// Notes that a request on this connection passed the credential check, and takes a permit for proven
    /// connections. False if there is none: there are too many in all, from this source, or of this caller
    /// (`at_most`).
    pub(super) fn prove(&self, caller: &ProvenCaller, at_most: usize) -> bool {
        let limits = self.limiter.0.limits;
        let proven = self.limiter.with(|state| {
            if state.proven.contains_key(&self.number) {
                return true;
            }
            let from_source = state.proven_by_source.get(&self.source).copied().unwrap_or(0);
            let of_caller = state.proven_by_caller.get(caller).copied().unwrap_or(0);
            let is_room = state.proven.len() < limits.proven
                && from_source < limits.proven_per_source
                && of_caller < at_most;
            // If it was evicted meanwhile, it has no permit to exchange.
            if !is_room || !state.remove_unproven(self.source, self.number) {
                return false;
            }
            state.proven.insert(self.number, caller.clone());
            *state.proven_by_source.entry(self.source).or_default() += 1;
            *state.proven_by_caller.entry(caller.clone()).or_default() += 1;
            true
        });
        if proven {
            self.life.proven.store(true, Ordering::Relaxed);
        } else {
            self.limiter.0.seen.refused.fetch_add(1, Ordering::Relaxed);
        }
        proven
    }

    /// Notes that an employee's computer asks for something, and takes a permit of enrolment in exchange for its own.
    /// So neither kind of connection takes those of the other. False if there is none.
    pub(super) fn enrol(&self) -> bool {
        let limits = self.limiter.0.limits;
        let is_permitted = self.limiter.with(|state| {
            if state.enrolment.contains(&self.number) {
                return true;
            }
            let from_source = state.enrolment_by_source.get(&self.source).copied().unwrap_or(0);
            let is_room =
                state.enrolment.len() < limits.enrolment && from_source < limits.enrolment_per_source;
            if !is_room || !state.remove_unproven(self.source, self.number) {
                return false;
            }
            state.enrolment.insert(self.number);
            *state.enrolment_by_source.entry(self.source).or_default() += 1;
            true
        });
        if !is_permitted {
            self.limiter.0.seen.refused.fetch_add(1, Ordering::Relaxed);
        }
        is_permitted
    }

    /// Whether a credential was proven on this connection.
    pub(super) fn is_proven(&self) -> bool {
        self.life.proven.load(Ordering::Relaxed)
    }

    /// Waits until the connection must end because it has no proven credential.
    pub(super) async fn must_end(&self) -> MustEnd {
        tokio::select! {
            () = self.life.evicted.notified() => MustEnd::Evicted,
            () = self.is_overdue() => {
                self.limiter.0.seen.overdue.fetch_add(1, Ordering::Relaxed);
                MustEnd::Overdue
            }
        }
    }

    async fn is_overdue(&self) {
        sleep_until(self.life.opened + self.limiter.0.limits.unproven_time).await;
        while self.life.served.load(Ordering::Relaxed) > 0 && !self.is_proven() {
            sleep(SERVED_INTERVAL).await;
        }
        if self.is_proven() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.with(|state| {
            if !state.remove_unproven(self.source, self.number) {
                state.remove_proven(self.source, self.number);
                state.remove_enrolment(self.source, self.number);
            }
        });
        self.limiter.0.seen.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts as one request in progress until it is dropped.
#[derive(Debug)]
pub(super) struct Served(Arc<Life>);

impl Served {
    fn new(life: &Arc<Life>) -> Self {
        life.served.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(life))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.served.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
