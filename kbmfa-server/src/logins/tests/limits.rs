//! Limits on pending logins, asks and notices, and what counts toward each.

use kbmfa_proto::machine::Host;
use kbmfa_proto::names::HostHash;
use std::net::IpAddr;

use super::*;
use crate::logins::notifications;
use crate::logins::store::notices::{About, Repeated, Worth};
use crate::machines::service::authenticate;
use crate::usecases::testing::joined;

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

/// A login of alice from this address.
fn from(address: &str, connection: u16) -> OpenLogin {
    let client = (address.parse::<IpAddr>().unwrap(), 50_000).into();
    let ssh = SshConnection { client, server: ([192, 0, 2, 1], 22).into() };
    let connection = Connection { id: format!("boot.{connection}").into(), ssh: Some(ssh) };
    OpenLogin { connection, ..alice(0) }
}

#[test]
fn a_hundred_and_nineteen_asks_from_one_ipv6_network_are_limited_as_one_source() {
    let mut world = World::new();
    (world.rules.policy.limits.asks_per_user, world.rules.policy.limits.pending_per_user) = (6, 99);
    world.rules.policy.limits.pending_per_machine = 999;
    world.rules.policy.limits.asks_per_machine = 999;
    let asked = (0..119_u8).filter(|n| {
        let reply = world.open(*n, from(&format!("2001:db8::{n:x}:1"), (*n).into())).unwrap();
        reply.state == WireState::Pending
    });
    assert_eq!(asked.count(), 6);
    check(&world.open(200, from("2001:db8:0:1::1", 200)).unwrap(), WireState::Pending, None);
    assert_eq!(world.story(7), ["login.denied"], "people are told once, at the first that is too many");
    let shown = world.fixture.db.read_blocking(|tx| store::by_id(tx, &login_id(1))).unwrap().unwrap();
    assert_eq!(shown.source.as_deref(), Some("2001:db8::1:1"), "people see the exact address");
}

#[test]
fn a_denial_cools_down_the_whole_ipv6_network_and_the_same_ipv4_address_however_wrapped() {
    let mut world = World::new();
    world.rules.cool_down = Duration::from_secs(30);
    world.open(1, from("2001:db8::1", 1)).unwrap();
    world.open(2, from("::ffff:198.51.100.1", 2)).unwrap();
    world.answer(1, "console:root", Answer::Deny);
    world.answer(2, "console:root", Answer::Deny);
    for (id, address) in [(3, "2001:db8::2"), (4, "198.51.100.1")] {
        check(&world.open(id, from(address, id.into())).unwrap(), WireState::Denied, Some("denied-recently"));
    }
    for (id, address) in [(5, "2001:db8:0:1::2"), (6, "198.51.100.2")] {
        check(&world.open(id, from(address, id.into())).unwrap(), WireState::Pending, None);
    }
}

#[test]
fn logins_of_no_known_source_are_one_source() {
    let mut world = World::new();
    world.rules.policy.limits.asks_per_user = 1;
    let nowhere = |n: u16| {
        let connection = Connection { id: format!("boot.{n}").into(), ssh: None };
        OpenLogin { connection, ..alice(n) }
    };
    check(&world.open(1, nowhere(1)).unwrap(), WireState::Pending, None);
    check(&world.open(2, nowhere(2)).unwrap(), WireState::Denied, Some("too-many-asks"));
}

#[test]
fn logins_that_are_older_than_source_keys_count_by_their_exact_address() {
    let mut world = World::new();
    world.rules.cool_down = Duration::from_secs(30);
    world.open(1, from("2001:db8::1", 1)).unwrap();
    world.answer(1, "console:root", Answer::Deny);
    world.act(|tx, _, _| Ok(store::testing::forget_source_keys(tx)?)).unwrap();
    check(&world.open(2, from("2001:db8::1", 2)).unwrap(), WireState::Denied, Some("denied-recently"));
    check(&world.open(3, from("2001:db8::2", 3)).unwrap(), WireState::Pending, None);
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

/// Has the world's later logins come from another machine.
fn at_another(world: &mut World, machine: &'static str) {
    world.caller = enter_machine(&world.fixture, machine);
}

#[test]
fn asks_at_one_machine_do_not_lock_the_user_out_of_another() {
    let mut world = World::new();
    let limits = &mut world.rules.policy.limits;
    (limits.asks_per_user, limits.asks_per_user_everywhere) = (2, 8);
    (limits.pending_per_user, limits.pending_per_machine) = (99, 99);
    for id in 1..=2 {
        check(&world.open(id, alice(id.into())).unwrap(), WireState::Pending, None);
    }
    for id in 3..=20 {
        check(&world.open(id, alice(id.into())).unwrap(), WireState::Denied, Some("too-many-asks"));
    }
    at_another(&mut world, "web2");
    check(&world.open(21, alice(21)).unwrap(), WireState::Pending, None);
}

#[test]
fn asks_at_all_machines_together_have_a_bound_that_one_machine_cannot_use_up() {
    let mut world = World::new();
    let limits = &mut world.rules.policy.limits;
    (limits.asks_per_user, limits.asks_per_user_everywhere) = (2, 8);
    (limits.pending_per_user, limits.pending_per_machine) = (99, 99);
    let mut id = 0;
    for machine in ["m1", "m2", "m3", "m4"] {
        at_another(&mut world, machine);
        for n in 0..9 {
            id += 1;
            let expected =
                if n < 2 { (WireState::Pending, None) } else { (WireState::Denied, Some("too-many-asks")) };
            check(&world.open(id, alice(id.into())).unwrap(), expected.0, expected.1);
        }
    }
    at_another(&mut world, "m5");
    check(&world.open(100, alice(100)).unwrap(), WireState::Denied, Some("too-many-asks"));
    check(
        &world.open(101, OpenLogin { user: "bob".parse().unwrap(), ..alice(101) }).unwrap(),
        WireState::Pending,
        None,
    );
    world.pass(61);
    check(&world.open(102, alice(102)).unwrap(), WireState::Pending, None);
}

#[test]
fn logins_that_wait_at_one_machine_count_at_no_other() {
    let mut world = World::new();
    for id in 1..=3 {
        check(&world.open(id, alice(id.into())).unwrap(), WireState::Pending, None);
    }
    for id in 4..=5 {
        let other = OpenLogin { user: "bob".parse().unwrap(), ..alice(id.into()) };
        check(&world.open(id, other).unwrap(), WireState::Pending, None);
    }
    check(&world.open(6, alice(6)).unwrap(), WireState::Denied, Some("too-many-pending"));
    at_another(&mut world, "web2");
    check(&world.open(7, alice(7)).unwrap(), WireState::Pending, None);
}

#[test]
fn a_denial_at_one_machine_cools_down_no_other_and_denies_no_connection_of_another() {
    let mut world = World::new();
    world.rules.cool_down = Duration::from_secs(30);
    world.open(1, alice(1)).unwrap();
    world.answer(1, "console:root", Answer::Deny);
    check(&world.open(2, alice(2)).unwrap(), WireState::Denied, Some("denied-recently"));
    check(&world.open(3, alice(1)).unwrap(), WireState::Denied, Some("denied-before"));
    at_another(&mut world, "web2");
    check(&world.open(4, alice(1)).unwrap(), WireState::Pending, None);
    check(&world.open(5, alice(2)).unwrap(), WireState::Pending, None);
}

#[test]
fn a_machine_that_has_used_its_quota_up_still_raises_the_alarm_about_its_clone() {
    let world = World::new();
    let credential = joined(&world.fixture.db, "web2");
    let raised = world.act(move |tx, rules, _| {
        let caller = authenticate(tx, &credential, None)?.unwrap();
        let mut told = Vec::new();
        for n in 0..40 {
            let subject = format!("noise {n}");
            let quota = Some(caller.machine_id.as_str());
            let about = About { subject: &subject, worth: Worth::Alarm, repeated: Repeated::Dropped, quota };
            told.push(notifications::notice(tx, rules, about, subject.clone())?);
        }
        assert!(told.contains(&true) && told.last() == Some(&false), "its quota is not used up: {told:?}");
        for computer in [1, 2, 1] {
            let [machine, boot] = [[computer; 16]; 2].map(HostHash::from_bytes);
            notifications::of_host(tx, rules, &caller, (&credential, &Host { machine, boot }))?;
        }
        let events = search(tx, &Filter { limit: 1000, ..Filter::default() })?;
        Ok(events.iter().filter(|event| event.body.contains("machine.seen-twice")).count())
    });
    assert_eq!(raised.unwrap(), 1);
}
