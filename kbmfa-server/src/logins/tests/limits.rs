//! How much is too much.

use super::*;

#[test]
fn too_many_that_wait_are_refused_per_user_and_address_and_per_machine() {
    let world = World::new();
    for id in 1..=3 {
        check(&world.open(id, alice(id.into())).unwrap(), WireState::Pending, None);
    }
    check(&world.open(4, alice(4)).unwrap(), WireState::Denied, Some("too-many-pending"));
    let elsewhere = |n: u16| {
        let ssh =
            SshConnection { client: ([198, 51, 100, 1], n).into(), server: ([192, 0, 2, 1], 22).into() };
        let connection = Connection { id: format!("boot.{n}").into(), ssh: Some(ssh) };
        OpenLogin { connection, ..alice(n) }
    };
    check(&world.open(5, elsewhere(5)).unwrap(), WireState::Pending, None);
    check(&world.open(6, elsewhere(6)).unwrap(), WireState::Pending, None);
    check(&world.open(7, elsewhere(7)).unwrap(), WireState::Denied, Some("too-many-pending"));
}

#[test]
fn after_a_denial_the_same_is_refused_for_a_while_without_asking() {
    let mut world = World::new();
    world.rules.cool_down = Duration::from_secs(30);
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(2)).unwrap();
    world.answer(1, "console:root", Answer::Deny);
    check(&world.open(3, alice(3)).unwrap(), WireState::Denied, Some("denied-recently"));
    assert!(
        decided(&world.answer(2, "console:root", Answer::Approve)),
        "what was asked already may be answered"
    );
    world.pass(30);
    check(&world.open(4, alice(4)).unwrap(), WireState::Pending, None);
}

#[test]
fn too_many_asks_in_a_minute_are_refused_and_people_are_told_once() {
    let mut world = World::new();
    (world.rules.policy.limits.asks_per_user, world.rules.policy.limits.pending_per_user) = (2, 99);
    let notices = |world: &World| {
        let all = world.fixture.db.read_blocking(|tx| store::notices::after(tx, Time::from_micros(0)));
        all.unwrap().len()
    };
    for id in 1..=2 {
        check(&world.open(id, alice(id.into())).unwrap(), WireState::Pending, None);
    }
    for id in 3..=9 {
        check(&world.open(id, alice(id.into())).unwrap(), WireState::Denied, Some("too-many-asks"));
    }
    assert_eq!(notices(&world), 1);
    assert_eq!(world.story(3), ["login.denied", "limit.reached"]);
    assert_eq!(world.story(4), ["login.denied"]);
    world.pass(61);
    check(&world.open(10, alice(10)).unwrap(), WireState::Pending, None);
}

#[test]
fn what_was_asked_and_denied_while_the_clock_was_ahead_holds_nobody_up_when_it_is_right_again() {
    let mut world = World::new();
    world.rules.policy.limits.asks_per_user = 1;
    world.rules.cool_down = Duration::from_secs(30);
    let an_hour = Duration::from_secs(3_600);
    world.fixture.clock.advance(an_hour);
    world.open(1, alice(1)).unwrap();
    world.answer(1, "console:root", Answer::Deny);
    world.fixture.clock.set_back(an_hour);
    check(&world.open(2, alice(2)).unwrap(), WireState::Pending, None);
    check(&world.open(3, alice(3)).unwrap(), WireState::Denied, Some("too-many-asks"));
}
