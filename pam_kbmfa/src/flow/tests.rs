//! Whole logins against a scripted server, with a clock that moves only while the login waits.

use super::*;
use crate::attempt::tests::TestPam;
use crate::clock::Monotonic;
use kbmfa_proto::client::HungUp;
use kbmfa_proto::login::{Account, Capabilities, Connection, FirstFactor, LoginReply};
use kbmfa_proto::text::SafeText;
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

pub(crate) fn open_login() -> OpenLogin {
    OpenLogin {
        phase: Phase::Auth,
        service: "sshd".into(),
        user: "alice".parse().unwrap(),
        typed: None,
        uid: Some(1000),
        uid_user: None,
        expires_day: None,
        caller: None,
        account: Account::Known,
        rhost: None,
        tty: None,
        connection: Connection { id: "b007.1.2".into(), ssh: None },
        first_factor: FirstFactor::Sshd,
        capabilities: Capabilities { text: true, prompt: true },
        rehearsal: false,
        module_version: "0".into(),
        host: None,
    }
}

/// The next call that the login must make, and the result.
#[derive(Debug)]
enum Step {
    Open(Result<LoginReply, Failure>),
    /// Answers after this many milliseconds.
    Wait(u64, Result<LoginReply, Failure>),
    /// The previous answer was read this many milliseconds after it was given.
    Late(u64),
    /// The ssh client hangs up during the next pause.
    HangUp,
    Cancel,
}
use Step::{Cancel, HangUp, Late, Open, Wait};

/// Server and clock in one, both driven by the script.
struct Script {
    steps: VecDeque<Step>,
    clock: TestClock,
}

#[derive(Clone)]
struct TestClock {
    now: Rc<Cell<Instant>>,
    hang_up: Rc<Cell<bool>>,
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.now.get()
    }
    fn pause(&self, time: Duration) -> Result<(), HungUp> {
        assert!(time <= PAUSE_MAX);
        self.now.set(self.now() + time);
        if self.hang_up.get() { Err(HungUp) } else { Ok(()) }
    }
}

impl Script {
    /// The answer with its time: this many milliseconds ago.
    fn heard(&self, ms: u64, answer: Result<LoginReply, Failure>) -> Result<TimedReply, Failure> {
        let as_of = self.clock.now().checked_sub(Duration::from_millis(ms)).unwrap();
        Ok(TimedReply { reply: answer?, as_of })
    }

    fn take(&mut self) -> Step {
        let step = self.steps.pop_front().expect("the script has ended");
        self.clock.hang_up.set(matches!(self.steps.front(), Some(HangUp)));
        if self.clock.hang_up.get() {
            self.steps.pop_front();
        }
        step
    }
}

impl Server for Script {
    fn open(&mut self, _: &OpenLogin, _: Instant) -> Result<TimedReply, Failure> {
        let Open(answer) = self.take() else { panic!("opened out of turn") };
        self.heard(0, answer)
    }
    fn wait(&mut self, until: Instant) -> Result<TimedReply, Failure> {
        assert!(self.clock.now() < until, "asked after the deadline");
        let Wait(ms, answer) = self.take() else { panic!("asked out of turn") };
        self.clock.now.set(self.clock.now() + Duration::from_millis(ms));
        let late = if let Some(Late(ms)) = self.steps.front() { *ms } else { 0 };
        if late > 0 {
            self.steps.pop_front();
        }
        self.heard(late, answer)
    }
    fn cancel(&mut self) {
        assert!(matches!(self.take(), Cancel), "cancelled out of turn");
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.steps.is_empty(), "not asked for: {:?}", self.steps);
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as a step of a script takes it")]
fn reply(state: State) -> Result<LoginReply, Failure> {
    Ok(LoginReply { id: id(), state, reason: None, say: None, expires_in_ms: None, held_ms: None })
}

fn lost() -> Result<LoginReply, Failure> {
    Err(Failure::Passing("lost".into()))
}

fn id() -> LoginId {
    LoginId::from_random([7; 16])
}

fn run(
    on_unreachable: OnUnreachable,
    open: OpenLogin,
    steps: impl IntoIterator<Item = Step>,
) -> (End, TestPam) {
    let pam = TestPam::default();
    let now = Monotonic::default().now();
    let clock = TestClock { now: Rc::new(Cell::new(now)), hang_up: Rc::default() };
    let mut script = Script { steps: steps.into_iter().collect(), clock: clock.clone() };
    let ask = Ask { id: id(), open, until: now + Duration::from_secs(73), on_unreachable };
    let end = await_decision(&pam, &mut script, &clock, &ask);
    let end = look_again(&pam, &mut script, &clock, &ask, end);
    (end, pam)
}

#[track_caller]
fn check<const N: usize>(steps: [Step; N], expected: Outcome) {
    assert_eq!(run(OnUnreachable::Deny, open_login(), steps).0.outcome, expected);
}

#[test]
fn an_approved_login_is_approved_at_once_or_after_a_wait() {
    check([Open(reply(State::Approved))], Outcome::Approved);
    check([Open(reply(State::Pending)), Wait(9000, reply(State::Approved))], Outcome::Approved);
    let still = || Wait(25_000, reply(State::Pending));
    check(
        [Open(reply(State::Pending)), still(), still(), Wait(9000, reply(State::Approved))],
        Outcome::Approved,
    );
}

#[test]
fn every_other_state_refuses() {
    check([Open(reply(State::Denied))], Outcome::Denied);
    check([Open(reply(State::Pending)), Wait(1000, reply(State::Denied))], Outcome::Denied);
    check([Open(reply(State::Pending)), Wait(1000, reply(State::Expired))], Outcome::Expired);
    check([Open(reply(State::Pending)), Wait(1000, reply(State::Cancelled))], Outcome::Cancelled);
    check([Open(reply(State::Rehearsed)), Cancel], Outcome::Fault);
    check([Open(reply(State::Unknown)), Cancel], Outcome::Fault);
    check([Open(reply(State::Pending)), Wait(1000, reply(State::Unknown)), Cancel], Outcome::Fault);
}

#[test]
fn a_rehearsal_ends_as_one_or_is_refused_and_an_approval_of_it_lets_nobody_in() {
    let dry_run = |steps: Vec<Step>| {
        run(OnUnreachable::Deny, OpenLogin { rehearsal: true, ..open_login() }, steps).0.outcome
    };
    assert_eq!(dry_run(vec![Open(reply(State::Rehearsed))]), Outcome::DryRun);
    assert_eq!(dry_run(vec![Open(reply(State::Denied))]), Outcome::Denied);
    for state in [State::Approved, State::Pending, State::Unknown] {
        assert_eq!(dry_run(vec![Open(reply(state)), Cancel]), Outcome::Fault, "{state:?}");
    }
}

#[test]
fn an_approval_of_another_login_is_a_fault() {
    let other = || LoginReply { id: LoginId::from_random([8; 16]), ..reply(State::Approved).unwrap() };
    check([Open(Ok(other())), Cancel], Outcome::Fault);
    check([Open(reply(State::Pending)), Wait(1000, Ok(other())), Cancel], Outcome::Fault);
}

#[test]
fn a_hang_up_cancels_whenever_it_comes() {
    check([Open(Err(Failure::HungUp)), Cancel], Outcome::HungUp);
    check([Open(reply(State::Pending)), Wait(500, Err(Failure::HungUp)), Cancel], Outcome::HungUp);
    check([Open(reply(State::Pending)), Wait(500, lost()), HangUp, Cancel], Outcome::HungUp);
}

#[test]
fn a_person_who_left_before_pam_gets_the_result_is_not_let_in() {
    check([Open(reply(State::Approved)), HangUp, Cancel], Outcome::HungUp);
    check([Open(reply(State::Pending)), Wait(9000, reply(State::Approved)), HangUp, Cancel], Outcome::HungUp);
    let nobody = Err(Failure::Unreachable("refused".into()));
    let (end, _) = run(OnUnreachable::Allow, open_login(), [Open(nobody), HangUp, Cancel]);
    assert_eq!(end.outcome, Outcome::HungUp);
}

#[test]
fn an_approval_that_is_read_late_is_asked_for_again() {
    let late = |ms| [Open(reply(State::Pending)), Wait(9000, reply(State::Approved)), Late(ms)];
    let then = |ms, steps: Vec<Step>| {
        run(OnUnreachable::Deny, open_login(), late(ms).into_iter().chain(steps)).0.outcome
    };
    assert_eq!(then(5000, vec![]), Outcome::Approved);
    assert_eq!(then(5001, vec![Wait(10, reply(State::Approved))]), Outcome::Approved);
    let late_again = vec![Wait(10, reply(State::Approved)), Late(9000), Wait(10, reply(State::Approved))];
    assert_eq!(then(5001, late_again), Outcome::Approved);
    assert_eq!(then(30_000, vec![Wait(10, reply(State::Expired))]), Outcome::Expired);
    assert_eq!(then(30_000, vec![Wait(10, reply(State::Denied))]), Outcome::Denied);
    assert_eq!(then(30_000, vec![Wait(10, Err(Failure::HungUp)), Cancel]), Outcome::HungUp);
    let failed = Err(Failure::Final("unauthorized".into()));
    assert_eq!(then(30_000, vec![Wait(10, failed), Cancel]), Outcome::Fault);
    let lost_once = vec![Wait(10, lost()), Wait(10, reply(State::Approved))];
    assert_eq!(then(30_000, lost_once), Outcome::Approved);
}

/// A process that was stopped beyond its deadline asks nothing more.
#[test]
fn an_approval_that_is_read_after_the_deadline_lets_nobody_in() {
    let steps = [Open(reply(State::Pending)), Wait(80_000, reply(State::Approved)), Late(70_000), Cancel];
    assert_eq!(run(OnUnreachable::Allow, open_login(), steps).0.outcome, Outcome::TimedOut);
}

#[test]
fn a_server_that_restarts_during_a_wait_is_asked_again() {
    let gone = || Wait(0, Err(Failure::Unreachable("refused".into())));
    check(
        [Open(reply(State::Pending)), Wait(500, lost()), gone(), gone(), Wait(900, reply(State::Approved))],
        Outcome::Approved,
    );
}

#[test]
fn a_server_that_fails_for_good_refuses() {
    let failed = || Err(Failure::Final("unauthorized".into()));
    check([Open(failed()), Cancel], Outcome::Fault);
    check([Open(lost()), Cancel], Outcome::Fault);
    check([Open(reply(State::Pending)), Wait(500, failed()), Cancel], Outcome::Fault);
}

#[test]
fn unreachable_is_what_the_configuration_says_and_only_when_opening() {
    let nobody = || Err(Failure::Unreachable("refused".into()));
    for choice in [OnUnreachable::Deny, OnUnreachable::Allow] {
        let (end, _) = run(choice, open_login(), [Open(nobody())]);
        assert_eq!(end.outcome, Outcome::Unreachable(choice));
    }
    for failure in [lost(), Err(Failure::Final("TLS".into()))] {
        let (end, _) = run(OnUnreachable::Allow, open_login(), [Open(failure), Cancel]);
        assert_eq!(end.outcome, Outcome::Fault);
    }
}

#[test]
fn nobody_waits_beyond_the_deadline() {
    let still = || Wait(25_000, reply(State::Pending));
    check([Open(reply(State::Pending)), still(), still(), still(), Cancel], Outcome::TimedOut);
    // The server stays down while the login waits, although an unreachable server would let people in.
    let gone = (0..60).map_while(|n| match n {
        0 => Some(Open(reply(State::Pending))),
        // 0.25 + 0.5 + 1 + 36 * 2 seconds of pauses.
        1..=39 => Some(Wait(0, Err(Failure::Unreachable("refused".into())))),
        40 => Some(Cancel),
        _ => None,
    });
    assert_eq!(run(OnUnreachable::Allow, open_login(), gone).0.outcome, Outcome::TimedOut);
}

#[test]
fn a_server_that_does_not_hold_the_call_is_not_polled_in_a_loop() {
    let at_once = || Wait(1, reply(State::Pending));
    let steps = std::iter::once(Open(reply(State::Pending)))
        .chain(std::iter::repeat_with(at_once).take(291)) // 73 s by 251 ms
        .chain([Cancel]);
    assert_eq!(run(OnUnreachable::Deny, open_login(), steps).0.outcome, Outcome::TimedOut);
}

#[test]
fn the_servers_words_are_shown_once_in_the_auth_phase_only() {
    let saying = |state| Ok(LoginReply { say: Some(SafeText::new("ask Bob")), ..reply(state).unwrap() });
    let script = || {
        [Open(saying(State::Pending)), Wait(900, saying(State::Pending)), Wait(900, reply(State::Approved))]
    };
    let (_, pam) = run(OnUnreachable::Deny, open_login(), script());
    assert_eq!(pam.told(), ["Info: ask Bob"]);
    for phase in [Phase::Account, Phase::Session] {
        let (_, pam) = run(OnUnreachable::Deny, OpenLogin { phase, ..open_login() }, script());
        assert!(pam.told().is_empty());
    }
    let silent = OpenLogin { capabilities: Capabilities { text: false, prompt: false }, ..open_login() };
    assert!(run(OnUnreachable::Deny, silent, script()).1.told().is_empty());
}

#[test]
fn the_servers_reason_and_words_come_with_the_end() {
    let said = LoginReply {
        reason: Some("denied".into()),
        say: Some("Bob said no".into()),
        ..reply(State::Denied).unwrap()
    };
    let (end, _) = run(OnUnreachable::Deny, open_login(), [Open(Ok(said))]);
    assert_eq!((end.why.as_str(), end.say, end.login), ("denied", Some("Bob said no".into()), Some(id())));
}
