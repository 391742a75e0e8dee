//! Faults on the network path to the server, and servers that send wrong answers.

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

/// The text that the person reads if no server accepted a connection.
const CANNOT_BE_REACHED: &str = "the approval server cannot be reached.";

/// Longest time of a login that has nothing to wait for.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Longest time for one address.
const ONE_ADDRESS: Duration = Duration::from_secs(5);
/// Time of a login at a server that answers: two attempts to open it, and within two seconds one to cancel
/// it.
const TWICE: Duration = Duration::from_secs(12);

/// A world whose server is down, and a machine that lets everybody in if the server cannot be reached.
fn without_server() -> (World, Machine) {
    let world = World::new();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    world.server.stop();
    (world, machine)
}

/// Checks that a login is refused because the server does not work, and that the real server gets no request.
fn is_refused(world: &World, machine: &Machine, log: &str, within: Duration) {
    Refusal { prompt: DOES_NOT_WORK, log, within }.meets(machine);
    assert!(world.admin.logins(&[]).is_empty());
    world.admin.audit_verify();
}

/// Checks that a login is refused at a server with the right certificate that follows this script. Returns
/// the number of its requests.
fn part_is_refused(acts: &[Act], log: &str, within: Duration) -> usize {
    let (world, machine) = without_server();
    let babbler = Babbler::playing(&world, Some(right(&world)), acts);
    is_refused(&world, &machine, log, within);
    assert!(babbler.heard() > 0, "the module did not ask");
    babbler.heard()
}
