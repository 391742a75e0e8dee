//! Which connection gets a permit, and which is evicted.

use futures_like::is_ready;
use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::source::of_address as source;

mod futures_like {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Whether the future is ready without waiting.
    pub(super) fn is_ready(future: impl Future) -> bool {
        matches!(pin!(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
    }
}

fn limits(unproven: usize, unproven_per_source: usize) -> Limits {
    let unproven_time = Duration::from_secs(10);
    let (enrolment, enrolment_per_source) = (3, 2);
    Limits {
        proven: 4,
        proven_per_source: 3,
        unproven,
        unproven_per_source,
        unproven_time,
        enrolment,
        enrolment_per_source,
    }
}

fn limiter(unproven: usize, unproven_per_source: usize) -> (ConnectionLimiter, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    (ConnectionLimiter::new(limits(unproven, unproven_per_source), Arc::clone(&seen)), seen)
}

fn machine(name: &str) -> ProvenCaller {
    ProvenCaller::Machine(SecretHash::of(name))
}

fn evicted(permit: &ConnectionPermit) -> bool {
    is_ready(permit.life.evicted.notified())
}

#[tokio::test(start_paused = true)]
async fn silent_connections_are_evicted_first_and_no_new_one_is_rejected() {
    let (limiter, seen) = limiter(100, 3);
    let here = source("192.0.2.1");
    let (oldest, silent, talking) = (limiter.admit(here), limiter.admit(here), limiter.admit(here));
    advance(STALL_TIME * 2).await;
    oldest.received();
    talking.received();
    let newcomer = limiter.admit(here);
    assert!(evicted(&silent) && !evicted(&oldest) && !evicted(&talking) && !evicted(&newcomer));
    assert_eq!(seen.evicted.load(Ordering::Relaxed), 1);
    assert_eq!((seen.open.load(Ordering::Relaxed), seen.unproven.load(Ordering::Relaxed)), (4, 3));
    drop((oldest, silent, talking, newcomer));
    assert_eq!((seen.open.load(Ordering::Relaxed), seen.unproven.load(Ordering::Relaxed)), (0, 0));
    assert!(limiter.with(|state| state.unproven.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn when_all_permits_are_used_the_source_with_most_connections_loses_one() {
    let (limiter, _) = limiter(5, 4);
    let crowd: Vec<_> = (0..4).map(|_| limiter.admit(source("192.0.2.1"))).collect();
    let alone = limiter.admit(source("2001:db8::1"));
    let newcomer = limiter.admit(source("198.51.100.1"));
    assert_eq!(crowd.iter().filter(|permit| evicted(permit)).count(), 1);
    assert!(!evicted(&alone) && !evicted(&newcomer));
}

#[tokio::test(start_paused = true)]
async fn a_proven_connection_has_its_own_permit_and_is_never_evicted() {
    let (limiter, seen) = limiter(2, 2);
    let here = source("192.0.2.1");
    let proven = limiter.admit(here);
    assert!(proven.prove(&machine("web1"), 9) && proven.is_proven());
    assert!(proven.prove(&machine("web2"), 0), "once proven it stays so");
    let crowd: Vec<_> = (0..50).map(|_| limiter.admit(here)).collect();
    assert!(!evicted(&proven));
    assert_eq!(crowd.iter().filter(|permit| evicted(permit)).count(), 48);
    assert_eq!(seen.unproven.load(Ordering::Relaxed), 2);
    drop(proven);
    assert!(limiter.with(|state| state.proven_by_source.is_empty() && state.proven_by_caller.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn permits_of_proven_connections_are_limited_for_each_machine_and_each_source_and_in_all() {
    let (limiter, seen) = limiter(99, 99);
    let prove = |address: &str, name: &str, at_most| {
        let permit = limiter.admit(source(address));
        permit.prove(&machine(name), at_most).then_some(permit)
    };
    let first = prove("192.0.2.1", "web1", 1).unwrap();
    assert!(prove("192.0.2.2", "web1", 1).is_none(), "one machine has one permit");
    let _more = [prove("192.0.2.1", "web2", 9).unwrap(), prove("192.0.2.1", "web3", 9).unwrap()];
    assert!(prove("192.0.2.1", "web4", 9).is_none(), "one source has three permits");
    let _last = prove("192.0.2.2", "web4", 9).unwrap();
    assert!(prove("192.0.2.3", "web5", 9).is_none(), "there are four permits");
    drop(first);
    assert!(prove("192.0.2.3", "web5", 9).is_some());
    assert_eq!(seen.refused.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn connections_of_enrolment_and_of_machines_never_take_each_others_permits() {
    let (limiter, seen) = limiter(99, 99);
    let enrol = |address: &str| {
        let permit = limiter.admit(source(address));
        permit.enrol().then_some(permit)
    };
    let first = [enrol("192.0.2.1").unwrap(), enrol("192.0.2.1").unwrap()];
    assert!(enrol("192.0.2.1").is_none(), "one source has two permits");
    let _last = enrol("192.0.2.2").unwrap();
    assert!(enrol("192.0.2.3").is_none(), "there are three permits");
    let proven = limiter.admit(source("192.0.2.1"));
    assert!(proven.prove(&machine("web1"), 9) && !proven.enrol());
    assert!(first[0].enrol(), "it has its permit already");
    assert!(!first[0].prove(&machine("web2"), 9));
    let crowd: Vec<_> = (0..150).map(|_| limiter.admit(source("192.0.2.1"))).collect();
    assert!(!first.iter().chain([&proven]).any(evicted));
    drop((crowd, first));
    assert!(enrol("192.0.2.3").is_some() && enrol("192.0.2.1").is_some());
    assert_eq!(seen.refused.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_connection_can_no_longer_prove_a_credential() {
    let (limiter, _) = limiter(1, 1);
    let first = limiter.admit(source("192.0.2.1"));
    let _second = limiter.admit(source("192.0.2.1"));
    assert!(!first.prove(&machine("web1"), 9));
}

#[tokio::test(start_paused = true)]
async fn an_unproven_connection_ends_in_time_unless_its_request_is_in_progress() {
    let (limiter, seen) = limiter(9, 9);
    let begin = Instant::now();
    let idle = limiter.admit(source("192.0.2.1"));
    assert_eq!(idle.must_end().await, MustEnd::Overdue);
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
    let busy = limiter.admit(source("192.0.2.1"));
    let serving = busy.serve();
    let in_vain = tokio::time::timeout(Duration::from_secs(60), busy.must_end()).await;
    assert!(in_vain.is_err());
    drop(serving);
    assert_eq!(busy.must_end().await, MustEnd::Overdue);
    let proven = limiter.admit(source("192.0.2.1"));
    assert!(proven.prove(&machine("web1"), 9));
    assert!(tokio::time::timeout(Duration::from_secs(3_600), proven.must_end()).await.is_err());
    assert_eq!(seen.overdue.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn without_file_descriptors_an_unproven_connection_is_evicted() {
    let (limiter, _) = limiter(9, 9);
    let crowd: Vec<_> = (0..3).map(|_| limiter.admit(source("192.0.2.1"))).collect();
    limiter.make_room();
    assert_eq!(crowd.iter().filter(|permit| evicted(permit)).count(), 1);
    drop(crowd);
    limiter.make_room();
}

fn any_stage() -> impl Strategy<Value = Stage> {
    prop::sample::select(vec![Stage::Silent, Stage::Stalled, Stage::Active, Stage::Served])
}

proptest! {
    #[test]
    fn the_evicted_connection_is_of_the_lowest_stage_and_the_oldest_only_if_silent_or_alone(
        stages in prop::collection::vec(any_stage(), 0..20), random: usize,
    ) {
        let Some(chosen) = victim(&stages, |bound| random % bound) else {
            prop_assert!(stages.is_empty());
            return Ok(());
        };
        prop_assert!(chosen != 0 || stages[0] == Stage::Silent || stages.len() == 1);
        prop_assert!(stages[1..].iter().all(|stage| stages[chosen] <= *stage));
    }

    #[test]
    fn the_counts_are_those_of_the_connections(steps in prop::collection::vec((0..5_u8, 0..3_u8), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (limiter, seen) = limiter(6, 4);
            let mut open = Vec::new();
            for (what, which) in steps {
                match what {
                    0 | 1 => open.push(limiter.admit(source(&format!("192.0.2.{which}")))),
                    2 => drop((!open.is_empty()).then(|| open.remove(which as usize % open.len()))),
                    3 => {
                        let permit = open.get(which as usize);
                        permit.map(|permit| permit.prove(&machine("web1"), 9));
                    }
                    _ => drop(open.get(which as usize).map(ConnectionPermit::enrol)),
                }
                let listed = limiter.with(|state| state.unproven.values().map(Vec::len).sum::<usize>());
                assert_eq!(listed, seen.unproven.load(Ordering::Relaxed));
                assert!(listed <= 6 && limiter.with(|state| state.unproven.values().all(|here| here.len() <= 4)));
                assert_eq!(open.len() as u64, seen.open.load(Ordering::Relaxed));
            }
            drop(open);
            assert!(limiter.with(|state| state.unproven_count == 0 && state.proven.is_empty()));
        });
    }
}
