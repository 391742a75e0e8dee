//! Resource limits of the calling process, and its umask and working directory, which the module inherits,
//! too.

use kbmfa_tests::leftovers::connected_to;
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::syslog::severity;
use kbmfa_tests::wait::pass;
use kbmfa_tests::world::World;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::{su, with_su};
use crate::story::LET_IN;

/// Suspends this account, so that the server refuses it at once and the test needs no answers.
fn suspend(world: &World, user: &str) {
    let email = format!("{user}@example.com");
    world.admin.run(&["employee", "add", &email, "--name", user, "--unix-name", user]);
    world.admin.run(&["employee", "suspend", &email]);
}

/// Limits on descriptors and memory: from far too low, over just enough, to everything between.
fn limits() -> Vec<String> {
    let descriptors = (3..=7).map(|count| format!("ulimit -n {count}"));
    let memory = (3000..=9000).step_by(500).map(|kib| format!("ulimit -v {kib}"));
    descriptors.chain(memory).collect()
}

#[test]
fn no_resource_limit_of_the_caller_lets_anybody_in() {
    let world = World::new();
    let machine = with_su(world.machine());
    machine.set("on_unreachable", "\"allow\"");
    suspend(&world, "bob");
    let limits = limits();
    let logins: Vec<_> = limits.iter().map(|limit| su(&machine, limit)).collect();
    for (limit, login) in limits.iter().zip(logins) {
        let finished = login.wait();
        assert!(!finished.stdout.contains("bob") && finished.code != 0, "{limit}: {finished:?}");
    }
    // Some limits were too low even to load the module, and some were high enough.
    assert!(!machine.syslog.lines_with("PAM adding faulty module: pam_kbmfa.so").is_empty());
    assert!(!machine.syslog.lines_with("denied (suspended)").is_empty());
    machine.assert_nothing_left();
}

/// `pam_limits`, which runs before the module, leaves it one descriptor less each time, until it can only
/// just read its files, and then not even those.
#[test]
fn a_module_that_is_left_too_few_descriptors_says_so_and_lets_nobody_in() {
    let world = World::new();
    let stack = "auth required pam_deny.so\naccount required pam_unix.so\n\
                 session required pam_limits.so conf=/etc/limits\nsession required pam_kbmfa.so silent\n";
    let machine = world.machine().phase(Phase::Session).pam_stack(stack).start();
    machine.set("on_unreachable", "\"allow\"");
    suspend(&world, "alice");
    for count in (3..=12).rev() {
        fs::write(machine.path("/etc/limits"), format!("alice - nofile {count}\n")).unwrap();
        let finished = machine.ssh("alice", &["echo", "in"]).wait();
        assert!(finished.stdout.is_empty() && finished.code != 0, "{count}: {finished:?}");
    }
    machine.syslog.lines_with("denied (suspended)");
    machine.syslog.lines_with("cannot look for the ssh client's socket: Too many open files");
    machine.assert_nothing_left();
}

#[test]
fn a_process_that_is_out_of_descriptors_while_it_waits_waits_on() {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    let mut login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let pid = machine.asking().to_string();
    let limit = |count: &str| run(brief("prlimit").args(["--pid", &pid, &format!("--nofile={count}:")]));
    limit("3");
    world.server.restart();
    // Writing to the system log needs a descriptor, too, so the test sees only the refusal.
    pass(Duration::from_secs(2));
    assert!(connected_to(world.server.port, machine.processes()).is_empty());
    assert!(login.running());
    limit("1024");
    world.admin.approve(&id);
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}

#[test]
fn inherited_umask_directory_and_limits_have_no_effect() {
    let world = World::new();
    let machine = with_su(world.machine());
    for before in ["umask 000", "umask 777", "mkdir /tmp/gone; cd /tmp/gone; rmdir /tmp/gone", "ulimit -f 0"]
    {
        let login = su(&machine, before);
        let id = world.admin.pending();
        world.admin.approve(&id);
        let finished = login.wait();
        assert!(finished.stdout.ends_with("bob\n"), "{before}: {finished:?}");
        world.admin.assert_story(&id, &LET_IN);
    }
    machine.assert_nothing_left();
}

#[test]
fn only_root_can_read_the_spool_whatever_the_umask() {
    let world = World::new();
    let machine = with_su(world.machine());
    machine.set("on_unreachable", "\"allow\"");
    world.server.stop();
    for before in ["umask 000", "umask 777"] {
        assert_eq!(su(&machine, before).wait().stdout, "bob\n");
    }
    let spool = machine.path("/var/lib/kbmfa-host/spool");
    let kept: Vec<_> = fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 2);
    for path in kept.iter().chain([&spool]) {
        let found = fs::metadata(path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o077), (0, 0), "{}", path.display());
    }
    world.server.start();
    let login = su(&machine, "");
    world.admin.approve(&world.admin.pending());
    assert!(login.wait().stdout.ends_with("bob\n"));
    assert_eq!(world.admin.count(["login.let-in-unreachable"]), [2]);
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
}

#[test]
fn a_process_that_may_write_no_files_dies_or_leaves_an_alert() {
    let world = World::new();
    let machine = with_su(world.machine());
    machine.set("on_unreachable", "\"allow\"");
    world.server.stop();
    let killed = su(&machine, "ulimit -f 0").wait();
    assert_eq!((killed.stdout.as_str(), killed.code), ("", 255), "{}", killed.stderr);
    let deaf = su(&machine, "trap '' XFSZ; ulimit -f 0").wait();
    assert_eq!(deaf.stdout, "bob\n", "{}", deaf.stderr);
    let alarms = machine.syslog.lines_with("LET IN WITHOUT APPROVAL");
    assert_eq!((alarms.len(), alarms[0].severity), (1, severity::ALERT));
    machine.syslog.lines_with("a report is lost (no server can be reached)");
    machine.assert_nothing_left();
}
