//! The worker that carries asks goes on, whatever state a login and its ask are in when it comes to them, in passing or
//! after a restart: each story ends with a later login that is asked about and let in.

use kbmfa_tests::chat::ChatWorld;
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::{PATIENCE, until};
use keybase_double::FaultKind;

use super::{Asked, verdict};

/// One login's ask is being sent while another login is opened and given up: it has ended, and has no message.
fn give_up_before_it_was_asked(world: &ChatWorld, machine: &Machine) -> String {
    world.chat.fault_times(FaultKind::ReplyHeld, Some("send"), 1).unwrap();
    let of = |user: &str| {
        let is_theirs = |(id, of): (String, String)| (of == user).then_some(id);
        until("a login", || world.admin.logins(&[]).into_iter().find_map(is_theirs))
    };
    let give_up = |user: &str, login: Login| {
        let id = of(user);
        login.kill();
        world.admin.wait_for_state(&id, "cancelled");
        id
    };
    let first = machine.ssh("alice", &["echo", "in"]);
    world.chat.wait_held(PATIENCE).unwrap();
    let second = machine.ssh("bob", &["echo", "in"]);
    let id = give_up("bob", second);
    give_up("alice", first);
    id
}

#[test]
fn a_login_given_up_before_its_ask_was_sent_does_not_stop_the_worker() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let id = give_up_before_it_was_asked(&world, &machine);
    world.chat.release().unwrap();
    verdict(&world, "cancelled");
    Asked::new(&world, &machine).approve();
    assert!(!world.chat.seen().contains(&id[..8]), "bob's login was never asked about");
    machine.assert_nothing_left();
}

#[test]
fn a_login_given_up_before_its_ask_was_sent_does_not_stop_the_worker_of_the_next_server() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    give_up_before_it_was_asked(&world, &machine);
    world.server.kill();
    world.chat.release().unwrap();
    world.server.start();
    verdict(&world, "cancelled");
    Asked::new(&world, &machine).approve();
    machine.assert_nothing_left();
}
