//! Reports in different orders, through the public functions, on a real database.

use kbmfa_proto::login::{Account, Capabilities, Connection, FirstFactor, OpenLogin, Phase, SshConnection};
use kbmfa_proto::names::{LoginId, ReportId};
use kbmfa_proto::session::{SessionEvent, SessionReport};
use proptest::prelude::*;
use std::time::Duration;

use super::{service, store};
use crate::audit::Kind;
use crate::audit::store as audit;
use crate::audit::store::search::{Filter, search};
use crate::channels::Answer;
use crate::clock::Time;
use crate::db::Tx;
use crate::db::testing::{Fixture, fixture};
use crate::employees::ledger;
use crate::logins::state::Grace;
use crate::logins::{Error, decide, store as login_store};
use crate::logins::{Rules, service as logins};
use crate::machines::caller::Caller;
use crate::policy::{Approvers, Channel, Limits, RequireGrant, Settings, Terms};
use crate::usecases::testing::enter_machine;
use SessionEvent::{Closed, LetInUnreachable, Opened};

pub(crate) struct World {
    pub(crate) fixture: Fixture,
    pub(crate) caller: Caller,
}

impl World {
    pub(crate) fn new() -> Self {
        let fixture = fixture();
        let caller = enter_machine(&fixture, "web1");
        Self { fixture, caller }
    }

    pub(crate) fn act<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>, &Caller) -> Result<T, Error> + Send + 'static,
    ) -> T {
        let caller = self.caller.clone();
        self.fixture.db.write_blocking("test", move |tx| work(tx, &caller)).unwrap()
    }

    pub(crate) fn report(&self, id: u8, event: SessionEvent, connection: u16) {
        self.act(move |tx, caller| service::take(tx, &rules(tx.now), caller, &report(id, event, connection)));
    }

    /// Opens a login of alice on this connection, approves it and collects the approval.
    pub(crate) fn let_in(&self, id: u8, connection: u16) {
        self.act(move |tx, caller| {
            let (rules, id) = (rules(tx.now), LoginId::from_random([id; 16]));
            logins::open(tx, &rules, caller, &id, &open_login(connection))?;
            decide::answer(tx, &rules, &id, &"console:root".parse().unwrap(), Answer::Approve, None)?;
            logins::poll(tx, &rules, caller, &id, Duration::ZERO)
        });
    }

    /// Opens another login, which policy lets in because the connection was approved.
    pub(crate) fn let_in_again(&self, id: u8, connection: u16) {
        self.act(move |tx, caller| {
            let id = LoginId::from_random([id; 16]);
            logins::open(tx, &rules(tx.now), caller, &id, &open_login(connection))
        });
    }

    /// Each session: the first byte of its login's id, whether it was opened, and whether it was closed.
    pub(crate) fn sessions(&self) -> Vec<(Option<u8>, bool, bool)> {
        let found = self.act(|tx, _| Ok(store::newest(tx, false, None, 1000)?));
        let first = |id: LoginId| u8::from_str_radix(&id.as_str()[..2], 16).unwrap();
        found.into_iter().map(|s| (s.login.map(first), s.opened.is_some(), s.closed.is_some())).collect()
    }

    pub(crate) fn unopened(&self) -> usize {
        self.act(|tx, _| Ok(store::unopened(tx, 1000)?)).len()
    }

    pub(crate) fn events(&self, kind: Kind) -> Vec<String> {
        let filter = Filter { kinds: vec![kind], limit: 1000, ..Filter::default() };
        let found = self.fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
        found.into_iter().map(|event| event.body).collect()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.fixture.clock.advance(Duration::from_secs(seconds));
    }
}

pub(crate) fn rules(now: Time) -> Rules {
    let grace = Grace { length: Duration::from_secs(15), listening_since: Some(now) };
    let (window, approvers) = (Duration::from_secs(60), Approvers::Anyone);
    let (channels, channels_when_down) = (vec![Channel::Console], Vec::new());
    let destination = "console".into();
    let default = Terms { approvers, channels, channels_when_down, window, destination };
    let limits = Limits {
        pending_per_user: 3,
        pending_per_machine: 5,
        asks_per_user: 99,
        asks_per_machine: 99,
        asks_per_user_everywhere: 99,
    };
    let policy = Settings {
        rules: Vec::new(),
        default,
        limits,
        require_member: false,
        require_grant: RequireGrant::Nowhere,
    };
    Rules {
        policy,
        chat: None,
        cool_down: Duration::ZERO,
        grace,
        auth_token: None,
        post: crate::channels::Post::default(),
        keep: Duration::MAX,
        uids: ledger::Uids::default(),
        added_keys: crate::keys::AddedKeys::default(),
    }
}

fn connection(number: u16) -> Connection {
    let (client, server) = (([192, 0, 2, 7], 50_000 + number).into(), ([192, 0, 2, 1], 22).into());
    Connection { id: format!("boot.{number}").into(), ssh: Some(SshConnection { client, server }) }
}

pub(crate) fn open_login(number: u16) -> OpenLogin {
    OpenLogin {
        phase: Phase::Account,
        service: "sshd".into(),
        user: "alice".parse().unwrap(),
        typed: None,
        uid: Some(1000),
        uid_user: None,
        expires_day: None,
        caller: None,
        account: Account::Known,
        rhost: None,
        tty: None,
        connection: connection(number),
        first_factor: FirstFactor::Sshd,
        capabilities: Capabilities { text: true, prompt: false },
        rehearsal: false,
        module_version: "0".into(),
        host: None,
    }
}

pub(crate) fn report(id: u8, event: SessionEvent, number: u16) -> SessionReport {
    SessionReport {
        id: ReportId::from_random([id; 16]),
        event,
        service: "sshd".into(),
        user: "alice".parse().unwrap(),
        typed: None,
        uid: Some(1000),
        rhost: None,
        tty: Some("ssh".into()),
        connection: connection(number),
        key: None,
        at_us: 1,
        lost: 0,
        module_version: "0".into(),
    }
}

#[test]
fn a_uid_that_only_a_session_reports_counts_as_given() {
    let world = World::new();
    world.act(|tx, caller| {
        let reported = SessionReport { uid: Some(20_041), ..report(1, Opened, 1) };
        service::take(tx, &rules(tx.now), caller, &reported)
    });
    assert!(world.fixture.db.read_blocking(ledger::service::taken).unwrap().uids.contains(&20_041));
}

#[test]
fn a_session_is_tied_to_its_login_and_audited_at_both_ends() {
    let world = World::new();
    world.let_in(7, 1);
    world.report(1, Opened, 1);
    assert_eq!(world.sessions(), [(Some(7), true, false)]);
    world.report(2, Closed, 1);
    assert_eq!(world.sessions(), [(Some(7), true, true)]);
    let login = format!("\"login\":\"{}\"", "07".repeat(16));
    for kind in [Kind::SessionOpened, Kind::SessionClosed] {
        let events = world.events(kind);
        assert!(events.len() == 1 && events[0].contains(&login), "{events:?}");
    }
    let login = world.act(|tx, _| Ok(login_store::by_id(tx, &LoginId::from_random([7; 16]))?)).unwrap();
    assert_eq!(world.act(move |tx, _| Ok(store::of(tx, &login)?)).len(), 1);
}

#[test]
fn an_open_that_was_reported_before_its_login_is_tied_to_it_at_the_close() {
    let world = World::new();
    world.report(1, Opened, 1);
    assert_eq!(world.sessions(), [(None, true, false)]);
    world.let_in(7, 1);
    world.report(2, Closed, 1);
    assert_eq!(world.sessions(), [(Some(7), true, true)]);
}

#[test]
fn a_login_that_opens_no_session_within_a_minute_is_missed_where_sessions_are_reported() {
    let world = World::new();
    world.let_in(1, 1);
    world.pass(3600);
    assert_eq!(world.unopened(), 0, "this machine has never reported a session");
    world.report(1, Opened, 2);
    world.let_in(2, 3);
    world.pass(59);
    assert_eq!(world.unopened(), 0);
    world.pass(1);
    assert_eq!(world.unopened(), 1);
    world.report(2, Opened, 3);
    assert_eq!(world.unopened(), 0);
}

#[test]
fn two_logins_of_one_connection_share_its_session() {
    let world = World::new();
    world.report(1, Opened, 9);
    world.let_in(1, 1);
    world.pass(1);
    world.let_in_again(2, 1);
    world.report(2, Opened, 1);
    world.pass(120);
    assert_eq!(world.sessions()[0], (Some(2), true, false));
    assert_eq!(world.unopened(), 0);
}

#[test]
fn somebody_let_in_while_no_server_was_reached_is_an_event_and_no_session() {
    let world = World::new();
    world.report(1, LetInUnreachable, 1);
    world.report(1, LetInUnreachable, 1);
    assert_eq!(world.events(Kind::LoginLetInUnreachable).len(), 1);
    assert!(world.sessions().is_empty());
}

#[test]
fn another_machine_reaches_neither_the_session_nor_the_login() {
    let mut world = World::new();
    world.let_in(7, 1);
    world.report(1, Opened, 1);
    world.caller = enter_machine(&world.fixture, "db1");
    // It has the same report id, connection, user and service as the report of web1.
    world.report(1, Closed, 1);
    assert_eq!(world.events(Kind::SessionClosed).len(), 1);
    let mut sessions = world.sessions();
    sessions.sort();
    assert_eq!(sessions, [(None, false, true), (Some(7), true, false)]);
}

#[test]
fn reports_that_a_machine_had_to_drop_are_on_record() {
    let world = World::new();
    world.act(|tx, caller| {
        service::take(tx, &rules(tx.now), caller, &SessionReport { lost: 3, ..report(1, Opened, 1) })
    });
    assert!(world.events(Kind::SessionOpened)[0].contains("\"reports-lost\":\"3\""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn reports_in_any_order_and_number_make_the_same_sessions(
        order in Just((0..12_u8).chain(0..12).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let world = World::new();
        for id in order {
            let event = if id % 2 == 0 { Opened } else { Closed };
            world.report(id, event, u16::from(id / 2));
        }
        prop_assert_eq!(world.sessions(), vec![(None, true, true); 6]);
        prop_assert_eq!(world.events(Kind::SessionOpened).len(), 6);
        prop_assert_eq!(world.events(Kind::SessionClosed).len(), 6);
        prop_assert!(world.fixture.db.read_blocking(|tx| audit::verify(tx, None)).unwrap().is_ok());
    }
}
