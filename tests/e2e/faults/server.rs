//! Faults of the server, its database, its disk and its clock.

use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;

use crate::faults::SSHD;
use crate::story::LET_IN;

mod clock;
mod database;
mod hung;
mod killed;
mod stopped;
mod stuck;

/// Somebody approves a login that waits, and it is let in at once.
fn is_let_in(world: &World, login: Login, id: &str) {
    world.admin.approve(id);
    let (finished, took) = timed(|| login.wait());
    assert_eq!(finished.transcript(), "in\nexit 0\n");
    assert!(took <= SSHD, "it took {took:?}");
    world.admin.assert_story(id, &LET_IN);
}

/// A login goes well from its beginning to its end.
fn gets_in(world: &World, machine: &Machine) {
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    is_let_in(world, login, &id);
    machine.assert_nothing_left();
}
