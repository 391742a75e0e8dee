//! Whose answer counts, and how policy judges a login when an answer comes.

use super::*;

#[test]
fn only_approvers_count_and_the_others_are_on_record() {
    let mut world = World::new();
    world.rules.policy.default.approvers = "console:alice".parse().unwrap();
    world.open(1, alice(1)).unwrap();
    assert!(!decided(&world.answer(1, "console:mallory", Answer::Approve)));
    check(&world.poll(1, 0), WireState::Pending, None);
    assert!(decided(&world.answer(1, "console:alice", Answer::Approve)));
    assert_eq!(world.story(1), ["ask.posted", "answer.rejected", "answer.given", "login.approved"]);
}

#[test]
fn policy_is_judged_again_when_the_answer_comes() {
    let mut world = World::new();
    world.open(1, alice(1)).unwrap();
    world.rules.policy.default.approvers = "console:alice".parse().unwrap();
    assert!(!decided(&world.answer(1, "console:root", Answer::Approve)));
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(1)).unwrap();
    world.answer(2, "console:root", Answer::Deny);
    assert!(
        !decided(&world.answer(1, "console:root", Answer::Approve)),
        "its connection was denied meanwhile"
    );
}

#[test]
fn a_suspension_ends_what_waits_and_what_was_approved_and_refuses_what_comes() {
    let world = World::new();
    employ(&world, "alice");
    for id in 1..=3 {
        world.open(id, alice(id.into())).unwrap();
    }
    world.answer(2, "console:root", Answer::Approve);
    world.answer(3, "console:root", Answer::Approve);
    check(&world.poll(3, 0), WireState::Approved, None);
    set_alice(&world, employees::State::Suspended);
    check(&world.poll(1, 0), WireState::Denied, Some("suspended"));
    check(&world.poll(2, 0), WireState::Denied, Some("suspended"));
    check(&world.poll(3, 0), WireState::Denied, Some("suspended"));
    check(&world.open(4, alice(4)).unwrap(), WireState::Denied, Some("suspended"));
    let session = OpenLogin { phase: Phase::Session, ..alice(3) };
    check(&world.open(5, session).unwrap(), WireState::Denied, Some("suspended"));
    set_alice(&world, employees::State::Active);
    check(&world.open(6, alice(6)).unwrap(), WireState::Pending, None);
    set_alice(&world, employees::State::Removed);
    check(&world.poll(6, 0), WireState::Denied, Some("removed"));
    check(&world.open(7, alice(7)).unwrap(), WireState::Denied, Some("removed"));
}

#[test]
fn nobody_may_approve_their_own_login_under_not_self() {
    let mut world = World::new();
    world.rules.policy.default.approvers = Approvers::NotSelf;
    check(&world.open(1, alice(1)).unwrap(), WireState::Denied, Some("unknown-person"));
    employ(&world, "alice");
    world.open(2, alice(2)).unwrap();
    assert!(!decided(&world.answer(2, "console:alice", Answer::Approve)));
    assert!(decided(&world.answer(2, "console:bob", Answer::Approve)));
}

#[test]
fn what_a_backup_brings_back_unfinished_ends_and_nobody_is_let_in_by_it() {
    let world = World::new();
    for id in 1..=3 {
        world.open(id, alice(id.into())).unwrap();
    }
    world.answer(2, "console:root", Answer::Approve);
    world.answer(3, "console:root", Answer::Approve);
    check(&world.poll(3, 0), WireState::Approved, None);
    world.act(|tx, rules, _| ending::revoke_all_restored(tx, rules, &Actor::new("console:root"))).unwrap();
    check(&world.poll(1, 0), WireState::Denied, Some("restored"));
    check(&world.poll(2, 0), WireState::Expired, Some("lapsed"));
    assert_eq!(world.story(1), ["ask.posted", "login.denied"]);
    assert_eq!(world.story(2).last().map(String::as_str), Some("login.lapsed"));
    check(&world.open(4, alice(4)).unwrap(), WireState::Pending, None);
}
