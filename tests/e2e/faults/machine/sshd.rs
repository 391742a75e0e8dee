//! What sshd itself does to logins that wait: its LoginGraceTime, and its limit on connections.

use kbmfa_tests::builder::Root;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use std::time::Duration;

use super::{CANCELLED, SHORT_GRACE};
use crate::faults::SSHD;
use crate::story::LET_IN;

/// The phases in which LoginGraceTime ends the wait.
const BEFORE_THE_SESSION: [(Phase, Root); 4] = [
    (Phase::Account, Root::Debian12),
    (Phase::Auth, Root::Debian12),
    (Phase::Account, Root::Debian13),
    (Phase::Auth, Root::Debian13),
];

/// OpenSSH 10.0 lengthens its grace time at random by up to this much.
const JITTER: Duration = Duration::from_secs(4);

#[test]
fn sshd_ending_the_wait_at_its_grace_time_cancels_the_login() {
    let grace = Duration::from_secs(3);
    let world = World::with(&SHORT_GRACE);
    let machine =
        |(phase, root)| world.machine().phase(phase).root(root).sshd_lines("LoginGraceTime 3").start();
    let machines = BEFORE_THE_SESSION.map(machine);
    let (finished, took) = timed(|| {
        let logins: Vec<_> = machines.iter().map(|machine| machine.ssh("alice", &["echo", "in"])).collect();
        logins.into_iter().map(Login::wait).collect::<Vec<_>>()
    });
    assert!(took >= grace && took <= grace + JITTER + SSHD, "it took {took:?}");
    for finished in finished {
        let seen = "Connection closed by 127.0.0.1 port <port>\nexit 255\n";
        assert_eq!(finished.transcript(), seen);
    }
    let logins = world.admin.logins(&[]);
    assert_eq!(logins.len(), machines.len());
    for (id, _) in logins {
        world.admin.assert_story(&id, &CANCELLED);
        assert_eq!(world.admin.login(&id)["reason"], "machine-gone");
    }
    for machine in machines {
        machine.assert_nothing_left();
    }
}

/// Starts a login of each of these users, each once the one before it waits.
fn wait_in_line(world: &World, machine: &Machine, users: &[&str]) -> Vec<Login> {
    let one = |(number, user): (usize, &&str)| {
        let login = machine.ssh(user, &["echo", "in"]);
        world.admin.pending_logins(number + 1);
        login
    };
    users.iter().enumerate().map(one).collect()
}

#[test]
fn a_full_maxstartups_drops_new_connections_and_affects_no_waiting_login() {
    for root in [Root::Debian12, Root::Debian13] {
        let world = World::new();
        let machine = world.machine().root(root).sshd_lines("MaxStartups 3").start();
        let waiting = wait_in_line(&world, &machine, &["alice", "bob", "carol"]);
        let ids = world.admin.pending_logins(3);
        for _ in 0..2 {
            let dropped = machine.ssh("alice", &["echo", "in"]).wait();
            assert_eq!((dropped.stdout.as_str(), dropped.code), ("", 255));
            assert!(dropped.stderr.contains("kex_exchange_identification: "), "{}", dropped.stderr);
        }
        assert_eq!(machine.sshd_log().matches("drop connection #3").count(), 2, "{}", machine.sshd_log());
        assert_eq!(world.admin.pending_logins(3), ids);
        for (id, _) in &ids {
            world.admin.approve(id);
            world.admin.assert_story(id, &LET_IN);
        }
        for login in waiting {
            assert_eq!(login.wait().stdout, "in\n");
        }
        let next = machine.ssh("alice", &["echo", "in"]);
        world.admin.approve(&world.admin.pending());
        assert_eq!(next.wait().stdout, "in\n");
        machine.assert_nothing_left();
    }
}

#[test]
fn logins_that_wait_in_the_session_phase_take_no_maxstartups_slot() {
    for root in [Root::Debian12, Root::Debian13] {
        let world = World::new();
        let machine = world.machine().phase(Phase::Session).root(root).sshd_lines("MaxStartups 3").start();
        let waiting = wait_in_line(&world, &machine, &["alice", "bob", "carol", "alice", "bob"]);
        for (id, _) in world.admin.pending_logins(waiting.len()) {
            world.admin.approve(&id);
        }
        for login in waiting {
            assert_eq!(login.wait().stdout, "in\n");
        }
        assert!(!machine.sshd_log().contains("drop connection"), "{}", machine.sshd_log());
        machine.assert_nothing_left();
    }
}
