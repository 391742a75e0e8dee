//! Faults of a connection, and unexpected data on it, while a login waits for its decision.

use kbmfa_tests::between::{Between, Order, Stage};
use kbmfa_tests::message::{answer, login, problem};
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use std::time::Duration;

use super::{AT_ONCE, DOES_NOT_WORK, NOT_IN_TIME};
use crate::faults::{Refusal, SSHD};
use crate::story::CANCELLED;
use crate::story::LET_IN;

/// While a login waits, the module gets this. It polls again, and the approval that comes then lets in.
fn is_asked_again(orders: &[Order]) {
    let world = World::new();
    let machine = world.machine().start();
    for order in orders {
        let between = Between::stopping(&world, &machine, "GET", Stage::Passed);
        let login = machine.ssh("alice", &["echo", "in"]);
        between.reached();
        let id = world.admin.pending();
        between.order(order.clone());
        world.admin.approve(&id);
        let (finished, took) = timed(|| login.wait());
        assert_eq!(finished.transcript(), "in\nexit 0\n", "{order:?}");
        assert!(took <= AT_ONCE + SSHD, "{order:?}: it took {took:?}");
        world.admin.assert_story(&id, &LET_IN);
        drop(between);
        machine.assert_nothing_left();
    }
}

/// While a login waits, the module gets this, and the login ends.
fn is_refused(order: Order, log: &str) {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    let between = Between::stopping(&world, &machine, "GET", Stage::Passed);
    let refusal = Refusal { prompt: DOES_NOT_WORK, log, within: AT_ONCE };
    refusal.meets_login(&machine, || {
        let login = machine.ssh("alice", &["echo", "in"]);
        between.reached();
        world.admin.pending();
        between.order(order);
        login
    });
    let id = world.admin.only_login();
    world.admin.assert_story(&id, &CANCELLED);
    assert_eq!(world.admin.login(&id)["reason"], "hung-up");
}

#[test]
fn a_connection_that_is_reset_is_made_anew() {
    is_asked_again(&[Order::Reset]);
}

#[test]
fn a_server_that_is_busy_or_fails_is_asked_again() {
    is_asked_again(&[
        Order::Say(problem("429 Too Many Requests", "too-many-requests")),
        Order::Say(problem("500 Internal Server Error", "internal")),
        Order::Say(problem("503 Service Unavailable", "unavailable")),
    ]);
}

#[test]
fn a_server_that_refuses_the_machine_ends_the_login() {
    is_refused(Order::Say(problem("401 Unauthorized", "unauthorized")), "(unauthorized)");
}

#[test]
fn nonsense_ends_the_login() {
    is_refused(Order::Say(answer("200 OK", &login("granted"))), "a state that does not belong here");
}

#[test]
fn a_server_that_does_not_come_back_ends_the_login_at_the_deadline() {
    let deadline = Duration::from_secs(8);
    let world = World::with(&[("login", "poll_grace", "\"6s\"")]);
    let machine = world.machine().start();
    machine.set("deadline", "\"8s\"");
    machine.set("on_unreachable", "\"allow\"");
    let between = Between::stopping(&world, &machine, "GET", Stage::Passed);
    Refusal { prompt: NOT_IN_TIME, log: "refused, the deadline passed", within: deadline }.meets_login(
        &machine,
        || {
            let login = machine.ssh("alice", &["echo", "in"]);
            between.reached();
            world.admin.pending();
            drop(between);
            login
        },
    );
    let id = world.admin.only_login();
    world.admin.assert_story(&id, &CANCELLED);
    assert_eq!(world.admin.login(&id)["reason"], "machine-gone");
}
