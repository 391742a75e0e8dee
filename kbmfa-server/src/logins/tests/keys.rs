//! Logins whose key belongs to an employee.

use kbmfa_proto::key::PublicKey;

use super::*;
use crate::employees::State as EmployeeState;
use crate::keys::{Origin, Reason};
use crate::usecases::grants::{self, Terms as GrantTerms};
use crate::usecases::keys::{self, New};
use crate::usecases::pools;

const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

const OTHER_LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKa29gexiak8PEXo3Cc8eaGqkgu7zOMkkBKv6X5Rn2tm";

/// A world in which alice and bob are employees, and alice has a key.
fn world() -> World {
    let world = World::new();
    employ(&world, "alice");
    employ(&world, "bob");
    add(&world, "alice").unwrap();
    world
}

fn new(owner: &str) -> New {
    let email = format!("{owner}@example.com").parse().unwrap();
    let key = PublicKey::parse(LINE).unwrap();
    New { email, key, device: "laptop".into(), origin: Origin::Operator, replaces: None }
}

fn add(world: &World, owner: &'static str) -> Result<(), String> {
    let rules = world.rules.clone();
    let add = move |tx: &Tx<'_>| keys::add(tx, &rules, &Actor::new("console:root"), &new(owner)).map(drop);
    world.fixture.db.write_blocking("test", add).map_err(|error| error.to_string())
}

fn revoke(world: &World, why: Reason) -> usize {
    let rules = world.rules.clone();
    let revoke = move |tx: &Tx<'_>| {
        let key = PublicKey::parse(LINE).unwrap();
        keys::revoke(tx, &rules, &Actor::new("console:root"), key.fingerprint(), why)
    };
    world.fixture.db.write_blocking("test", revoke).unwrap()[0].refused
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

/// Adds the key to alice by another key of hers, so that it is pending.
fn add_pending(world: &World) {
    let rules = world.rules.clone();
    let add = move |tx: &Tx<'_>| {
        let root = Actor::new("console:root");
        let first = New { key: PublicKey::parse(OTHER_LINE).unwrap(), ..new("alice") };
        let parent = keys::add(tx, &rules, &root, &first)?.key.id;
        let (origin, device) = (Origin::Key { parent }, "phone".into());
        keys::add(tx, &rules, &root, &New { device, origin, ..new("alice") }).map(drop)
    };
    world.fixture.db.write_blocking("test", add).unwrap();
}

#[test]
fn a_pending_key_is_refused_for_every_account_until_it_is_approved() {
    let world = World::new();
    employ(&world, "alice");
    add_pending(&world);
    check(&world.open(1, with_key(1, "alice")).unwrap(), WireState::Denied, Some("pending-key"));
    check(&world.open(2, with_key(2, "deploy")).unwrap(), WireState::Denied, Some("pending-key"));
    check(&world.open(3, alice(3)).unwrap(), WireState::Pending, None);
    let rules = world.rules.clone();
    let approve = move |tx: &Tx<'_>| {
        let key = PublicKey::parse(LINE).unwrap();
        keys::approve(tx, &rules, &Actor::new("console:root"), key.fingerprint()).map(drop)
    };
    world.fixture.db.write_blocking("test", approve).unwrap();
    check(&world.open(4, with_key(4, "alice")).unwrap(), WireState::Pending, None);
}

#[test]
fn what_waits_or_was_approved_with_a_key_ends_when_a_key_adds_it() {
    let world = World::new();
    employ(&world, "alice");
    for id in [1, 2] {
        check(&world.open(id, with_key(id.into(), "alice")).unwrap(), WireState::Pending, None);
    }
    assert!(decided(&world.answer(2, "console:bob", Answer::Approve)));
    add_pending(&world);
    for id in [1, 2] {
        check(&world.poll(id, 0), WireState::Denied, Some("pending-key"));
    }
}

/// Grants the pool web, for good.
fn grant(world: &World, owner: &'static str) {
    let uids = world.rules.uids;
    let add = move |tx: &Tx<'_>| {
        let (email, pool) = (format!("{owner}@example.com").parse().unwrap(), "web".parse().unwrap());
        grants::add(tx, uids, &Actor::new("console:root"), (&email, &pool), &GrantTerms::default())
    };
    world.fixture.db.write_blocking("test", add).unwrap();
}

#[test]
fn the_owner_of_the_key_needs_a_grant_too_and_gives_none_to_the_account() {
    let mut world = world();
    world.rules.policy.require_grant = RequireGrant::Everywhere;
    let fill = |tx: &Tx<'_>| {
        pools::put_all(tx, &Actor::new("console:root"), &"web".parse().unwrap(), &["web1".parse().unwrap()])
    };
    world.fixture.db.write_blocking("test", fill).unwrap();
    check(&world.open(1, alice_as(1, "deploy")).unwrap(), WireState::Pending, None);
    check(&world.open(2, with_key(2, "deploy")).unwrap(), WireState::Denied, Some("no-grant"));
    grant(&world, "alice");
    check(&world.open(3, with_key(3, "deploy")).unwrap(), WireState::Pending, None);
    check(&world.open(4, with_key(4, "bob")).unwrap(), WireState::Denied, Some("no-grant"));
    grant(&world, "bob");
    check(&world.open(5, with_key(5, "bob")).unwrap(), WireState::Pending, None);
}
