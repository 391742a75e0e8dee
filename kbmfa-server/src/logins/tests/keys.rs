//! Logins whose key belongs to an employee.

use kbmfa_proto::key::PublicKey;

use super::*;
use crate::employees::State as EmployeeState;
use crate::keys::Reason;
use crate::usecases::keys::{self, New};

const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

/// A world in which alice and bob are employees, and alice has a key.
fn world() -> World {
    let world = World::new();
    employ(&world, "alice");
    employ(&world, "bob");
    let add = |tx: &Tx<'_>| keys::add(tx, &Actor::new("console:root"), &new("alice")).map(drop);
    world.fixture.db.write_blocking("test", add).unwrap();
    world
}

fn new(owner: &str) -> New {
    let email = format!("{owner}@example.com").parse().unwrap();
    New { email, key: PublicKey::parse(LINE).unwrap(), device: "laptop".into() }
}

fn add(world: &World, owner: &'static str) -> Result<(), String> {
    let add = move |tx: &Tx<'_>| keys::add(tx, &Actor::new("console:root"), &new(owner)).map(drop);
    world.fixture.db.write_blocking("test", add).map_err(|error| error.to_string())
}

fn revoke(world: &World, why: Reason) -> usize {
    let rules = world.rules.clone();
    let revoke = move |tx: &Tx<'_>| {
        let key = PublicKey::parse(LINE).unwrap();
        keys::revoke(tx, &rules, &Actor::new("console:root"), key.fingerprint(), why)
    };
    world.fixture.db.write_blocking("test", revoke).unwrap().refused
}

fn set_state(world: &World, state: EmployeeState) -> usize {
    let rules = world.rules.clone();
    let set = move |tx: &Tx<'_>| {
        employment::set_state(
            tx,
            &rules,
            &Actor::new("console:root"),
            &"alice@example.com".parse().unwrap(),
            state,
        )
    };
    world.fixture.db.write_blocking("test", set).unwrap().refused
}

/// A login to this account with alice's key.
fn with_key(connection: u16, account: &str) -> OpenLogin {
    let first_factor = FirstFactor::Publickey { key: LINE.into() };
    OpenLogin { user: account.parse().unwrap(), first_factor, ..alice(connection) }
}

#[test]
fn a_revoked_key_is_refused_at_once_for_every_account_and_another_way_in_is_not() {
    let world = world();
    check(&world.open(1, with_key(1, "alice")).unwrap(), WireState::Pending, None);
    check(&world.open(2, with_key(2, "deploy")).unwrap(), WireState::Pending, None);
    check(&world.open(3, alice(3)).unwrap(), WireState::Pending, None);
    assert_eq!(revoke(&world, Reason::Lost), 2);
    for id in [1, 2] {
        check(&world.poll(id, 0), WireState::Denied, Some("revoked-key"));
    }
    check(&world.open(4, with_key(4, "alice")).unwrap(), WireState::Denied, Some("revoked-key"));
    check(&world.poll(3, 0), WireState::Pending, None);
}

#[test]
fn an_approval_that_is_not_collected_does_not_survive_the_key() {
    let world = world();
    world.open(1, with_key(1, "alice")).unwrap();
    assert!(decided(&world.answer(1, "console:bob", Answer::Approve)));
    assert_eq!(revoke(&world, Reason::Retired), 1);
    check(&world.poll(1, 0), WireState::Denied, Some("revoked-key"));
}

#[test]
fn whoever_owns_the_key_may_not_approve_the_login_to_anothers_account() {
    let mut world = world();
    world.rules.policy.default.approvers = Approvers::NotSelf;
    check(&world.open(1, with_key(1, "bob")).unwrap(), WireState::Pending, None);
    assert!(!decided(&world.answer(1, "console:alice", Answer::Approve)));
    assert!(!decided(&world.answer(1, "console:bob", Answer::Approve)));
    assert!(decided(&world.answer(1, "console:carol", Answer::Approve)));
}

#[test]
fn a_key_makes_no_employee_of_an_account_that_is_nobodys() {
    let mut world = world();
    world.rules.policy.default.approvers = Approvers::NotSelf;
    check(&world.open(1, with_key(1, "deploy")).unwrap(), WireState::Denied, Some("unknown-person"));
    check(&world.open(2, alice_as(2, "deploy")).unwrap(), WireState::Denied, Some("unknown-person"));
}

fn alice_as(connection: u16, account: &str) -> OpenLogin {
    OpenLogin { user: account.parse().unwrap(), ..alice(connection) }
}

#[test]
fn a_suspended_owner_of_the_key_gets_into_no_account() {
    let world = world();
    check(&world.open(1, with_key(1, "deploy")).unwrap(), WireState::Pending, None);
    assert_eq!(set_state(&world, EmployeeState::Suspended), 1);
    check(&world.poll(1, 0), WireState::Denied, Some("suspended"));
    check(&world.open(2, with_key(2, "deploy")).unwrap(), WireState::Denied, Some("suspended"));
    assert_eq!(set_state(&world, EmployeeState::Active), 0);
    check(&world.open(3, with_key(3, "deploy")).unwrap(), WireState::Pending, None);
}

#[test]
fn a_removal_revokes_the_persons_keys() {
    let world = world();
    set_state(&world, EmployeeState::Removed);
    assert!(add(&world, "bob").unwrap_err().contains("was revoked (removed)"));
    check(&world.open(1, with_key(1, "deploy")).unwrap(), WireState::Denied, Some("removed"));
}

#[test]
fn a_key_belongs_to_one_person_and_a_revoked_one_to_nobody_ever_again() {
    let world = world();
    assert!(add(&world, "bob").unwrap_err().contains("belongs to alice@example.com"));
    assert!(add(&world, "alice").unwrap_err().contains("has this key already"));
    revoke(&world, Reason::Lost);
    for owner in ["alice", "bob"] {
        assert!(add(&world, owner).unwrap_err().contains("was revoked (lost)"));
    }
}
