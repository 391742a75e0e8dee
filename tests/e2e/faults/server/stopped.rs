//! The server is stopped for a while (SIGSTOP, SIGCONT), with all replies in progress. Connections stay open
//! and the kernel accepts new ones, so for the machine the server can be reached but does not answer.

use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::{pass, timed, until};
use kbmfa_tests::world::World;
use std::time::Duration;

use super::hung::hang;
use super::is_let_in;
use crate::faults::{DOES_NOT_WORK, NOT_IN_TIME, Refusal, SSHD};
use crate::story::{CANCELLED, LET_IN, SHORT_GRACE};
use crate::two_servers::beds;

/// Shorter than the default poll grace.
const SHORT: Duration = Duration::from_secs(10);

/// Longer than the grace of [`SHORT_GRACE`].
const BEYOND_THE_GRACE: Duration = Duration::from_secs(8);

/// Longer than a machine waits for a poll: 25 s that the server may hold it, and 5 s more.
const BEYOND_THE_POLL: Duration = Duration::from_secs(33);

/// Longer than an opening keeps the machine alive for the server: the longest poll that may follow, 30 s, and
/// the grace of [`SHORT_GRACE`].
const BEYOND_BOTH: Duration = Duration::from_secs(38);

/// Time until the module has the answer of a server that continues: the 5 s of a call that it made meanwhile,
/// and a pause of 2 s.
const BACK: Duration = Duration::from_secs(7);

/// Time of the attempts at a silent server: two times 5 s to open a login, and 2 s to cancel it.
const OPENING: Duration = Duration::from_secs(12);

const APPROVED_AND_LAPSED: [&str; 5] =
    ["login.opened", "ask.posted", "answer.given", "login.approved", "login.lapsed"];

/// Starts a login of alice, and stops the server once the login waits.
fn stopped(world: &World, machine: &Machine) -> (Login, String) {
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    hang(world, &world.server);
    (login, id)
}

#[test]
fn for_a_short_while_it_delays_an_approval_and_loses_nothing() {
    for phase in [Phase::Account, Phase::Auth, Phase::Session] {
        let world = World::new();
        let machine = world.machine().phase(phase).start();
        let (mut login, id) = stopped(&world, &machine);
        world.admin.approve(&id);
        pass(SHORT);
        assert!(login.running(), "{phase:?}: {}", login.stderr());
        world.server.go_on();
        let (finished, took) = timed(|| login.wait());
        assert_eq!((finished.stdout.as_str(), finished.code), ("in\n", 0), "{phase:?}: {}", finished.stderr);
        // Before OpenSSH 9.5 the auth phase takes up to twice as long as it has taken so far
        // (`ensure_minimum_time_since`).
        let sshd = if phase == Phase::Auth { SHORT + SSHD } else { SSHD };
        assert!(took <= sshd, "{phase:?}: it took {took:?}");
        world.admin.assert_story(&id, &LET_IN);
        machine.assert_nothing_left();
    }
}

#[test]
fn beyond_the_poll_grace_an_approval_that_was_given_meanwhile_is_worth_nothing() {
    let world = World::with(&SHORT_GRACE);
    let machine = world.machine().start();
    let (login, id) = stopped(&world, &machine);
    world.admin.approve(&id);
    pass(BEYOND_THE_GRACE);
    world.server.go_on();
    let prompt = "was approved, but this machine collected the approval too late.";
    Refusal { prompt, log: "expired (lapsed)", within: Duration::ZERO }.meets_login(&machine, || login);
    world.admin.assert_story(&id, &APPROVED_AND_LAPSED);
}

#[test]
fn beyond_the_machines_poll_the_login_goes_on_waiting_and_is_let_in_by_an_approval() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    let (mut login, id) = stopped(&world, &machine);
    pass(BEYOND_THE_POLL);
    assert!(login.running(), "{}", login.stderr());
    world.server.go_on();
    world.admin.approve(&id);
    let (finished, took) = timed(|| login.wait());
    assert_eq!(finished.transcript(), "in\nexit 0\n");
    assert!(took <= BACK + SSHD, "it took {took:?}");
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}

/// It cannot distinguish a machine whose polls failed from one that is gone.
#[test]
fn beyond_the_poll_and_the_grace_it_takes_the_machine_for_gone_and_the_login_is_refused() {
    let world = World::with(&SHORT_GRACE);
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    let (login, id) = stopped(&world, &machine);
    pass(BEYOND_BOTH);
    world.server.go_on();
    Refusal { prompt: "was cancelled.", log: "cancelled (machine-gone)", within: BACK }
        .meets_login(&machine, || login);
    world.admin.assert_story(&id, &CANCELLED);
}

#[test]
fn beyond_the_machines_deadline_the_login_is_refused_and_a_later_approval_runs_nothing() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("deadline", "\"10s\"");
    machine.set("on_unreachable", "\"allow\"");
    let (login, id) = stopped(&world, &machine);
    let finished = login.wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 255), "{}", finished.stderr);
    assert!(finished.stderr.contains(NOT_IN_TIME), "{}", finished.stderr);
    machine.syslog.lines_with("refused, the deadline passed");
    // Neither the server nor the person who answers in the database knows of it yet.
    world.admin.approve(&id);
    world.server.go_on();
    // It answers the poll that it held before it notices that nobody is there any more, or before the
    // approval lapses.
    until("the end of the approval", || (world.admin.story(&id).len() == LET_IN.len()).then_some(()));
    world.admin.audit_verify();
    machine.assert_nothing_left();
}

#[test]
fn before_a_login_is_opened_it_is_refused_and_nobody_is_asked_about_it_afterwards() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    hang(&world, &world.server);
    let (finished, took) = timed(|| machine.ssh("alice", &["echo", "in"]).wait());
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 255), "{}", finished.stderr);
    assert!(finished.stderr.contains(DOES_NOT_WORK), "{}", finished.stderr);
    assert!(took <= OPENING + SSHD, "it took {took:?}");
    machine.syslog.lines_with("refused, no decision (");
    world.server.go_on();
    let next = machine.ssh("bob", &["echo", "in"]);
    let id = world.admin.pending();
    is_let_in(&world, next, &id);
    assert_eq!(world.admin.logins(&[]).len(), 1);
    machine.assert_nothing_left();
}

#[test]
fn one_of_two_that_goes_on_after_the_login_has_moved_to_the_other_neither_asks_nor_lets_in_again() {
    let (world, second, machine) = beds();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    hang(&world, &second);
    pass(BEYOND_THE_POLL);
    is_let_in(&world, login, &id);
    second.go_on();
    second.wait_for_status("/readyz", "HTTP/1.1 200");
    assert_eq!(world.admin.count(["login.opened", "ask.posted", "login.collected"]), [1; 3]);
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}
