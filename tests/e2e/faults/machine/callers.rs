//! Programs other than sshd that call the module, as people start them: su, with a first factor before the
//! module. `sudo.rs` tests sudo.

use insta::assert_snapshot;
use kbmfa_tests::impostor::{self, Act, Babbler};
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use std::fs;

use super::{su, with_su};
use crate::story::{LET_IN, TURNED_AWAY};

#[test]
fn su_asks_after_the_password_and_obeys_the_answer() {
    let world = World::new();
    let machine = with_su(world.machine());
    let wrong = machine.ssh("alice", &["exec su bob -c 'id -un' < /tmp/wrong"]);
    assert_snapshot!(wrong.wait().transcript(), @r"
    Password: su: Authentication failure
    exit 1
    ");
    assert!(world.admin.logins(&[]).is_empty());

    let welcome = su(&machine, "");
    let id = world.admin.pending();
    let shown = world.admin.login(&id);
    assert_eq!((&shown["service"], &shown["user"]), (&"su".into(), &"bob".into()));
    world.admin.approve(&id);
    assert_snapshot!(welcome.wait().transcript(), @r"
    Login <id> needs an approval; asked for one (up to <seconds> s).
    bob
    Password:
    exit 0
    ");
    world.admin.assert_story(&id, &LET_IN);

    let unwelcome = su(&machine, "");
    let id = world.admin.pending();
    world.admin.deny(&id);
    assert_snapshot!(unwelcome.wait().transcript(), @r"
    Login <id> needs an approval; asked for one (up to <seconds> s).
    Password: Login <id> was denied.
    su: Have exhausted maximum number of retries for service
    exit 1
    ");
    world.admin.assert_story(&id, &TURNED_AWAY);
    machine.assert_nothing_left();
}

/// Whether a write to a closed connection would kill a process (SIGPIPE).
fn dies_of_sigpipe(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let sigpipe = 1 << (13 - 1);
    ["SigBlk:", "SigIgn:", "SigCgt:"].iter().all(|name| set(name) & sigpipe == 0)
}

#[test]
fn a_server_that_goes_away_does_not_end_su_by_sigpipe() {
    let world = World::new();
    let machine = with_su(world.machine());
    // While it waits ..
    let login = su(&machine, "");
    let id = world.admin.pending();
    assert!(dies_of_sigpipe(machine.asking()));
    world.server.kill();
    let resetter = Babbler::playing(&world, Some(impostor::right(&world)), &[Act::Hear, Act::Reset]);
    until("su to have gone on after a reset", || (resetter.heard() >= 2).then_some(()));
    drop(resetter);
    world.server.start();
    world.admin.approve(&id);
    let finished = login.wait();
    assert!(finished.stdout.ends_with("bob\n"), "{finished:?}");
    world.admin.assert_story(&id, &LET_IN);

    // .. and from the beginning.
    world.server.stop();
    let resetter = Babbler::playing(&world, Some(impostor::right(&world)), &[Act::Hear, Act::Reset]);
    let finished = su(&machine, "").wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("", 1), "{}", finished.stderr);
    assert!(finished.stderr.contains("the approval server does not work properly"), "{}", finished.stderr);
    assert!(resetter.heard() >= 2, "{}", resetter.heard());
    machine.syslog.lines_with("refused, no decision (connection lost: ");
    machine.assert_nothing_left();
}

#[test]
fn a_thousand_open_descriptors_have_no_effect() {
    let world = World::new();
    let machine = with_su(world.machine());
    let login = su(&machine, "ulimit -n 2000; for n in {1..1100}; do exec {fd}</dev/null; done");
    let id = world.admin.pending();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", machine.asking())).unwrap().count();
    assert!(descriptors > 1100, "{descriptors}");
    world.admin.approve(&id);
    let finished = login.wait();
    assert!(finished.stdout.ends_with("bob\n"), "{finished:?}");
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}
