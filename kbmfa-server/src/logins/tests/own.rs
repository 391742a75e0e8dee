//! The server's own logins, which nobody is asked about.

use kbmfa_proto::key::PublicKey;
use kbmfa_proto::names::ReportId;
use kbmfa_proto::session::{SessionEvent, SessionReport};

use super::*;
use crate::audit::Kind;
use crate::deliveries::own_login::{Announcement, LIFE};
use crate::deliveries::store as deliveries;
use crate::deliveries::{Error as DeliveryError, Place};
use crate::sessions::service as sessions;
use crate::source::Address;
use crate::usecases::own_logins as usecase;

/// The server's key, and another one.
const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
const OTHER_LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKa29gexiak8PEXo3Cc8eaGqkgu7zOMkkBKv6X5Rn2tm";

/// A world in which keys are delivered to the machine.
fn world() -> World {
    let mut world = World::new();
    (world.rules.policy.limits.pending_per_user, world.rules.policy.limits.pending_per_machine) = (99, 99);
    delivered(&world, &world.caller.machine_id);
    world
}

fn delivered(world: &World, machine_id: &str) {
    let id = machine_id.to_owned();
    let insert = move |tx: &Tx<'_>| deliveries::insert(tx, &id, Place::System, false);
    world.fixture.db.write_blocking("test", insert).unwrap();
}

/// A login of the server's as ssh-admin, over the connection of this number.
fn own(connection: u16, phase: Phase) -> OpenLogin {
    let first_factor = match phase {
        Phase::Account => FirstFactor::Sshd,
        Phase::Auth | Phase::Session => FirstFactor::Publickey { key: LINE.into() },
    };
    OpenLogin { user: "ssh-admin".parse().unwrap(), uid: Some(990), phase, first_factor, ..alice(connection) }
}

fn announcement(world: &World, connection: u16, nat: &[&str]) -> Announcement {
    Announcement {
        machine_id: world.caller.machine_id.clone(),
        account: "ssh-admin".parse().unwrap(),
        ends: own(connection, Phase::Account).connection.ssh.unwrap(),
        nat: nat.iter().map(|address| address.parse::<Address>().unwrap()).collect(),
        key: PublicKey::parse(LINE).unwrap().fingerprint().to_owned(),
    }
}

fn announce(world: &World, announced: Announcement) -> Result<String, DeliveryError> {
    world.fixture.db.write_blocking("test", move |tx| usecase::announce(tx, &announced, None))
}

/// Announces the connection of this number, without NAT.
fn announced(world: &World, connection: u16) -> String {
    announce(world, announcement(world, connection, &[])).unwrap()
}

fn end(world: &World, id: String) {
    world.fixture.db.write_blocking("test", move |tx| usecase::end(tx, &id)).unwrap();
}

/// The events of the server's own logins.
fn events(world: &World) -> Vec<String> {
    let filter = Filter { kinds: vec![Kind::DeliveryLogin], limit: 1000, ..Filter::default() };
    let found = world.fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
    found.into_iter().map(|event| event.body).collect()
}

#[track_caller]
fn is_let_in(world: &World, id: u8, opened: OpenLogin) {
    check(&world.open(id, opened).unwrap(), WireState::Approved, Some("own-login"));
}

#[track_caller]
fn is_asked_about(world: &World, id: u8, opened: OpenLogin) {
    check(&world.open(id, opened).unwrap(), WireState::Pending, None);
}

fn report(id: u8, event: SessionEvent, opened: &OpenLogin) -> SessionReport {
    SessionReport {
        id: ReportId::from_random([id; 16]),
        event,
        service: "sshd".into(),
        user: opened.user.clone(),
        typed: None,
        uid: opened.uid,
        rhost: None,
        tty: None,
        connection: opened.connection.clone(),
        key: Some(LINE.into()),
        at_us: 0,
        lost: 0,
        module_version: "0.1.0".into(),
    }
}

fn take(world: &World, report: SessionReport) {
    world.act(move |tx, rules, caller| sessions::take(tx, rules, caller, &report)).unwrap();
}

fn count_sessions(world: &World) -> usize {
    let filter =
        Filter { kinds: vec![Kind::SessionOpened, Kind::SessionClosed], limit: 1000, ..Filter::default() };
    world.fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap().len()
}

#[test]
fn the_servers_own_login_is_let_in_in_each_phase_and_leaves_one_event() {
    for phase in [Phase::Auth, Phase::Account, Phase::Session] {
        let world = world();
        announced(&world, 1);
        is_let_in(&world, 1, own(1, phase));
        // The same request again, and the machine's question after it.
        is_let_in(&world, 1, own(1, phase));
        check(&world.poll(1, 0), WireState::Approved, Some("own-login"));
        // The next phase of the same connection.
        is_let_in(&world, 2, own(1, Phase::Session));
        take(&world, report(1, SessionEvent::Opened, &own(1, phase)));
        world.pass(100);
        take(&world, report(2, SessionEvent::Closed, &own(1, phase)));

        let found = world.fixture.db.read_blocking(|tx| store::newest(tx, &store::Filter::default(), 10));
        assert!(found.unwrap().is_empty() && count_sessions(&world) == 0, "{phase:?}");
        let events = events(&world);
        assert!(events.len() == 1 && events[0].contains("ssh-admin") && world.verified(), "{events:?}");
        assert_eq!(world.story(1), Vec::<String>::new());
    }
}

#[test]
fn an_announcement_lets_one_connection_in() {
    let world = world();
    announced(&world, 1);
    is_let_in(&world, 1, own(1, Phase::Account));
    // The same two ends in another process of sshd.
    let mut second = own(1, Phase::Account);
    second.connection.id = "boot.2".into();
    is_asked_about(&world, 2, second);
}

#[test]
fn a_local_user_who_reuses_the_servers_port_is_asked_about() {
    let world = world();
    let id = announced(&world, 1);
    is_let_in(&world, 1, own(1, Phase::Account));
    end(&world, id);
    let mut later = own(1, Phase::Account);
    later.connection.id = "boot.2".into();
    is_asked_about(&world, 2, later);
    // Also if the server never got that far, and also on the machine's word that it is the same connection.
    let id = announced(&world, 3);
    end(&world, id);
    is_asked_about(&world, 3, own(3, Phase::Account));
    world.fixture.db.write_blocking("test", usecase::forget).unwrap();
    is_asked_about(&world, 4, own(1, Phase::Session));
}

#[test]
fn somebody_with_the_key_behind_the_same_nat_is_asked_about() {
    let world = world();
    // Without a rule the port has to be right.
    let id = announced(&world, 1);
    is_asked_about(&world, 1, own(2, Phase::Account));
    end(&world, id);
    // With one the address is enough, for one connection, and only while the server connects.
    let nat = &["192.0.2.7"];
    is_asked_about(&world, 2, own(3, Phase::Account));
    let id = announce(&world, announcement(&world, 9, nat)).unwrap();
    is_let_in(&world, 3, own(4, Phase::Account));
    is_asked_about(&world, 4, own(5, Phase::Account));
    end(&world, id);
    world.pass(90);
    is_asked_about(&world, 5, own(6, Phase::Account));
    assert!(events(&world)[0].contains("nat"), "{:?}", events(&world));
    // A report of a session alone is no proof for an address that others have, too.
    announce(&world, announcement(&world, 9, nat)).unwrap();
    take(&world, report(1, SessionEvent::Opened, &own(7, Phase::Session)));
    assert_eq!(count_sessions(&world), 1);
}

#[test]
fn an_announcement_is_gone_after_a_minute_also_if_its_server_was_killed() {
    let world = world();
    announced(&world, 1);
    world.pass(LIFE.as_secs());
    is_asked_about(&world, 1, own(1, Phase::Account));
    world.pass(600);
    world.fixture.db.write_blocking("test", usecase::forget).unwrap();
    let account = "ssh-admin".parse().unwrap();
    let live = deliveries::own_logins::live;
    assert!(world.act(move |tx, _, caller| Ok(live(tx, &caller.machine_id, &account)?)).unwrap().is_empty());
}

#[test]
fn another_account_key_or_machine_is_asked_about() {
    let mut world = world();
    announced(&world, 1);
    is_asked_about(&world, 1, OpenLogin { user: "root".parse().unwrap(), ..own(1, Phase::Account) });
    is_asked_about(&world, 2, alice(1));
    let key = FirstFactor::Publickey { key: OTHER_LINE.into() };
    is_asked_about(&world, 3, OpenLogin { first_factor: key, ..own(1, Phase::Session) });
    is_asked_about(&world, 4, OpenLogin { first_factor: FirstFactor::Stack, ..own(1, Phase::Auth) });
    is_asked_about(&world, 5, OpenLogin { first_factor: FirstFactor::Sshd, ..own(1, Phase::Auth) });
    let mut other = own(1, Phase::Account);
    other.uid_user = Some("toor".parse().unwrap());
    is_asked_about(&world, 6, other);
    // Whatever another machine says about itself: the announcement is for one machine.
    let first = world.caller.clone();
    world.caller = enter_machine(&world.fixture, "web2");
    delivered(&world, &world.caller.machine_id);
    is_asked_about(&world, 7, own(1, Phase::Account));
    world.caller = first;
    is_let_in(&world, 8, own(1, Phase::Account));
}

#[test]
fn nothing_is_let_in_unasked_where_nothing_is_delivered() {
    let world = World::new();
    let refused = announce(&world, announcement(&world, 1, &[]));
    assert!(matches!(refused, Err(DeliveryError::NotDelivered(_))), "{refused:?}");
    is_asked_about(&world, 1, own(1, Phase::Account));
    delivered(&world, &world.caller.machine_id);
    announced(&world, 2);
    let id = world.caller.machine_id.clone();
    world.fixture.db.write_blocking("test", move |tx| deliveries::remove(tx, &id)).unwrap();
    is_asked_about(&world, 2, own(2, Phase::Account));
    delivered(&world, &world.caller.machine_id);
    is_asked_about(&world, 3, own(2, Phase::Session));
}

#[test]
fn a_denial_counts_for_the_server_too_and_what_needs_an_approver_does_not() {
    let mut world = world();
    announced(&world, 1);
    is_asked_about(&world, 1, OpenLogin { user: "bob".parse().unwrap(), ..own(1, Phase::Account) });
    world.answer(1, "console:root", Answer::Deny);
    check(&world.open(2, own(1, Phase::Account)).unwrap(), WireState::Denied, Some("denied-before"));
    // An account of nobody has no approver under `require_member`, and is over every limit.
    world.rules.policy.require_member = true;
    world.rules.policy.limits.pending_per_user = 0;
    announced(&world, 2);
    is_let_in(&world, 3, own(2, Phase::Account));
    let rehearsal = OpenLogin { rehearsal: true, ..own(3, Phase::Account) };
    announced(&world, 3);
    assert_eq!(world.open(4, rehearsal).unwrap().state, WireState::Denied);
}

#[test]
fn a_machine_cancels_the_servers_login_like_any_other() {
    let world = world();
    announced(&world, 1);
    is_let_in(&world, 1, own(1, Phase::Account));
    check(&world.cancel(1), WireState::Cancelled, None);
    let again = world.act(|tx, rules, caller| service::poll(tx, rules, caller, &login_id(1), Duration::ZERO));
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
    is_asked_about(&world, 2, own(1, Phase::Session));
}

#[test]
fn on_a_machine_that_only_reports_sessions_the_report_is_the_event() {
    let world = world();
    announced(&world, 1);
    take(&world, report(1, SessionEvent::Opened, &own(1, Phase::Session)));
    take(&world, report(2, SessionEvent::Closed, &own(1, Phase::Session)));
    assert_eq!((events(&world).len(), count_sessions(&world)), (1, 0));
    // Somebody else's session is kept.
    take(&world, report(3, SessionEvent::Opened, &own(2, Phase::Session)));
    take(&world, report(4, SessionEvent::Opened, &alice(1)));
    assert_eq!((events(&world).len(), count_sessions(&world)), (1, 2));
}
