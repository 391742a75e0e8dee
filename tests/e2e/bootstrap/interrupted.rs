//! Runs that are killed.

use kbmfa_tests::built;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::program;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::{DROP_IN, INCLUDE, delivers, fresh, from_key};

/// Starts the verb, and kills it when it has reported a step in which `is_last` finds what it looks for, or lets it end. True
/// if it was killed.
fn killed(world: &World, machine: &Machine, undo_after: &str, mut is_last: impl FnMut(&str) -> bool) -> bool {
    let mut command = program(built::server());
    command
        .args(from_key(machine, &["--yes", "--undo-after", undo_after]))
        .arg("--config")
        .arg(&world.server.config);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).any(|line| is_last(&line));
    if found {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(found || status.success(), "{status}");
    found
}

/// What must hold whenever a run was cut: sshd's files are sound, and root gets in.
fn is_sound(machine: &Machine) {
    machine.exec(&["/usr/sbin/sshd", "-t"]);
    machine.exec(&["visudo", "-cq"]);
    let finished = machine.ssh("root", &["id", "-un"]).wait();
    assert_eq!(finished.stdout, "root\n", "{}", finished.stderr);
}

#[test]
fn a_run_that_is_killed_at_any_step_goes_on_where_it_stopped() {
    let world = World::new();
    let machine = fresh("fresh", INCLUDE);
    let mut runs = 0;
    loop {
        runs += 1;
        let mut steps = 0;
        let was_killed = killed(&world, &machine, "600", |_| {
            steps += 1;
            steps == runs
        });
        is_sound(&machine);
        if !was_killed {
            break;
        }
    }
    assert!(runs > 4, "{runs} runs");
    assert!(!machine.path("/etc/ssh/kbmfa/undo").exists());
    delivers(&world, &machine);
}

#[test]
fn the_machine_puts_sshd_back_by_itself_if_the_command_is_killed() {
    let world = World::new();
    let machine = fresh("fresh", "");
    let config = machine.exec(&["cat", "/etc/ssh/sshd_config"]);
    assert!(killed(&world, &machine, "5", |line| line.contains("first line of /etc/ssh/sshd_config")));
    until("the machine to put sshd back", || {
        let is_back = machine.exec(&["cat", "/etc/ssh/sshd_config"]) == config;
        (is_back && !machine.path(DROP_IN).exists() && !machine.path("/etc/ssh/kbmfa/undoing").exists())
            .then_some(())
    });
    is_sound(&machine);
    assert!(!killed(&world, &machine, "60", |_| false));
    delivers(&world, &machine);
}
