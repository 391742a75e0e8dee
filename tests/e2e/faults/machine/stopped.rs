//! The process in which the module waits is stopped for a while (SIGSTOP, SIGCONT). Data that arrives
//! meanwhile stays in its socket until the process continues: also approvals, however old they are then.
//!
//! In the auth phase sshd itself ends the attempt. There the process is a child of the monitor, which treats
//! a stopped child as lost and sends it SIGTERM.

use kbmfa_tests::builder::Root;
use kbmfa_tests::login::{Finished, Login};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::Stopped;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::{pass, timed};
use kbmfa_tests::world::World;
use std::time::Duration;

use super::{CANCELLED, SHORT_GRACE, su, with_su};
use crate::faults::SSHD;
use crate::story::LET_IN;

/// Longer than the grace of [`SHORT_GRACE`].
const BEYOND_THE_GRACE: Duration = Duration::from_secs(8);

/// Longer than the time for which an approval counts without a second request, but shorter than the default
/// poll grace.
const WITHIN_THE_GRACE: Duration = Duration::from_secs(7);

/// Longest time for which the server holds a first poll and takes the machine for alive.
const HELD: Duration = Duration::from_secs(30);

/// Longer than a LoginGraceTime of 3 s, and the 4 s that OpenSSH 10.0 may add.
const BEYOND_LOGIN_GRACE_TIME: Duration = Duration::from_secs(8);

const TOO_LATE: &str = "was approved, but this machine collected the approval too late.";

/// A waiting login with a stopped process.
struct StoppedLogin<'a> {
    machine: &'a Machine,
    login: Login,
    id: String,
    stopped: Stopped,
}

/// The same after its process was continued.
struct Continued<'a> {
    machine: &'a Machine,
    login: Login,
    id: String,
}

/// Continues all processes at once: one after the other, the last would reach its module's deadline. Logins in the auth
/// phase come last, because sshd delays a failure there by up to the time that the attempt has taken
/// (`ensure_minimum_time_since`).
fn continue_all(stopped: Vec<StoppedLogin<'_>>) -> Vec<Continued<'_>> {
    let go_on = |StoppedLogin { machine, login, id, stopped }| {
        stopped.go_on();
        Continued { machine, login, id }
    };
    let mut continued: Vec<_> = stopped.into_iter().map(go_on).collect();
    continued.sort_by_key(|one| one.machine.phase == Phase::Auth);
    continued
}

impl Continued<'_> {
    fn finished(self) -> Finished {
        let (finished, took) = timed(|| self.login.wait());
        let phase = self.machine.phase;
        assert!(took <= SSHD || phase == Phase::Auth, "{phase:?}: it took {took:?}");
        finished
    }

    /// Nobody gets in.
    fn ends_refused(self, told: &str, log: &str) {
        let (machine, phase) = (self.machine, self.machine.phase);
        let finished = self.finished();
        assert_eq!(finished.stdout, "", "{phase:?}: let in");
        assert_ne!(finished.code, 0, "{phase:?}");
        // In the auth phase sshd's signal kills it, so it displays and logs nothing.
        if phase != Phase::Auth {
            machine.syslog.lines_with(log);
            // In the session phase sshd has already let them in, and displays nothing.
            assert!(finished.stderr.contains(told) || phase == Phase::Session, "{phase:?}: {finished:?}");
        }
    }
}

/// A machine for each of these phases with each of two sshds.
fn machines(world: &World, phases: &[Phase], sshd_lines: &str) -> Vec<Machine> {
    let cases =
        [Root::Debian12, Root::Debian13].into_iter().flat_map(|root| phases.iter().map(move |p| (root, *p)));
    cases
        .map(|(root, phase)| world.machine().root(root).phase(phase).sshd_lines(sshd_lines).start())
        .collect()
}

/// Starts a login on each machine, and stops the processes in which they wait.
fn stop_all<'a>(world: &World, machines: &'a [Machine]) -> Vec<StoppedLogin<'a>> {
    let mut known = vec![];
    let stop = |machine: &'a Machine| {
        let login = machine.ssh("alice", &["echo", "in"]);
        let all = world.admin.pending_logins(known.len() + 1);
        let id = all.into_iter().map(|(id, _)| id).find(|id| !known.contains(id)).unwrap();
        known.push(id.clone());
        StoppedLogin { machine, login, id, stopped: Stopped::stop(machine.asking()) }
    };
    machines.iter().map(stop).collect()
}

/// Approves the login while the process is stopped, and waits until the approval is in its socket.
fn approve(world: &World, id: &str) {
    world.admin.approve(id);
    world.admin.assert_story(id, &LET_IN);
}

fn assert_nothing_left(machines: &[Machine]) {
    for machine in machines {
        machine.assert_nothing_left();
    }
}

const ALL: [Phase; 3] = [Phase::Account, Phase::Auth, Phase::Session];

#[test]
fn beyond_the_poll_grace_the_ask_ends_and_nobody_gets_in() {
    let world = World::with(&SHORT_GRACE);
    let machines = machines(&world, &ALL, "");
    let stopped = stop_all(&world, &machines);
    pass(HELD);
    for StoppedLogin { id, .. } in &stopped {
        world.admin.wait_for_state(id, "cancelled");
        assert_eq!(world.admin.login(id)["reason"], "machine-gone");
        assert!(world.admin.try_run(&["login", "approve", id]).is_err(), "approved after all");
    }
    for one in continue_all(stopped) {
        let id = one.id.clone();
        one.ends_refused("was cancelled.", "cancelled (machine-gone)");
        world.admin.assert_story(&id, &[&CANCELLED[..], &["answer.rejected"]].concat());
    }
    assert_nothing_left(&machines);
}

#[test]
fn an_approval_during_a_stop_within_the_grace_lets_in_once() {
    let world = World::new();
    let machines = machines(&world, &[Phase::Account, Phase::Session], "");
    let stopped = stop_all(&world, &machines);
    for one in &stopped {
        approve(&world, &one.id);
    }
    pass(WITHIN_THE_GRACE);
    for one in continue_all(stopped) {
        let (machine, id) = (one.machine, one.id.clone());
        assert_eq!(one.finished().transcript(), "in\nexit 0\n");
        machine.syslog.lines_with("the approval comes late, asking again");
        world.admin.assert_story(&id, &LET_IN);
    }
    assert_nothing_left(&machines);
    assert_eq!(world.admin.count(["login.opened", "login.collected"]), [machines.len(); 2]);
}

#[test]
fn an_approval_during_a_stop_beyond_the_grace_has_expired() {
    let world = World::with(&SHORT_GRACE);
    let machines = machines(&world, &ALL, "");
    let stopped = stop_all(&world, &machines);
    for one in &stopped {
        approve(&world, &one.id);
    }
    pass(BEYOND_THE_GRACE);
    for one in continue_all(stopped) {
        one.ends_refused(TOO_LATE, "expired (lapsed)");
    }
    assert_nothing_left(&machines);
}

/// If somebody is suspended, an approval that is already in the socket must not let them in.
#[test]
fn a_suspension_revokes_an_earlier_approval() {
    let world = World::new();
    let machines = machines(&world, &[Phase::Account], "");
    world.admin.run(&["employee", "add", "alice@example.com", "--name", "Alice", "--unix-name", "alice"]);
    let stopped = stop_all(&world, &machines);
    for one in &stopped {
        approve(&world, &one.id);
    }
    world.admin.run(&["employee", "suspend", "alice@example.com"]);
    pass(WITHIN_THE_GRACE);
    for one in continue_all(stopped) {
        one.ends_refused("Your access is suspended.", "denied (suspended)");
    }
    assert_nothing_left(&machines);
}

#[test]
fn in_the_auth_phase_sshd_itself_ends_a_login_whose_process_was_stopped() {
    let world = World::new();
    let machines = machines(&world, &[Phase::Auth], "");
    let stopped = stop_all(&world, &machines);
    for one in &stopped {
        approve(&world, &one.id);
    }
    for one in continue_all(stopped) {
        one.ends_refused("", "");
    }
    assert_nothing_left(&machines);
}

#[test]
fn beyond_login_grace_time_sshd_ends_the_login_whatever_was_approved() {
    let world = World::new();
    let machines = machines(&world, &[Phase::Account, Phase::Auth], "LoginGraceTime 3");
    let stopped = stop_all(&world, &machines);
    pass(BEYOND_LOGIN_GRACE_TIME);
    for one in &stopped {
        approve(&world, &one.id);
    }
    for one in continue_all(stopped) {
        let phase = one.machine.phase;
        let finished = one.finished();
        assert_eq!((finished.stdout.as_str(), finished.code), ("", 255), "{phase:?}");
    }
    assert_nothing_left(&machines);
}

#[test]
fn in_the_session_phase_login_grace_time_is_over_and_a_fresh_approval_lets_in() {
    let world = World::new();
    let machines = machines(&world, &[Phase::Session], "LoginGraceTime 3");
    let stopped = stop_all(&world, &machines);
    pass(BEYOND_LOGIN_GRACE_TIME);
    for one in &stopped {
        approve(&world, &one.id);
    }
    for one in continue_all(stopped) {
        let id = one.id.clone();
        assert_eq!(one.finished().transcript(), "in\nexit 0\n");
        world.admin.assert_story(&id, &LET_IN);
    }
    assert_nothing_left(&machines);
}

/// People can stop a su that they have started, and continue it later.
#[test]
fn who_stops_their_su_cannot_keep_an_approval_for_later() {
    let world = World::with(&SHORT_GRACE);
    let machine = with_su(world.machine());
    let login = su(&machine, "");
    let id = world.admin.pending();
    let signal = |signal| assert_eq!(machine.entered("alice", &["pkill", signal, "-x", "su"]).wait().code, 0);
    signal("-STOP");
    approve(&world, &id);
    pass(BEYOND_THE_GRACE);
    signal("-CONT");
    let finished = login.wait();
    assert!(!finished.stdout.contains("bob"), "{finished:?}");
    assert!(finished.stdout.contains(TOO_LATE) || finished.stderr.contains(TOO_LATE), "{finished:?}");
    machine.syslog.lines_with("expired (lapsed)");
    machine.assert_nothing_left();
}
