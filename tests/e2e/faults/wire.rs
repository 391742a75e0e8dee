//! Faults on the network path to the server, and servers that answer what they should not.

use kbmfa_tests::impostor::{Act, Babbler, right};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::world::World;
use std::time::Duration;

use super::Refusal;
use crate::faults::{DOES_NOT_WORK, NOT_IN_TIME};

mod answers;
mod network;
mod tls;
mod waiting;

/// What the person reads when no server gave a connection.
const CANNOT_BE_REACHED: &str = "the approval server cannot be reached.";

/// Nothing to wait for.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The longest that one address may take.
const ONE_ADDRESS: Duration = Duration::from_secs(5);
/// If a server answers, opening is tried twice; then the login is cancelled once, within two seconds.
const TWICE: Duration = Duration::from_secs(12);

/// A world whose server is down, and a machine that would let everybody in if only it could not be reached.
fn without_server() -> (World, Machine) {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    world.server.stop();
    (world, machine)
}

/// A login is refused because the server does not work, and the real server has no request of it.
fn is_refused(world: &World, machine: &Machine, log: &str, within: Duration) {
    Refusal { prompt: DOES_NOT_WORK, log, within }.meets(machine);
    assert!(world.admin.logins(&[]).is_empty());
    world.admin.audit_verify();
}

/// A login is refused at a server with the right certificate that follows this script. Returns its number of
/// requests.
fn part_is_refused(acts: &[Act], log: &str, within: Duration) -> usize {
    let (world, machine) = without_server();
    let babbler = Babbler::playing(&world, Some(right(&world)), acts);
    is_refused(&world, &machine, log, within);
    assert!(babbler.heard() > 0, "the module did not ask");
    babbler.heard()
}
