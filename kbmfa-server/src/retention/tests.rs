//! What is removed and what is kept, on a real database with a clock that the test sets.

use kbmfa_proto::names::LoginId;
use kbmfa_proto::session::SessionEvent::{Closed, LetInUnreachable, Opened};

use super::store::testing::close_asks;
use super::{Walk, pruned_before};
use crate::audit::Kind;
use crate::audit::store as audit;
use crate::channels::Answer;
use crate::logins::{decide, service, store as logins};
use crate::sessions::tests::{World, open_login, rules};
use crate::usecases::chat;
use crate::usecases::retention::prune_some;
use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;

fn login_id(id: u8) -> LoginId {
    LoginId::from_random([id; 16])
}

/// Closes the asks, and then walks with a limit of 400 days until the end. Returns the number of steps.
fn prune(world: &World) -> usize {
    let mut walk = world.act(|tx, _| {
        close_asks(tx)?;
        Ok(Walk::new(tx.now.minus(Duration::from_secs(400 * DAY))))
    });
    let mut steps = 0;
    while !walk.is_done() {
        walk = world.act(move |tx, _| Ok(prune_some(tx, walk)?));
        steps += 1;
    }
    steps
}

fn open(world: &World, id: u8, connection: u16) -> String {
    let reply = world.act(move |tx, caller| {
        service::open(tx, &rules(tx.now), caller, &login_id(id), &open_login(connection))
    });
    reply.reply.reason.map(|reason| reason.to_string()).unwrap_or_default()
}

fn answer(world: &World, id: u8, answer: Answer) {
    world.act(move |tx, _| {
        let root = "console:root".parse().unwrap();
        decide::answer(tx, &rules(tx.now), &login_id(id), &root, answer, None)
    });
}

/// The first bytes of the ids of the logins that are left.
fn kept(world: &World) -> Vec<u8> {
    let found = world.act(|tx, _| Ok(logins::newest(tx, &logins::Filter::default(), 1_000)?));
    let mut kept: Vec<u8> =
        found.iter().map(|login| u8::from_str_radix(&login.id.as_str()[..2], 16).unwrap()).collect();
    kept.sort_unstable();
    kept
}

#[test]
fn old_rows_that_have_ended_are_removed_and_their_events_kept() {
    let world = World::new();
    world.let_in(1, 1);
    world.report(1, Opened, 1);
    world.report(2, Closed, 1);
    world.report(3, LetInUnreachable, 2);
    world.pass(401 * DAY);
    world.let_in(2, 3);
    world.report(4, Opened, 3);
    prune(&world);
    assert_eq!((kept(&world), world.sessions()), (vec![2], vec![(Some(2), true, false)]));
    let told = world.events(Kind::RecordsPruned);
    let counted = |what: &str| told.iter().filter(|body| body.contains(what)).count();
    for what in
        [r#""logins":"1""#, r#""asks":"1""#, r#""answers":"1""#, r#""sessions":"1""#, r#""reports":"3""#]
    {
        assert_eq!(counted(what), 1, "{what} in {told:?}");
    }
    assert_eq!(world.events(Kind::LoginCollected).len(), 2);
    world.act(|tx, _| {
        assert!(audit::verify(tx, None)?.is_ok());
        let before = pruned_before(tx)?.unwrap();
        assert_eq!(before, tx.now.minus(Duration::from_secs(400 * DAY)).to_string());
        Ok(())
    });
    // A second walk finds nothing to remove, and adds no event.
    prune(&world);
    assert_eq!(world.events(Kind::RecordsPruned).len(), told.len());
}

#[test]
fn an_ask_that_was_posted_twice_is_removed_with_its_copies() {
    let world = World::new();
    world.let_in(1, 1);
    world.act(|tx, _| {
        let asks = logins::asks::of(tx, &login_id(1))?;
        asks.iter().try_for_each(|ask| chat::doubled(tx, ask, ["room:7"]))
    });
    assert_eq!(world.events(Kind::AskDoubled).len(), 1);
    world.pass(401 * DAY);
    prune(&world);
    assert_eq!(kept(&world), Vec::<u8>::new());
}

#[test]
fn rows_that_have_not_ended_are_kept_however_old() {
    let world = World::new();
    open(&world, 1, 1);
    open(&world, 2, 2);
    answer(&world, 2, Answer::Approve);
    world.let_in(3, 3);
    world.report(1, Opened, 3);
    world.let_in(4, 4);
    world.pass(401 * DAY);
    prune(&world);
    assert_eq!(kept(&world), [1, 2, 3], "one waits, one can be collected, one has a session that is open");
    world.report(2, Closed, 3);
    prune(&world);
    assert_eq!(kept(&world), [1, 2, 3], "its end is no older than a moment");
    world.pass(401 * DAY);
    prune(&world);
    assert_eq!(kept(&world), [1, 2]);
}

#[test]
fn a_denial_stays_as_long_as_its_connection_may_live() {
    let world = World::new();
    world.let_in(1, 1);
    world.report(1, Opened, 1);
    open(&world, 2, 1);
    world.pass(301);
    open(&world, 3, 1);
    answer(&world, 3, Answer::Deny);
    world.pass(401 * DAY);
    prune(&world);
    assert_eq!(open(&world, 4, 1), "denied-before");
}

#[test]
fn a_walk_reads_a_few_rows_in_each_transaction_and_skips_kept_ones() {
    let world = World::new();
    for id in 1..=100 {
        world.let_in(id, id.into());
        world.report(id, Opened, id.into());
        world.pass(1);
    }
    world.let_in(101, 101);
    world.pass(401 * DAY);
    let steps = prune(&world);
    assert_eq!(kept(&world).len(), 100);
    assert!(steps >= 2 * 100 / 25, "{steps} steps");
}
