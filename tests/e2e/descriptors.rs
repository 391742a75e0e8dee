//! Descriptors that the module leaves in a process that continues: in sshd's monitor, which runs the account
//! phase, while the session is open.

use kbmfa_tests::recipe::FREE;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use std::fs;

/// What the descriptors of a process lead to.
fn descriptors(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return vec![] };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

#[test]
fn nothing_of_the_module_stays_in_the_monitor_of_an_open_session() {
    let world = World::new();
    let machine = world.machine().start();
    // The same machine without the module's line, for comparison.
    let bare = world.machine().pam_stack(FREE).start();
    let hold = "echo open; cat /tmp/hold";
    for either in [&machine, &bare] {
        either.exec(&["mkfifo", "--mode", "666", "/tmp/hold"]);
    }
    let holding = machine.ssh("alice", &[hold]);
    world.admin.approve(&world.admin.pending());
    let comparison = bare.ssh("alice", &[hold]);
    until("both sessions", || {
        (holding.stdout() == "open\n" && comparison.stdout() == "open\n").then_some(())
    });
    let sockets = |machine: &kbmfa_tests::machine::Machine| {
        let processes = machine.processes().into_iter();
        let mut counts: Vec<_> = processes.map(|pid| (descriptors(pid).len(), threads(pid))).collect();
        counts.sort_unstable();
        counts
    };
    assert_eq!(sockets(&machine), sockets(&bare), "descriptors and threads of each process");
    for pid in machine.processes() {
        let ours: Vec<_> = descriptors(pid).into_iter().filter(|link| link.contains("/etc/kbmfa")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
    for (either, login) in [(&machine, holding), (&bare, comparison)] {
        either.exec(&["sh", "-c", "echo > /tmp/hold"]);
        assert_eq!(login.wait().code, 0);
    }
    machine.assert_nothing_left();
}
