//! Sessions, as the machine reports them: opened, closed, tied to the login. Reports are kept while no server
//! can be reached, and never delay or refuse anybody.

use kbmfa_tests::builder::Root;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::{FREE, Phase};
use kbmfa_tests::syslog::severity;
use kbmfa_tests::wait::{self, until};
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::story::Case;

/// The recommended stack with a module after ours that refuses bob.
const WITHOUT_BOB: &str = "auth required pam_deny.so\naccount required pam_kbmfa.so\n\
    account required pam_succeed_if.so user != bob quiet\naccount required pam_unix.so\n\
    session required pam_unix.so\n";

/// The session phase, in which the line that asks ends the stack if it refuses.
const HELD: &str = "auth required pam_deny.so\naccount required pam_unix.so\nsession required pam_unix.so\n\
    session requisite pam_kbmfa.so silent\n";

/// A command that runs until a file exists.
pub(crate) const STAY: &str = "until [ -e /tmp/over ]; do sleep 0.1; done";

const ENDS: [&str; 2] = ["session.opened", "session.closed"];

fn kept(machine: &Machine) -> usize {
    fs::read_dir(machine.path("/var/lib/kbmfa-host/spool")).map_or(0, Iterator::count)
}

fn approved(world: &World, machine: &Machine, user: &str) -> String {
    let login = machine.ssh(user, &["true"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert_eq!(login.wait().code, 0);
    id
}

pub(crate) fn sessions_of(world: &World, user: &str) -> Vec<Value> {
    let mut all = world.admin.json(&["session", "list"]).as_array().unwrap().clone();
    all.retain(|session| get(session, "/user") == user);
    all
}

fn get(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).expect(pointer).clone()
}

/// Waits for a report. On a busy host the 300 ms for it may not be enough; then the next login sends it.
pub(crate) fn heard<T>(world: &World, machine: &Machine, what: &str, look: impl Fn() -> Option<T>) -> T {
    until(what, || {
        let found = look();
        if found.is_none() && kept(machine) > 0 {
            approved(world, machine, "carol");
        }
        found
    })
}

/// One session on a machine whose module asks in this phase.
pub(crate) fn told_from_open_to_close(Case(phase, root): Case) {
    let world = World::new();
    let machine = world.machine().phase(phase).root(root).reporting().start();
    let login = machine.ssh("alice", &[STAY]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    let session = heard(&world, &machine, "the open", || sessions_of(&world, "alice").pop());
    assert_eq!(get(&session, "/login"), id.as_str());
    assert_eq!((get(&session, "/open"), get(&session, "/machine")), (true.into(), "web1".into()));
    assert_eq!(get(&session, "/source"), "127.0.0.1");
    assert!(get(&session, "/key").as_str().unwrap().starts_with("SHA256:"), "{session}");
    assert_eq!(get(&world.admin.login(&id), "/session"), "open");
    machine.exec(&["touch", "/tmp/over"]);
    let finished = login.wait();
    assert_eq!(finished.code, 0);
    assert!(phase == Phase::Auth || finished.stderr.is_empty(), "{}", finished.stderr);
    let is_closed = || (get(&world.admin.login(&id), "/session") == "closed").then_some(());
    heard(&world, &machine, "the close", is_closed);
    let sessions = get(&world.admin.login(&id), "/sessions");
    assert_eq!((sessions.as_array().unwrap().len(), get(&sessions, "/0/open")), (1, false.into()));
    let story = world.admin.story(&id);
    assert!(ENDS.iter().all(|end| story.iter().filter(|kind| kind == end).count() == 1), "{story:?}");
    world.admin.audit_verify();
    let lines = machine.syslog.lines_with("session opened for user alice from 127.0.0.1");
    assert!(lines.len() == 1 && lines.iter().all(|line| line.severity == severity::NOTICE), "{lines:?}");
    machine.syslog.lines_with("session closed for user alice from 127.0.0.1");
    machine.assert_nothing_left();
}

#[test]
fn a_session_is_reported_from_open_to_close_and_tied_to_its_login() {
    told_from_open_to_close(Case(Phase::Account, Root::Debian12));
}

#[test]
fn and_where_the_login_was_approved_in_the_auth_phase_in_another_process() {
    told_from_open_to_close(Case(Phase::Auth, Root::Debian12));
}

#[test]
fn a_session_that_is_refused_in_the_session_phase_is_never_reported_as_opened() {
    let world = World::new();
    let machine = world.machine().phase(Phase::Session).pam_stack(HELD).reporting().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.deny(&world.admin.pending());
    assert_eq!(login.wait().code, 254);
    let id = approved(&world, &machine, "bob");
    let is_closed = || (get(&world.admin.login(&id), "/session") == "closed").then_some(());
    heard(&world, &machine, "bob's session", is_closed);
    assert!(sessions_of(&world, "alice").is_empty());
    machine.assert_nothing_left();
}

/// A session while no server is running.
pub(crate) fn kept_and_sent_once(root: Root) {
    let world = World::new();
    let machine = world.machine().root(root).pam_stack(FREE).reporting().start();
    world.server.stop();
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().transcript(), "in\nexit 0\n");
    until("both ends in the spool", || (kept(&machine) == 2).then_some(()));
    world.server.start();
    let mut logins = 1;
    until("everything to be told", || {
        if kept(&machine) > 0 {
            assert_eq!(machine.ssh("alice", &["true"]).wait().code, 0);
            logins += 1;
        }
        let told = world.admin.count(ENDS) == [logins, logins];
        (told && kept(&machine) == 0).then_some(())
    });
    let sessions = sessions_of(&world, "alice");
    assert_eq!(sessions.len(), logins);
    assert!(
        sessions.iter().all(|session| get(session, "/open") == false && get(session, "/login").is_null())
    );
    // One more login shows that nothing is sent again.
    assert_eq!(machine.ssh("alice", &["true"]).wait().code, 0);
    world.admin.audit_verify();
    machine.assert_nothing_left();
    let [opened, closed] = world.admin.count(ENDS);
    assert!(opened <= logins + 1 && closed <= logins + 1, "{opened} {closed}");
}

#[test]
fn without_a_server_a_session_is_not_in_the_way_and_its_reports_are_sent_once_later() {
    kept_and_sent_once(Root::Debian12);
}

#[test]
fn a_silent_server_delays_no_session() {
    let world = World::new();
    let machine = world.machine().pam_stack(FREE).reporting().start();
    world.server.stop();
    let silent = until("the port to be free", || TcpListener::bind(("127.0.0.1", world.server.port)).ok());
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().transcript(), "in\nexit 0\n");
    until("both ends in the spool", || (kept(&machine) == 2).then_some(()));
    drop(silent);
    machine.assert_nothing_left();
}

#[test]
fn a_login_let_in_while_no_server_was_there_is_on_record_after_the_next_one() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    world.server.stop();
    assert_eq!(machine.ssh("bob", &["echo", "in"]).wait().stdout, "in\n");
    assert_eq!(kept(&machine), 1);
    world.server.start();
    let look = || (world.admin.count(["login.let-in-unreachable"]) == [1]).then_some(());
    approved(&world, &machine, "alice");
    heard(&world, &machine, "the alarm", look);
    assert_eq!(kept(&machine), 0);
    let alarm =
        world.admin.audit().into_iter().find(|event| event.kind == "login.let-in-unreachable").unwrap();
    assert_eq!((&alarm.entry["user"], &alarm.entry["machine"]), (&"bob".into(), &"web1".into()));
    approved(&world, &machine, "alice");
    assert_eq!(world.admin.count(["login.let-in-unreachable"]), [1]);
    machine.assert_nothing_left();
}

#[test]
fn scp_sftp_and_rsync_notice_nothing_with_or_without_a_server() {
    let world = World::new();
    let machine = world.machine().pam_stack(FREE).reporting().start();
    let local = machine.local_file("there");
    fs::write(&local, "a file").unwrap();
    let path = local.to_str().unwrap();
    for round in ["with", "without"] {
        for (tool, login) in [
            ("scp", machine.scp("alice", path, &format!(":scp-{round}"))),
            ("sftp", machine.sftp("alice", &format!("put {path} sftp-{round}\n"))),
            ("rsync", machine.rsync("alice", path, &format!(":rsync-{round}"))),
        ] {
            let finished = login.wait();
            assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{tool} {round}");
            let there = machine.path(&format!("/home/alice/{tool}-{round}"));
            assert_eq!(fs::read_to_string(there).unwrap(), "a file");
        }
        if round == "with" {
            world.server.stop();
        }
    }
    machine.assert_nothing_left();
}

#[test]
fn a_spool_that_others_could_write_to_is_not_used_and_affects_no_login() {
    let world = World::new();
    let machine = world.machine().pam_stack(FREE).reporting().start();
    machine.exec(&["mkdir", "-p", "-m", "777", "/var/lib/kbmfa-host/spool"]);
    world.server.stop();
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "in\n");
    assert_eq!(machine.syslog.lines_with("use chmod 0700")[0].severity, severity::WARNING);
    assert_eq!(kept(&machine), 0);
    machine.assert_nothing_left();
}

#[test]
fn approved_logins_without_a_session_are_listed() {
    let world = World::new();
    let machine = world.machine().pam_stack(WITHOUT_BOB).reporting().start();
    approved(&world, &machine, "alice");
    heard(&world, &machine, "a session", || sessions_of(&world, "alice").pop());
    let login = machine.ssh("bob", &["echo", "in"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert_eq!(login.wait().code, 255);
    assert_eq!(world.admin.login(&id)["session"], "none");
    assert!(world.admin.logins(&["--unopened"]).is_empty(), "it may still come");
    wait::pass(Duration::from_secs(61));
    assert_eq!(world.admin.logins(&["--unopened"]), [(id, "bob".to_owned())]);
}
