//! Wall clocks that jump while a login waits: the server's, which measures the window, and the machine's,
//! which matters only for certificates.

use kbmfa_tests::wait::{timed, until};
use kbmfa_tests::world::World;
use std::time::Duration;

use super::{gets_in, is_let_in};
use crate::faults::{NOT_IN_TIME, Refusal, SSHD};
use crate::story::SHORT_WINDOW;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

#[test]
fn the_servers_clock_an_hour_ahead_ends_the_window_and_the_next_login_works() {
    let (world, clock) = World::on_clock(&[]);
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    clock.set(HOUR);
    let (finished, took) = timed(|| login.wait());
    assert!(finished.transcript().starts_with("Nobody approved login <id> in time."), "{}", finished.stderr);
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 255));
    assert!(took <= Duration::from_secs(1) + SSHD, "it took {took:?}");
    machine.syslog.lines_with("expired (no-answer)");
    world.admin.assert_story(&id, &["login.opened", "ask.posted", "login.expired"]);

    gets_in(&world, &machine);
}

#[test]
fn the_servers_clock_an_hour_behind_delays_no_answer() {
    let (world, clock) = World::on_clock(&[]);
    let machine = world.machine().start();
    for behind in [-HOUR, -2 * HOUR] {
        let login = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        clock.set(behind);
        is_let_in(&world, login, &id);
    }
    machine.assert_nothing_left();
}

/// By such a clock the window never ends, but the machine's deadline does.
#[test]
fn the_servers_clock_an_hour_behind_keeps_nobody_waiting_beyond_the_machines_deadline() {
    let (world, clock) = World::on_clock(&SHORT_WINDOW);
    let machine = world.machine().start();
    machine.set("deadline", "\"12s\"");
    let within = Duration::from_secs(12);
    Refusal { prompt: NOT_IN_TIME, log: "refused, the deadline passed", within }.meets_login(
        &machine,
        || {
            let login = machine.ssh("alice", &["echo", "in"]);
            world.admin.pending();
            clock.set(-HOUR);
            login
        },
    );
    let id = world.admin.only_login();
    world.admin.assert_story(&id, &["login.opened", "ask.posted", "login.cancelled"]);
    assert_eq!(world.admin.login(&id)["reason"], "hung-up");
}

#[test]
fn asks_and_denials_while_the_servers_clock_was_ahead_do_not_count_when_it_is_right_again() {
    let (world, clock) = World::on_clock(&[("login", "asks_per_user", "1")]);
    let machine = world.machine().start();
    clock.set(HOUR);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    world.admin.deny(&id);
    assert_eq!(login.wait().code, 255);
    clock.set(0);
    gets_in(&world, &machine);
}

/// A certificate that the server made meanwhile would be valid only from that later time on, and so useless
/// now.
#[test]
fn the_servers_clock_months_ahead_and_right_again_leaves_no_certificate_of_the_future() {
    let (world, clock) = World::on_clock(&[]);
    let machine = world.machine().start();
    let renewed = |times| {
        let kinds = ["server.certificate-renewed"];
        until("a new certificate", || (world.admin.count(kinds) == [times]).then_some(()));
    };
    clock.set(100 * DAY);
    renewed(1);
    clock.set(0);
    renewed(2);
    gets_in(&world, &machine);
}

#[test]
fn the_machines_clock_neither_shortens_nor_stretches_a_wait() {
    let world = World::new();
    let machine = world.machine().own_clock().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    machine.set_clock(DAY);
    is_let_in(&world, login, &id);

    machine.set("deadline", "\"6s\"");
    let within = Duration::from_secs(6);
    Refusal { prompt: NOT_IN_TIME, log: "refused, the deadline passed", within }.meets_login(
        &machine,
        || {
            let login = machine.ssh("alice", &["echo", "in"]);
            world.admin.pending();
            machine.set_clock(-DAY);
            login
        },
    );
    world.admin.audit_verify();
}

#[test]
fn a_machine_with_a_wrong_date_accepts_no_certificate() {
    let world = World::new();
    let machine = world.machine().own_clock().start();
    machine.set("on_unreachable", "\"allow\"");
    for (days, log) in [(100, "certificate expired on"), (-10, "certificate is valid from")] {
        machine.set_clock(days * DAY);
        let prompt = "the approval server does not work properly.";
        Refusal { prompt, log, within: Duration::from_secs(1) }.meets(&machine);
    }
    assert!(world.admin.logins(&[]).is_empty());
    world.admin.audit_verify();
}
