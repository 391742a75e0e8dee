//! The effect of a suspension on a connection that is already open (`ControlMaster`), and how an operator
//! ends the connection.

use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;

use crate::sessions::{heard, sessions_of};

const STAY: &str = "until [ -e /tmp/over ]; do sleep 0.1; done";

/// An open connection of alice that was approved and is reported. Other sessions can use it.
fn master(world: &World, machine: &Machine) -> Login {
    let path = control(machine);
    let master = machine.ssh_with("alice", &["-o", "ControlMaster=yes", "-o", &path], &[STAY]);
    world.admin.approve(&world.admin.pending());
    let socket = machine.local_file("control");
    until("the control socket", || socket.exists().then_some(()));
    heard(world, machine, "the session", || sessions_of(world, "alice").pop());
    master
}

fn control(machine: &Machine) -> String {
    format!("ControlPath={}", machine.local_file("control").display())
}

fn over_the_master(machine: &Machine) -> Login {
    machine.ssh_with("alice", &["-o", "ControlMaster=no", "-o", &control(machine)], &["echo", "in"])
}

fn suspend_alice(world: &World) {
    world.admin.run(&["employee", "add", "alice@example.com", "--name", "Alice", "--unix-name", "alice"]);
    world.admin.run(&["employee", "suspend", "alice@example.com"]);
}

/// sshd opens one PAM session for each connection, however many channels that has. So no module is called for
/// another channel.
#[test]
fn a_suspension_ends_no_open_connection_and_a_new_channel_on_it_asks_nobody() {
    let world = World::new();
    let machine = world.machine().reporting().start();
    let master = master(&world, &machine);
    suspend_alice(&world);
    assert_eq!(over_the_master(&machine).wait().stdout, "in\n");
    assert_ne!(machine.ssh("alice", &["echo", "in"]).wait().code, 0, "a new connection is refused");
    // The list of open sessions shows the connection, and killing her processes ends it.
    assert_eq!(sessions_of(&world, "alice")[0]["open"], true);
    machine.exec(&["pkill", "-KILL", "-u", "alice"]);
    assert_ne!(master.wait().code, 0);
    assert_ne!(over_the_master(&machine).wait().code, 0);
    machine.assert_nothing_left();
}

#[test]
fn with_max_sessions_1_a_suspended_person_gets_no_new_channel() {
    let world = World::new();
    let machine = world.machine().reporting().sshd_lines("MaxSessions 1").start();
    let master = master(&world, &machine);
    suspend_alice(&world);
    let finished = over_the_master(&machine).wait();
    assert!(finished.code != 0 && finished.stdout.is_empty(), "{finished:?}");
    machine.exec(&["touch", "/tmp/over"]);
    master.wait();
    machine.assert_nothing_left();
}
