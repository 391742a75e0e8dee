//! The outbox worker continues from any state of a login and its ask, while it runs and after a restart. Each
//! test ends with another login that is asked about and let in.

use kbmfa_tests::chat::{ChatWorld, ROOM};
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::{PATIENCE, until};
use keybase_double::FaultKind;
use std::time::Duration;

use super::{Asked, verdict};

/// While one login's ask is being sent, another login is opened and cancelled: it has ended, and has no
/// message.
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

/// The state of the relay when the next server starts.
#[derive(Clone, Copy, Debug)]
enum Relay {
    Up,
    Down,
    Slow,
}

/// Brings a login and its ask into a state. Returns the logins that still wait.
type Leave = fn(&ChatWorld, &Machine) -> Vec<Login>;

/// The states that a killed server can leave behind.
const STATES: [(&str, Leave); 9] = [
    ("wanted", |world, machine| {
        let first = held_up(world, machine, FaultKind::ReplyHeld, "send");
        let second = machine.ssh("bob", &["echo", "in"]);
        until("a second login", || (world.admin.logins(&["--state", "pending"]).len() == 2).then_some(()));
        vec![first, second]
    }),
    ("ended without a message", |world, machine| {
        give_up_before_it_was_asked(world, machine);
        vec![]
    }),
    ("being posted", |world, machine| vec![held_up(world, machine, FaultKind::RequestSlow, "send")]),
    ("posted and not recorded", |world, machine| vec![held_up(world, machine, FaultKind::ReplyHeld, "send")]),
    ("posted and not offered", |world, machine| {
        vec![held_up(world, machine, FaultKind::RequestHangs, "reaction")]
    }),
    ("offered half", |world, machine| vec![held_up(world, machine, FaultKind::ReplyHeld, "reaction")]),
    ("answered and not decided", |world, machine| {
        let asked = Asked::new(world, machine);
        world.chat.fault_times(FaultKind::ListenerDrop, Some("reaction"), 1).unwrap();
        asked.answer("bob", "Approve");
        vec![asked.login]
    }),
    ("verdict owed", |world, machine| {
        let asked = Asked::new(world, machine);
        world.chat.fault_always(FaultKind::RequestHangs, "edit").unwrap();
        asked.answer("bob", "Deny");
        assert_eq!(asked.login.wait().code, 255);
        vec![]
    }),
    ("deleted", |world, machine| {
        let asked = Asked::new(world, machine);
        world.chat.delete("alice", ROOM, asked.message).unwrap();
        vec![asked.login]
    }),
];

/// A login of alice whose first request of this kind is stopped by a fault.
fn held_up(world: &ChatWorld, machine: &Machine, kind: FaultKind, method: &str) -> Login {
    let before = world.chat.stats().unwrap().requests.get(method).copied().unwrap_or_default();
    world.chat.slow_times(kind, Some(method), 1, Duration::from_secs(3600)).unwrap();
    let login = machine.ssh("alice", &["echo", "in"]);
    world.chat.wait_requests(method, before + 1, PATIENCE).unwrap();
    if kind == FaultKind::ReplyHeld {
        world.chat.wait_held(PATIENCE).unwrap();
    }
    login
}

fn start(world: &ChatWorld, relay: Relay) {
    match relay {
        Relay::Up => world.server.start(),
        Relay::Down => {
            world.chat.fault(FaultKind::Offline).unwrap();
            world.server.start_until("HTTP/1.1 503");
            world.chat.clear_faults().unwrap();
            world.server.wait_for_status("/readyz", "HTTP/1.1 200");
        }
        Relay::Slow => {
            world.chat.slow(FaultKind::RequestSlow, None, Duration::from_millis(300)).unwrap();
            world.server.start();
        }
    }
}

fn every_state_is_harmless(relay: Relay) {
    let limits = [("cool_down", "\"0s\""), ("asks_per_user", "99"), ("pending_per_user", "99")];
    let world = ChatWorld::with(&limits.map(|(key, value)| ("login", key, value)), "");
    let machine = world.machine().start();
    world.chat.message("Head of the audit log");
    for (state, leave) in STATES {
        let waiting = leave(&world, &machine);
        world.server.kill();
        world.chat.clear_faults().unwrap();
        start(&world, relay);
        waiting.iter().for_each(Login::kill);
        until(&format!("the logins of {state:?} to end"), || {
            world.admin.logins(&["--state", "pending"]).is_empty().then_some(())
        });
        Asked::new(&world, &machine).approve();
        until(&format!("every ask of {state:?} to be the verdict"), || {
            (!world.chat.seen().contains("wants to enter")).then_some(())
        });
        world.chat.clear_faults().unwrap();
    }
    machine.assert_nothing_left();
}

#[test]
fn whatever_a_killed_server_leaves_behind_the_next_one_goes_on_with_the_relay_up() {
    every_state_is_harmless(Relay::Up);
}

#[test]
fn whatever_a_killed_server_leaves_behind_the_next_one_goes_on_with_the_relay_down_at_first() {
    every_state_is_harmless(Relay::Down);
}

#[test]
fn whatever_a_killed_server_leaves_behind_the_next_one_goes_on_with_a_slow_relay() {
    every_state_is_harmless(Relay::Slow);
}
