//! Faults of the server, its database, its disk and its clock.

use kbmfa_tests::between::{Between, Order, Stage};
use kbmfa_tests::lock::Lock;
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

/// Approves a login that waits, which must be let in at once.
fn is_let_in(world: &World, login: Login, id: &str) {
    world.admin.approve(id);
    let (finished, took) = timed(|| login.wait());
    assert_eq!(finished.transcript(), "in\nexit 0\n");
    assert!(took <= SSHD, "it took {took:?}");
    world.admin.assert_story(id, &LET_IN);
}

/// Checks that a login succeeds from its beginning to its end.
fn gets_in(world: &World, machine: &Machine) {
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    is_let_in(world, login, &id);
    machine.assert_nothing_left();
}

/// Stops the opening of a login at this stage. `before` prepares the server; `meanwhile` does something to it
/// and says how the opening continues. Afterwards there must be one login, asked about once, and let in.
fn is_opened_once<T>(
    stage: Stage,
    before: impl FnOnce(&World) -> T,
    meanwhile: impl FnOnce(&World, T) -> Order,
) {
    let world = World::new();
    let machine = world.machine().start();
    let between = Between::stopping(&world, &machine, "PUT", stage);
    let prepared = before(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    between.reached();
    between.order(meanwhile(&world, prepared));
    is_let_in(&world, login, &world.admin.pending());
    assert_eq!(world.admin.logins(&[]).len(), 1);
    drop(between);
    machine.assert_nothing_left();
}

/// Locks the database, so that the server cannot commit.
fn lock(world: &World) -> Lock {
    Lock::on(&world.server.state_dir)
}
