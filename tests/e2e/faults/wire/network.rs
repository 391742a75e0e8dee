//! Packets that are dropped silently, in a network of the test's own.

use kbmfa_tests::network::{Network, apart};
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::{timed, until};
use kbmfa_tests::world::World;
use std::time::Duration;

use super::{AT_ONCE, CANNOT_BE_REACHED, NOT_IN_TIME, ONE_ADDRESS};
use crate::faults::{Refusal, SSHD};
use crate::story::{CANCELLED, SHORT_GRACE};
use crate::story::{LET_IN, SHORT_WINDOW};

/// Time after which an idle connection is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

#[test]
fn a_refused_connection_is_given_up_at_once() {
    let world = World::new();
    let machine = world.machine().start();
    world.server.stop();
    let log = "refused, no server can be reached (no connection: Connection refused";
    Refusal { prompt: CANNOT_BE_REACHED, log, within: AT_ONCE }.meets(&machine);
    assert!(world.admin.logins(&[]).is_empty());
    world.admin.audit_verify();
}

#[test]
fn a_server_that_drops_packets_is_given_up_after_five_seconds() {
    apart(|network: &Network| {
        let world = World::new();
        let machine = world.machine().start();
        network.lose(world.server.port);
        let log = "refused, no server can be reached (no connection: timed out";
        let refusal = Refusal { prompt: CANNOT_BE_REACHED, log, within: ONE_ADDRESS };
        let ((), took) = timed(|| refusal.meets(&machine));
        assert!(took >= ONE_ADDRESS, "given up after {took:?}: this is no black hole");
        assert!(world.admin.logins(&[]).is_empty());
        world.admin.audit_verify();
    });
}

#[test]
fn a_server_that_drops_packets_is_unreachable_for_on_unreachable() {
    apart(|network| {
        let world = World::new();
        let machine = world.machine().start();
        machine.set("on_unreachable", "\"allow\"");
        network.lose(world.server.port);
        let (finished, took) = timed(|| machine.ssh("alice", &["echo", "in"]).wait());
        assert_eq!(finished.transcript(), "in\nexit 0\n");
        assert!((ONE_ADDRESS..=ONE_ADDRESS + SSHD).contains(&took), "it took {took:?}");
        machine.syslog.lines_with("LET IN WITHOUT APPROVAL");
        machine.assert_nothing_left();
    });
}

#[test]
fn after_a_server_that_drops_packets_the_other_one_is_asked_within_five_seconds() {
    apart(|network| {
        let world = World::new();
        let second = world.server.twin();
        second.start();
        let machine = world.machine().start();
        let urls = [&second, &world.server].map(|server| format!("\"https://127.0.0.1:{}\"", server.port));
        machine.set("servers", &format!("[{}]", urls.join(", ")));
        network.lose(second.port);
        let (id, took) = timed(|| {
            let login = machine.ssh("alice", &["echo", "in"]);
            let id = world.admin.pending();
            world.admin.approve(&id);
            assert_eq!(login.wait().stdout, "in\n");
            id
        });
        assert!((ONE_ADDRESS..ONE_ADDRESS + SSHD * 2).contains(&took), "it took {took:?}");
        world.admin.assert_story(&id, &LET_IN);
        machine.assert_nothing_left();
    });
}

#[test]
fn a_connection_whose_server_vanished_without_a_word_is_made_anew_within_seconds() {
    apart(|network| {
        let world = World::new();
        let machine = world.machine().start();
        let login = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        // The old server's end is gone. A new server takes its place, and does not know the connection.
        network.lose(world.server.port);
        world.server.kill();
        network.wait_until_forgotten(world.server.port);
        world.server.start();
        network.repair();
        world.admin.approve(&id);
        let (finished, took) = timed(|| login.wait());
        assert_eq!(finished.stdout, "in\n", "{}", finished.stderr);
        assert!(took <= KEEPALIVE_IDLE + SSHD, "it took {took:?}");
        world.admin.assert_story(&id, &LET_IN);
        machine.assert_nothing_left();
    });
}

#[test]
fn a_network_failure_during_a_wait_ends_the_login_at_the_deadline() {
    apart(|network| {
        let world = World::with(&SHORT_GRACE);
        let machine = world.machine().start();
        machine.set("deadline", "\"8s\"");
        machine.set("on_unreachable", "\"allow\"");
        let login = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        network.lose(world.server.port);
        let log = "refused, the deadline passed";
        let (finished, took) = timed(|| login.wait());
        assert_eq!((finished.stdout.as_str(), finished.code), ("", 255));
        assert!(finished.stderr.contains(NOT_IN_TIME), "{}", finished.stderr);
        assert!(took <= Duration::from_secs(8) + SSHD, "it took {took:?}");
        machine.syslog.lines_with(log);
        world.admin.assert_story(&id, &CANCELLED);
        assert_eq!(world.admin.login(&id)["reason"], "machine-gone");
        network.repair();
        world.server.stop();
        machine.assert_nothing_left();
    });
}

#[test]
fn a_client_that_vanishes_without_a_word_is_waited_for_until_the_window_ends() {
    apart(|network| {
        let world = World::with(&SHORT_WINDOW);
        let machine = world.machine().phase(Phase::Account).start();
        let login = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        network.lose(machine.port.number);
        login.kill();
        world.admin.assert_story(&id, &["login.opened", "ask.posted", "login.expired"]);
        machine.syslog.lines_with("expired (no-answer)");
        until("sshd to end", || (machine.processes().len() == 1).then_some(()));
        network.repair();
        machine.assert_nothing_left();
    });
}
