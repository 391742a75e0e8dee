//! Faults of the server, its database, its disk and its clock.

use kbmfa_tests::machine::Machine;
use kbmfa_tests::world::World;

use crate::story::LET_IN;

mod clock;
mod database;
mod hung;
mod killed;

/// A login goes well from its beginning to its end.
fn gets_in(world: &World, machine: &Machine) {
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    world.admin.assert_story(&id, &LET_IN);
    machine.assert_nothing_left();
}
