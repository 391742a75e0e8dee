//! Two servers on one state directory. Machines may use either, there is never a second ask, and when one
//! server dies the other continues.

use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::server::Server;
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use std::time::Duration;

use crate::story::LET_IN;

/// Longest time for something immediate, on a slow and busy computer.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A world with a second server on its state, and a machine that knows both. It tries the second one first.
pub(crate) fn beds() -> (World, Server, Machine) {
    let world = World::new();
    let second = world.server.twin();
    second.start();
    let machine = world.machine().phase(Phase::Account).start();
    let url = |server: &Server| format!("\"https://127.0.0.1:{}\"", server.port);
    machine.set("servers", &format!("[{}, {}]", url(&second), url(&world.server)));
    (world, second, machine)
}

#[test]
fn an_answer_wakes_a_login_that_waits_at_either_server() {
    let (world, second, machine) = beds();
    for (stopped, other) in [(&second, &world.server), (&world.server, &second)] {
        stopped.stop();
        let login = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        stopped.start();
        world.admin.approve(&id);
        assert_eq!(login.wait().code, 0, "it waited at port {}", other.port);
        world.admin.assert_story(&id, &LET_IN);
    }
    machine.assert_nothing_left();
}

#[test]
fn a_login_moves_on_when_its_server_dies_and_is_asked_about_once() {
    let (world, second, machine) = beds();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    second.kill();
    world.admin.approve(&id);
    let (finished, took) = timed(|| login.wait());
    assert_eq!(finished.code, 0);
    assert!(took <= AT_ONCE, "it took {took:?}");
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}

#[test]
fn the_one_that_is_left_carries_the_asks() {
    let (world, second, machine) = beds();
    // Whichever server holds the lease, in one of the two rounds the killed process was the holder.
    for killed in [&world.server, &second] {
        killed.kill();
        let login = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        world.admin.approve(&id);
        assert_eq!(login.wait().code, 0);
        world.admin.assert_story(&id, &LET_IN);
        killed.start();
    }
    machine.assert_nothing_left();
}
