//! Machines and servers that go away, and the state of logins when they come back.

use super::*;

#[test]
fn a_machine_that_falls_silent_is_given_up_and_one_whose_poll_is_held_is_not() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(2)).unwrap();
    // Opening a login proves that the machine is alive for the longest poll that may follow, and the grace.
    world.pass(44);
    world.sweep();
    check(&world.poll(2, 25), WireState::Pending, None);
    world.pass(1);
    world.sweep();
    check(&world.poll(1, 0), WireState::Cancelled, Some("machine-gone"));
    check(&world.poll(2, 0), WireState::Pending, None);
}

#[test]
fn a_broken_poll_shortens_the_wait_but_not_that_of_a_newer_poll() {
    let world = World::new();
    let poll = |id| {
        let wait = Duration::from_secs(25);
        world.act(move |tx, rules, caller| service::poll(tx, rules, caller, &login_id(id), wait)).unwrap().0
    };
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(2)).unwrap();
    let (broken, overtaken) = (poll(1), poll(2));
    poll(2);
    for (id, number) in [(1, broken), (2, overtaken)] {
        world.act(move |tx, rules, _| ending::poll_broke(tx, rules, &login_id(id), number)).unwrap();
    }
    world.pass(15);
    world.sweep();
    check(&world.poll(1, 0), WireState::Cancelled, Some("machine-gone"));
    check(&world.poll(2, 0), WireState::Pending, None);
}

#[test]
fn an_answer_given_while_no_server_runs_counts_after_the_restart() {
    let mut world = World::new();
    world.open(1, alice(1)).unwrap();
    world.pass(30);
    world.rules.grace.listening_since = None;
    assert!(decided(&world.answer(1, "console:root", Answer::Approve)));
    world.pass(10);
    world.restart();
    world.sweep();
    check(&world.poll(1, 0), WireState::Approved, None);
}

#[test]
fn an_approval_that_nobody_collects_lapses_and_stays_lapsed() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    world.answer(1, "console:root", Answer::Approve);
    world.pass(15);
    world.sweep();
    check(&world.poll(1, 0), WireState::Expired, Some("lapsed"));
    assert_eq!(world.story(1), ["ask.posted", "answer.given", "login.approved", "login.lapsed"]);
}

#[test]
fn removing_a_machine_ends_what_it_waits_for() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(2)).unwrap();
    world.answer(2, "console:root", Answer::Approve);
    world
        .act(|tx, rules, caller| {
            ending::revoke_all_at(tx, rules, &caller.machine_id, &Actor::new("console:root"))
        })
        .unwrap();
    check(&world.poll(1, 0), WireState::Denied, Some("machine-removed"));
    check(&world.poll(2, 0), WireState::Expired, Some("lapsed"));
}
