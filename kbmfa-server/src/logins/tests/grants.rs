//! Logins of employees where a grant is required.

use kbmfa_proto::account::LocalCaller;

use super::*;
use crate::deliveries::{Place, store as deliveries};
use crate::usecases::grants::{self, Terms as GrantTerms};
use crate::usecases::pools;

/// A world that requires grants, with alice as an employee and web1 in the pool web.
fn world() -> World {
    let mut world = World::new();
    world.rules.policy.require_grant = RequireGrant::Everywhere;
    employ(&world, "alice");
    let fill = |tx: &Tx<'_>| {
        pools::put_all(tx, &Actor::new("console:root"), &"web".parse().unwrap(), &["web1".parse().unwrap()])
    };
    world.fixture.db.write_blocking("test", fill).unwrap();
    world
}

/// Grants web to alice, for so many seconds.
fn grant(world: &World, seconds: Option<u64>) {
    let uids = world.rules.uids;
    let add = move |tx: &Tx<'_>| {
        let (email, pool) = ("alice@example.com".parse().unwrap(), "web".parse().unwrap());
        let ends_at = seconds.map(|seconds| tx.now + Duration::from_secs(seconds));
        let terms = GrantTerms { sudo: None, ends_at };
        grants::add(tx, uids, &Actor::new("console:root"), (&email, &pool), &terms)
    };
    world.fixture.db.write_blocking("test", add).unwrap();
}

fn remove(world: &World) -> usize {
    let rules = world.rules.clone();
    let remove = move |tx: &Tx<'_>| {
        let (email, pool) = ("alice@example.com".parse().unwrap(), "web".parse().unwrap());
        grants::remove(tx, &rules, &Actor::new("console:root"), (&email, &pool))
    };
    world.fixture.db.write_blocking("test", remove).unwrap()
}

#[test]
fn an_employee_without_a_live_grant_is_refused_and_a_grant_lets_them_ask() {
    let world = world();
    check(&world.open(1, alice(1)).unwrap(), WireState::Denied, Some("no-grant"));
    grant(&world, Some(60));
    check(&world.open(2, alice(2)).unwrap(), WireState::Pending, None);
    world.pass(60);
    check(&world.open(3, alice(3)).unwrap(), WireState::Denied, Some("no-grant"));
}

#[test]
fn no_spelling_and_no_su_gets_around_a_missing_grant() {
    let world = world();
    let name = |text: &str| text.parse().unwrap();
    let old = OpenLogin { user: name("EXAMPLE\\Alice"), uid: None, ..alice(1) };
    let second_name = OpenLogin { user: name("deploy"), uid_user: Some(name("alice")), ..alice(2) };
    let caller = LocalCaller { uid: 1001, user: Some(name("alice")), ..LocalCaller::default() };
    let su = OpenLogin { user: name("root"), service: "su".into(), caller: Some(caller), ..alice(3) };
    for (id, opened) in [(1, old), (2, second_name), (3, su)] {
        check(&world.open(id, opened).unwrap(), WireState::Denied, Some("no-grant"));
    }
    let nobodys = OpenLogin { user: name("deploy"), ..alice(4) };
    check(&world.open(4, nobodys).unwrap(), WireState::Pending, None);
}

#[test]
fn a_removed_grant_ends_what_waits_and_what_was_approved_and_not_collected() {
    let world = world();
    grant(&world, None);
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(2)).unwrap();
    assert!(matches!(world.answer(2, "console:root", Answer::Approve), Answered::Decided(_)));
    assert_eq!(remove(&world), 2);
    for id in [1, 2] {
        check(&world.poll(id, 0), WireState::Denied, Some("no-grant"));
    }
}

#[test]
fn a_grant_that_ends_meanwhile_makes_an_answer_and_an_approval_count_for_nothing() {
    let world = world();
    grant(&world, Some(5));
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(2)).unwrap();
    assert!(matches!(world.answer(2, "console:root", Answer::Approve), Answered::Decided(_)));
    world.pass(5);
    assert!(matches!(world.answer(1, "console:root", Answer::Approve), Answered::DidNotCount(_)));
    check(&world.poll(2, 0), WireState::Denied, Some("no-grant"));
}

#[test]
fn without_require_grant_nobody_needs_one() {
    let mut world = world();
    world.rules.policy.require_grant = RequireGrant::Nowhere;
    check(&world.open(1, alice(1)).unwrap(), WireState::Pending, None);
    assert_eq!(remove_nothing(&world), 0);
}

#[test]
fn where_keys_are_delivered_an_employee_needs_a_grant_unless_the_operator_says_otherwise() {
    let mut world = world();
    world.rules.policy.require_grant = RequireGrant::default();
    check(&world.open(1, alice(1)).unwrap(), WireState::Pending, None);
    let machine_id = world.caller.machine_id.clone();
    let deliver = move |tx: &Tx<'_>| deliveries::insert(tx, &machine_id, Place::System, false);
    world.fixture.db.write_blocking("test", deliver).unwrap();
    check(&world.open(2, alice(2)).unwrap(), WireState::Denied, Some("no-grant"));
    world.rules.policy.require_grant = RequireGrant::Nowhere;
    check(&world.open(3, alice(3)).unwrap(), WireState::Pending, None);
}

/// What a removed grant ends where none is required.
fn remove_nothing(world: &World) -> usize {
    grant(world, None);
    remove(world)
}

#[test]
fn a_uid_that_a_machine_reports_is_never_given_out() {
    let world = World::new();
    let reported =
        |id: u8, uid: u32| world.open(id, OpenLogin { uid: Some(uid), ..alice(id.into()) }).unwrap();
    reported(1, 20_007);
    reported(2, 20_003);
    reported(3, 70_000);
    employ(&world, "bob");
    let entry = |tx: &Tx<'_>| employees::ledger::store::entry(tx, &"bob".parse().unwrap());
    assert_eq!(world.fixture.db.read_blocking(entry).unwrap().unwrap().uid, Some(20_008));
}

#[test]
fn a_uid_above_a_lower_range_neither_blocks_nor_hides_those_of_the_range() {
    let mut world = World::new();
    let reported = |world: &World, id: u8, uid: u32| {
        world.open(id, OpenLogin { uid: Some(uid), ..alice(id.into()) }).unwrap();
    };
    let next = |world: &World, range: &str| {
        let uids = range.parse().unwrap();
        world.fixture.db.read_blocking(|tx| employees::ledger::service::choose(tx, uids, None)).unwrap()
    };
    world.rules.uids = "20000-59999".parse().unwrap();
    reported(&world, 1, 30_000);
    reported(&world, 2, 50_000);
    assert_eq!(next(&world, "20000-59999"), 50_001);
    assert_eq!(next(&world, "20000-39999"), 30_001);
    world.rules.uids = "20000-39999".parse().unwrap();
    reported(&world, 3, 30_005);
    assert_eq!(next(&world, "20000-39999"), 30_006);
    assert_eq!(next(&world, "20000-29999"), 20_000);
}

#[test]
fn a_uid_that_only_a_claimed_name_reports_does_not_count() {
    let world = World::new();
    let claimed = Caller { name: "claimed:web1".parse().unwrap(), ..world.caller.clone() };
    for (caller, expected) in [(&claimed, None), (&world.caller, Some(20_500))] {
        assert_eq!(world.rules.uid_of_ledger(caller, Some(20_500)), expected, "{}", caller.name);
    }
    assert_eq!(world.rules.uid_of_ledger(&world.caller, Some(70_000)), None, "it is not of the range");
}
