//! One of two servers hangs: it accepts connections and does nothing.

use kbmfa_tests::server::Server;
use kbmfa_tests::wait::{timed, until};
use kbmfa_tests::world::World;
use std::time::Duration;

use super::{gets_in, is_let_in};
use crate::faults::{Refusal, SSHD};
use crate::two_servers::beds;

/// Time that a machine gives one address to open a login.
const ADDRESS: Duration = Duration::from_secs(5);
/// Time for which a server that hangs keeps others from posting asks.
const LEASE: Duration = Duration::from_secs(10);
/// Time that a machine gives one address for a poll that may be held.
const POLL: Duration = Duration::from_secs(30);

/// Makes a server hang while it holds no lock on the database, because the other server could not wait that
/// long.
pub(super) fn hang(world: &World, server: &Server) {
    until("the server to hang at rest", || {
        server.hang();
        let is_free = world.admin.try_run(&["pool", "add", "probe"]).is_ok();
        if !is_free {
            server.go_on();
        }
        is_free.then_some(())
    });
}

#[test]
fn when_a_login_is_opened_the_other_is_asked_and_carries_the_ask_in_time() {
    let (world, second, machine) = beds();
    // The first server is stopped, so that the second one gets the lease and posts asks.
    world.server.stop();
    gets_in(&world, &machine);
    world.server.start();
    hang(&world, &second);
    let login = machine.ssh("alice", &["echo", "in"]);
    let (id, took) = timed(|| world.admin.pending());
    assert!(took >= ADDRESS, "it took {took:?}: the other one was asked first");
    assert!(took <= LEASE + SSHD, "it took {took:?}");
    is_let_in(&world, login, &id);
    machine.assert_nothing_left();
}

/// These times do not nest: the machine waits for the poll longer than the server waits for the machine.
#[test]
fn while_a_login_waits_at_it_the_poll_outlasts_an_approval_which_is_worth_nothing_then() {
    let (world, second, machine) = beds();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    hang(&world, &second);
    world.admin.approve(&id);
    let prompt = "was approved, but this machine collected the approval too late.";
    Refusal { prompt, log: "expired (lapsed)", within: POLL }.meets_login(&machine, || login);
    let lapsed = ["login.opened", "ask.posted", "answer.given", "login.approved", "login.lapsed"];
    world.admin.assert_story(&id, &lapsed);
}
