//! Fail-over: failures after which the next address is tried, temporary failures, and failures that end the
//! login.

use super::*;
use crate::clock::Monotonic;
use kbmfa_proto::client::HungUp;
use kbmfa_proto::login::State;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;

/// An address that answers by a script, and fails the test if a part of it was not used.
struct Scripted {
    answers: RefCell<VecDeque<Answer>>,
    times: RefCell<Vec<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Pending,
    NoConnection,
    Untrusted,
    Timeout,
    Lost,
    Garbage,
    Gone,
    Status(u16),
}
use Answer::*;

impl Address for Scripted {
    fn call(&self, path: &str, call: Call<'_>, time: Duration) -> Result<LoginReply, Error> {
        assert_eq!(path, format!("/v1/logins/{}", id()));
        let hold_s = if let Call::Wait { hold_s } = call { hold_s } else { 0 };
        self.times.borrow_mut().push(hold_s * 1000 + time.as_secs());
        let answer = self.answers.borrow_mut().pop_front().expect("called once too often");
        let io = || io::Error::other("scripted");
        Err(match answer {
            Pending => return Ok(pending()),
            NoConnection => Error::Connect(io()),
            Untrusted => Error::Tls(rustls::Error::DecryptError),
            Timeout => Error::Timeout,
            Lost => Error::Lost(io()),
            Garbage => Error::Garbage("scripted".into()),
            Gone => Error::HungUp,
            Status(status) => Error::Refused(Problem {
                code: "scripted".into(),
                status,
                title: "scripted".into(),
                detail: None,
            }),
        })
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.answers.borrow().is_empty(), "not asked for {:?}", self.answers);
        }
    }
}

/// A clock that does not move.
struct Stopped(Cell<Instant>);

impl Clock for Stopped {
    fn now(&self) -> Instant {
        self.0.get()
    }
    fn pause(&self, _: Duration) -> Result<(), HungUp> {
        panic!("a fleet does not pause")
    }
}

fn id() -> LoginId {
    LoginId::from_random([7; 16])
}

fn pending() -> LoginReply {
    LoginReply {
        id: id(),
        state: State::Pending,
        reason: None,
        say: None,
        expires_in_ms: None,
        held_ms: None,
    }
}

fn fleet(scripts: &[&[Answer]]) -> (Failover<Scripted, Stopped>, Instant) {
    let now = Monotonic::default().now();
    let address = |script: &&[Answer]| Scripted {
        answers: RefCell::new(script.iter().copied().collect()),
        times: RefCell::default(),
    };
    let addresses = scripts.iter().map(address).collect();
    (Failover::new(addresses, Stopped(Cell::new(now)), &id()), now + Duration::from_secs(73))
}

/// The kind of a result, as one word.
fn word(result: &Result<TimedReply, Failure>) -> &'static str {
    match result {
        Ok(_) => "answer",
        Err(Failure::Unreachable(_)) => "unreachable",
        Err(Failure::Passing(_)) => "passing",
        Err(Failure::Final(_)) => "final",
        Err(Failure::HungUp) => "hung up",
    }
}

#[track_caller]
fn opening(scripts: &[&[Answer]], expected: &str) {
    let (mut fleet, until) = fleet(scripts);
    assert_eq!(word(&fleet.open(&crate::flow::tests::open_login(), until)), expected);
}

#[track_caller]
fn waiting(scripts: &[&[Answer]], expected: &str) {
    let (mut fleet, until) = fleet(scripts);
    assert_eq!(word(&fleet.wait(until)), expected);
}

#[test]
fn any_answering_address_is_enough() {
    opening(&[&[Pending], &[]], "answer");
    opening(&[&[NoConnection], &[Pending]], "answer");
    opening(&[&[Untrusted], &[Timeout], &[Lost], &[Pending]], "answer");
}

#[test]
fn only_no_connection_anywhere_is_unreachable() {
    opening(&[&[NoConnection], &[NoConnection]], "unreachable");
    for answer in [Untrusted, Timeout, Lost] {
        let again: &[Answer] = &[NoConnection, NoConnection];
        assert_ne!(word_of_two(&[answer, NoConnection], again), "unreachable", "{answer:?}");
    }
    opening(&[&[Garbage], &[]], "final");
    for status in [400, 401, 403, 404, 409, 429, 500, 502, 503] {
        opening(&[&[Status(status)], &[]], "final");
    }
}

fn word_of_two(one: &[Answer], other: &[Answer]) -> &'static str {
    let (mut fleet, until) = fleet(&[one, other]);
    word(&fleet.open(&crate::flow::tests::open_login(), until))
}

#[test]
fn tls_failures_everywhere_end_the_login() {
    opening(&[&[Untrusted], &[Untrusted]], "final");
    waiting(&[&[Untrusted], &[Untrusted]], "final");
}

#[test]
fn a_broken_connection_is_tried_once_more_and_never_becomes_unreachable() {
    opening(&[&[Lost, Pending]], "answer");
    opening(&[&[Timeout, Timeout]], "passing");
    opening(&[&[Lost, NoConnection]], "passing");
}

#[test]
fn while_waiting_a_busy_or_absent_server_may_come_back() {
    for answer in [NoConnection, Timeout, Lost, Status(429), Status(500), Status(503)] {
        let found = word(&fleet_of_one(answer));
        assert!(["passing", "unreachable"].contains(&found), "{answer:?} is {found}");
    }
    waiting(&[&[Untrusted], &[NoConnection]], "passing");
}

fn fleet_of_one(answer: Answer) -> Result<TimedReply, Failure> {
    let (mut fleet, until) = fleet(&[&[answer]]);
    fleet.wait(until)
}

#[test]
fn while_waiting_a_refusal_or_nonsense_ends_the_login() {
    for answer in [Garbage, Status(400), Status(401), Status(404), Status(409), Status(502)] {
        assert_eq!(word(&fleet_of_one(answer)), "final", "{answer:?}");
    }
}

#[test]
fn a_hang_up_stops_at_once() {
    opening(&[&[Gone], &[]], "hung up");
    waiting(&[&[Lost], &[Gone], &[]], "hung up");
}

#[test]
fn a_poll_is_held_only_where_the_last_call_was_answered() {
    let (mut fleet, until) = fleet(&[&[NoConnection, Lost], &[Pending, Lost, Pending, Pending]]);
    assert_eq!(word(&fleet.open(&crate::flow::tests::open_login(), until)), "answer");
    assert_eq!(word(&fleet.wait(until)), "passing");
    assert_eq!(word(&fleet.wait(until)), "answer");
    assert_eq!(word(&fleet.wait(until)), "answer");
    // The thousands are the seconds to hold, the rest are the seconds to wait for the answer.
    assert_eq!(*fleet.addresses[0].times.borrow(), [5, 5]);
    assert_eq!(*fleet.addresses[1].times.borrow(), [5, 25_030, 5, 25_030]);
}

#[test]
fn no_address_is_starved_by_those_before_it() {
    let nobody: &[Answer] = &[NoConnection];
    let (mut fleet, until) = fleet(&[nobody; 20]);
    assert_eq!(word(&fleet.open(&crate::flow::tests::open_login(), until)), "unreachable");
    assert!(fleet.addresses.iter().all(|address| address.times.borrow()[0] >= 3));
}

#[test]
fn a_cancellation_is_short_and_its_failure_ignored() {
    let (mut fleet, _) = fleet(&[&[NoConnection], &[Lost]]);
    fleet.cancel();
    assert!(fleet.addresses.iter().all(|address| address.times.borrow()[0] <= 2));
}

#[test]
fn a_reply_is_as_old_as_the_call_without_the_time_for_which_the_server_held_it() {
    let asked = Monotonic::default().now();
    let after = |ms| asked + Duration::from_millis(ms);
    let held = |held_ms| LoginReply { held_ms, ..pending() };
    assert_eq!(as_of(&held(Some(9_000)), asked, after(9_020)), after(9_000));
    assert_eq!(as_of(&held(Some(9_000)), asked, after(39_000)), after(9_000));
    // An older server does not report it, so it may have answered at once.
    assert_eq!(as_of(&held(None), asked, after(9_020)), asked);
    // Even if the server claims a longer hold, no reply is younger than the moment at which it is read.
    for too_long in [9_021, u64::MAX] {
        assert_eq!(as_of(&held(Some(too_long)), asked, after(9_020)), after(9_020));
    }
}
