//! The client's service may answer from its own store, without saying so, after it has lost Keybase's server.
//! An approval counts only if Keybase's server has confirmed it since the server began to look for it.

use kbmfa_tests::chat::{ChatWorld, ROOM};
use kbmfa_tests::wait::until;
use keybase_double::FaultKind;

use super::{Asked, SHORT_WINDOW, let_in, verdict};

/// A login that bob has approved, but only in the service's store.
fn approved_unheard<'a>(world: &'a ChatWorld, machine: &kbmfa_tests::machine::Machine) -> Asked<'a> {
    let asked = Asked::new(world, machine);
    world.chat.fault_times(FaultKind::ListenerDrop, Some("reaction"), 1).unwrap();
    asked.answer("bob", "Approve");
    world.chat.fault(FaultKind::StoreStale).unwrap();
    asked
}

/// Waits until the server has asked Keybase's server to confirm the answers on this ask.
fn until_confirmed(world: &ChatWorld, message: u64) {
    until("an approval to be confirmed", || {
        let messages = world.chat.messages(ROOM).unwrap();
        messages.iter().any(|found| found.id == message && found.edits > 0).then_some(())
    });
}

#[test]
fn an_approval_that_was_removed_without_an_event_does_not_count() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = approved_unheard(&world, &machine);
    world.chat.unreact("bob", ROOM, asked.message, "Approve").unwrap();
    until_confirmed(&world, asked.message);
    world.chat.clear_faults().unwrap();
    asked.answer("carol", "Approve");
    world.chat.message("`carol`: this approve does not count now");
    asked.assert_waits();
    asked.answer("dave", "Approve");
    let id = asked.id.clone();
    assert!(let_in(&asked.login.wait()));
    assert_eq!(world.admin.login(&id)["decided_by"], "keybase:dave");
    machine.assert_nothing_left();
}

#[test]
fn a_denial_that_the_service_has_not_heard_of_outweighs_an_approval_that_it_has() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = approved_unheard(&world, &machine);
    asked.answer("dave", "Deny");
    assert_eq!(asked.login.wait().code, 255);
    assert_eq!(world.admin.login(&asked.id)["decided_by"], "keybase:dave");
    machine.assert_nothing_left();
}

#[test]
fn an_approval_that_the_service_has_and_keybase_confirms_counts() {
    let world = ChatWorld::new();
    let machine = world.machine().start();
    let asked = approved_unheard(&world, &machine);
    assert!(let_in(&asked.login.wait()));
    machine.assert_nothing_left();
}

#[test]
fn an_approval_that_cannot_be_confirmed_lets_nobody_in() {
    for method in ["edit", "read"] {
        let world = ChatWorld::with(&SHORT_WINDOW, "");
        let machine = world.machine().start();
        let asked = Asked::new(&world, &machine);
        world.chat.fault_always(FaultKind::UnknownError, method).unwrap();
        asked.answer("bob", "Approve");
        assert_eq!(asked.login.wait().code, 255, "{method}");
        assert_eq!(world.admin.login(&asked.id)["reason"], "no-answer", "{method}");
        world.chat.clear_faults().unwrap();
        verdict(&world, "expired");
        machine.assert_nothing_left();
    }
}
