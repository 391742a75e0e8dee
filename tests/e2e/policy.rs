//! Policy, limits and employees, each with a real login at a real sshd.

use insta::assert_snapshot;
use kbmfa_tests::admin::Event;
use kbmfa_tests::login::{Finished, Login};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;

use crate::story::LET_IN;

fn world_with_rules(rules: &str) -> World {
    let world = World::with(&[("login", "cool_down", "\"0s\"")]);
    world.server.append(rules);
    world.server.restart();
    world
}

fn let_in(finished: &Finished) -> bool {
    (finished.stdout.as_str(), finished.code) == ("in\n", 0)
}

fn log_in(machine: &Machine) -> Login {
    machine.ssh("alice", &["echo", "in"])
}

fn employ_alice(world: &World) {
    world.admin.run(&["employee", "add", "alice@example.com", "--name", "Alice A", "--unix-name", "alice"]);
}

#[test]
fn an_exempt_login_is_let_in_at_once_and_recorded() {
    let world =
        world_with_rules("[[policy.rule]]\npools = [\"ci\"]\nfrom = [\"127.0.0.0/8\"]\nexempt = true\n");
    let machine = world.machine().start();
    let asked = log_in(&machine);
    let id = world.admin.pending();
    world.admin.run(&["pool", "add", "ci", "--machine", "web1"]);
    assert!(let_in(&log_in(&machine).wait()), "its machine is in the pool by now");
    world.admin.approve(&id);
    assert!(let_in(&asked.wait()), "whoever was asked before may still answer");
    let exempt =
        world.admin.audit().into_iter().find(|event| event.entry["detail"]["reason"] == "exempt").unwrap();
    assert_eq!(
        (exempt.kind.as_str(), exempt.entry["actor"]["who"].as_str()),
        ("login.approved", Some("policy"))
    );
    machine.assert_nothing_left();
}

#[test]
fn a_rule_names_its_own_approvers_and_explain_says_so() {
    let world = world_with_rules("[[policy.rule]]\nusers = [\"alice\"]\napprovers = [\"console:chief\"]\n");
    let machine = world.machine().start();
    let login = log_in(&machine);
    let id = world.admin.pending();
    assert!(world.admin.try_run(&["login", "approve", &id]).is_err());
    login.kill();
    let bob = machine.ssh("bob", &["true"]);
    world.admin.wait_for_state(&id, "cancelled");
    world.admin.approve(&world.admin.pending());
    assert_eq!(bob.wait().code, 0);
    let explained = world.admin.run(&[
        "policy",
        "explain",
        "--user",
        "alice",
        "--machine",
        "web1",
        "--from",
        "192.0.2.7",
    ]);
    assert_snapshot!(explained, @r"
    alice wants to enter web1 (no pool) through sshd from 192.0.2.7
    no employee has this account
    rule on line 20: applies: ask console:chief within 60 s at console
    verdict: ask console:chief within 60 s at console
    ");
}

#[test]
fn a_suspended_employee_is_refused_at_once_in_every_state_of_a_login() {
    let world = World::new();
    employ_alice(&world);
    let machine = world.machine().start();
    let login = log_in(&machine);
    let id = world.admin.pending();
    assert_snapshot!(world.admin.run(&["employee", "suspend", "alice@example.com"]), @"employee alice@example.com is suspended; logins refused that were waiting: 1");
    assert_snapshot!(login.wait().transcript(), @r"
    Your access is suspended.
    Connection closed by 127.0.0.1 port <port>
    exit 255
    ");
    assert!(world.admin.try_run(&["login", "approve", &id]).is_err());
    assert_eq!(log_in(&machine).wait().code, 255);
    world.admin.assert_story(&id, &["login.opened", "ask.posted", "login.denied", "answer.rejected"]);
    world.admin.run(&["employee", "resume", "alice@example.com"]);
    let login = log_in(&machine);
    world.admin.approve(&world.admin.pending());
    assert!(let_in(&login.wait()));
    machine.assert_nothing_left();
}

#[test]
fn the_session_phase_judges_an_approved_connection_again() {
    let world = World::new();
    employ_alice(&world);
    let both = "auth required pam_deny.so\naccount required pam_kbmfa.so\naccount required pam_unix.so\n\
                session required pam_kbmfa.so silent\nsession required pam_unix.so\n";
    let machine = world.machine().pam_stack(both).start();
    let login = log_in(&machine);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert!(let_in(&login.wait()));
    let logins = world.admin.json(&["login", "list"]);
    let states: Vec<_> =
        logins.as_array().unwrap().iter().map(|login| login["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["approved", "approved"], "one ask, and a second judgement");
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}

#[test]
fn after_a_denial_trying_again_asks_nobody_until_it_has_cooled_down() {
    let world = World::new();
    let machine = world.machine().start();
    let login = log_in(&machine);
    world.admin.deny(&world.admin.pending());
    login.wait();
    assert_snapshot!(log_in(&machine).wait().transcript(), @r"
    This was denied a moment ago. Try again later.
    Connection closed by 127.0.0.1 port <port>
    exit 255
    ");
    let asked = world.admin.audit().into_iter().filter(|event| event.kind == "ask.posted").count();
    assert_eq!(asked, 1);
    let other = machine.ssh("bob", &["true"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(other.wait().code, 0, "somebody else is not held up by it");
    machine.assert_nothing_left();
}

#[test]
fn two_hundred_attempts_cause_few_asks() {
    let world = World::with(&[("login", "cool_down", "\"0s\"")]);
    let machine = world.machine().phase(Phase::Account).sshd_lines("MaxStartups 500").start();
    // Each login is abandoned as soon as it was asked about or refused. None is answered.
    for _ in 0..25 {
        let attempts: Vec<_> = (0..8).map(|_| log_in(&machine)).collect();
        world.admin.until_opened_at_least(8);
        attempts.iter().for_each(Login::kill);
        for attempt in attempts {
            attempt.wait();
        }
    }
    let events = world.admin.audit();
    let of = |kind: &'static str| events.iter().filter(move |event| event.kind == kind);
    let at = |event: &Event| event.entry["at"].as_i64().unwrap();
    // Six asks in a minute, and a notice in ten minutes for each of the two limits, however long all this takes.
    let is_asked = |login: &&Event| of("ask.posted").any(|ask| ask.login == login.login);
    let asked: Vec<_> = of("login.opened").filter(is_asked).map(at).collect();
    assert!(asked.len() >= 6, "{} asks", asked.len());
    assert!(asked.windows(7).all(|asks| asks[6] - asks[0] >= 60_000_000), "{asked:?}");
    let noticed: Vec<_> = of("limit.reached").map(at).collect();
    assert!(!noticed.is_empty());
    assert!(noticed.windows(3).all(|notices| notices[2] - notices[0] >= 600_000_000), "{noticed:?}");
    world.admin.audit_verify();
    machine.assert_nothing_left();
}

#[test]
fn a_second_channel_of_a_connection_needs_no_second_approval() {
    let world = World::new();
    let machine = world.machine().start();
    let socket = machine.local_file("master");
    let path = format!("ControlPath={}", socket.display());
    let master = machine.ssh_with("alice", &["-o", &path, "-o", "ControlMaster=yes"], &["sleep", "60"]);
    world.admin.approve(&world.admin.pending());
    kbmfa_tests::wait::until("the master to be up", || socket.exists().then_some(()));
    let second = machine.ssh_with("alice", &["-o", &path, "-o", "ControlMaster=no"], &["echo", "in"]);
    assert!(let_in(&second.wait()));
    assert_eq!(world.admin.logins(&[]).len(), 1);
    master.kill();
    master.wait();
}
