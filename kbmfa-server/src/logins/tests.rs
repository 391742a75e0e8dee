//! Stories of logins through the public functions, on a real database with a clock that the test moves.

use kbmfa_proto::login::{
    Account, Capabilities, Connection, FirstFactor, LoginReply, OpenLogin, Phase, SshConnection,
    State as WireState,
};
use kbmfa_proto::names::{LoginId, MachineName};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

use super::answering::{self, Answered};
use super::service::{self, Rules};
use super::state::{Grace, Revocation};
use super::{Error, store};
use crate::audit::Actor;
use crate::audit::store as audit;
use crate::audit::store::search::{Filter, search};
use crate::clock::{Clock, Time};
use crate::db::testing::{Fixture, fixture};
use crate::db::{Db, Tx};
use crate::policy::{Approvers, Limits, Rule, Says, Scope, Settings, Terms};
use crate::relay::Answer;
use crate::roster;
use crate::roster::caller::{Caller, Claim};
use crate::roster::employee;
use crate::roster::employee::store::Employee;
use crate::roster::service::add_machine;
use crate::secret::SecretHash;

const GRACE: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(60);

/// One server, one machine.
struct World {
    fixture: Fixture,
    rules: Rules,
    caller: Caller,
}

impl World {
    fn new() -> Self {
        let fixture = fixture();
        let caller = enter_machine(&fixture, "web1");
        let default = Terms {
            approvers: Approvers::Anyone,
            console: true,
            window: WINDOW,
            destination: "console".into(),
        };
        let limits =
            Limits { pending_per_user: 3, pending_per_machine: 5, asks_per_user: 99, asks_per_machine: 99 };
        let policy =
            Settings { rules: Vec::new(), default, limits, require_member: false, console_when_down: false };
        let grace = Grace { length: GRACE, listening_since: Some(fixture.clock.now()) };
        let rules = Rules {
            policy,
            relay: "console",
            cool_down: Duration::ZERO,
            grace,
            auth_token: None,
            post: crate::relay::Post::default(),
        };
        Self { fixture, rules, caller }
    }

    fn act<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>, &Rules, &Caller) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (rules, caller) = (self.rules.clone(), self.caller.clone());
        self.fixture.db.write_blocking("test", move |tx| work(tx, &rules, &caller))
    }

    fn open(&self, id: u8, opened: OpenLogin) -> Result<LoginReply, Error> {
        self.act(move |tx, rules, caller| service::open(tx, rules, caller, &login_id(id), &opened))
    }

    fn poll(&self, id: u8, wait_s: u64) -> LoginReply {
        let wait = Duration::from_secs(wait_s);
        self.act(move |tx, rules, caller| service::poll(tx, rules, caller, &login_id(id), wait)).unwrap().1
    }

    fn cancel(&self, id: u8) -> LoginReply {
        self.act(move |tx, rules, caller| service::cancel(tx, rules, caller, &login_id(id))).unwrap()
    }

    fn answer(&self, id: u8, person: &'static str, answer: Answer) -> Answered {
        let person = person.parse().unwrap();
        self.act(move |tx, rules, _| answering::answer(tx, rules, &login_id(id), &person, answer, None))
            .unwrap()
    }

    fn sweep(&self) {
        self.act(|tx, rules, _| service::sweep(tx, rules)).unwrap();
    }

    fn pass(&self, seconds: u64) {
        self.fixture.clock.advance(Duration::from_secs(seconds));
    }

    /// A new process: the database is opened anew, and listening begins now.
    fn restart(&mut self) {
        let clock = self.fixture.clock.clone();
        self.rules.grace.listening_since = Some(clock.now());
        self.fixture.db = Db::with_clock(self.fixture.dir.path(), std::sync::Arc::new(clock)).unwrap();
    }

    /// The kinds of the events about a login, after its opening.
    fn story(&self, id: u8) -> Vec<String> {
        let filter = Filter { login: Some(login_id(id).to_string()), limit: 1000, ..Filter::default() };
        let found = self.fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
        let kind = |body: &str| {
            let body: BTreeMap<String, serde_json::Value> = serde_json::from_str(body).unwrap();
            body["kind"].as_str().unwrap().to_owned()
        };
        found.iter().map(|event| kind(&event.body)).filter(|kind| kind != "login.opened").collect()
    }

    fn verified(&self) -> bool {
        self.fixture.db.read_blocking(|tx| audit::verify(tx, None)).unwrap().is_ok()
    }
}

fn enter_machine(fixture: &Fixture, name: &str) -> Caller {
    let name: MachineName = name.parse().unwrap();
    let added = name.clone();
    let machine = fixture.db.write_blocking("test", move |tx| {
        add_machine(tx, &Actor::new("console:root"), &added)?;
        roster::service::machine(tx, &added)
    });
    Caller { machine_id: machine.unwrap().id, name, login: None }
}

fn login_id(byte: u8) -> LoginId {
    LoginId::from_random([byte; 16])
}

/// alice at sshd, on connection number `connection`.
fn alice(connection: u16) -> OpenLogin {
    let ssh = SshConnection {
        client: ([192, 0, 2, 7], 50_000 + connection).into(),
        server: ([192, 0, 2, 1], 22).into(),
    };
    OpenLogin {
        phase: Phase::Auth,
        service: "sshd".into(),
        user: "alice".parse().unwrap(),
        account: Account::Known,
        rhost: None,
        tty: Some("ssh".into()),
        connection: Connection { id: format!("boot.{connection}").into(), ssh: Some(ssh) },
        first_factor: FirstFactor::Sshd,
        capabilities: Capabilities { text: true, prompt: false },
        rehearsal: false,
        module_version: "0.1.0".into(),
    }
}

#[track_caller]
fn check(reply: &LoginReply, state: WireState, reason: Option<&str>) {
    let found = reply.reason.as_ref().map(|reason| reason.as_str().to_owned());
    assert_eq!((reply.state, found.as_deref()), (state, reason));
}

fn decided(answered: &Answered) -> bool {
    matches!(answered, Answered::Decided(_))
}

#[test]
fn an_approved_login_is_collected_once_and_may_be_read_again_for_a_while() {
    let world = World::new();
    check(&world.open(1, alice(1)).unwrap(), WireState::Pending, None);
    assert!(decided(&world.answer(1, "console:root", Answer::Approve)));
    check(&world.poll(1, 25), WireState::Approved, None);
    check(&world.poll(1, 25), WireState::Approved, None);
    world.pass(15);
    check(&world.poll(1, 25), WireState::Expired, Some("lapsed"));
    assert_eq!(world.story(1), ["answer.given", "login.approved", "login.collected"]);
}

#[test]
fn a_denied_login_stays_denied_for_the_connection_and_for_no_other() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    world.answer(1, "console:root", Answer::Deny);
    check(&world.poll(1, 0), WireState::Denied, Some("denied"));
    assert!(!decided(&world.answer(1, "console:root", Answer::Approve)));
    check(&world.open(2, alice(1)).unwrap(), WireState::Denied, Some("denied-before"));
    check(&world.open(3, alice(2)).unwrap(), WireState::Pending, None);
    assert_eq!(world.story(2), ["login.denied"]);
}

#[test]
fn opening_again_is_harmless_and_opening_otherwise_is_a_conflict() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    check(&world.open(1, alice(1)).unwrap(), WireState::Pending, None);
    assert!(matches!(world.open(1, alice(2)), Err(Error::Conflict(_))));
    let asks = world.fixture.db.read_blocking(|tx| store::asks::of(tx, &login_id(1))).unwrap();
    assert_eq!(asks.len(), 1);
}

#[test]
fn another_machine_sees_nothing_of_it() {
    let mut world = World::new();
    world.open(1, alice(1)).unwrap();
    world.caller = enter_machine(&world.fixture, "db1");
    assert!(matches!(world.open(1, alice(1)), Err(Error::Conflict(_))));
    let polled =
        world.act(|tx, rules, caller| service::poll(tx, rules, caller, &login_id(1), Duration::ZERO));
    assert!(matches!(polled, Err(Error::NotFound(_))));
    let cancelled = world.act(|tx, rules, caller| service::cancel(tx, rules, caller, &login_id(1)));
    assert!(matches!(cancelled, Err(Error::NotFound(_))));
}

#[test]
fn one_approval_serves_every_phase_of_the_connection_and_nothing_beyond_it() {
    let mut world = World::new();
    world.rules.policy.limits.pending_per_user = 9;
    world.rules.policy.limits.pending_per_machine = 9;
    world.open(1, alice(1)).unwrap();
    world.answer(1, "console:root", Answer::Approve);
    let account = || OpenLogin { phase: Phase::Account, ..alice(1) };
    check(&world.open(2, account()).unwrap(), WireState::Pending, None);
    world.poll(1, 0);
    check(&world.open(3, account()).unwrap(), WireState::Approved, None);
    let bob = OpenLogin { user: "bob".parse().unwrap(), ..alice(1) };
    check(&world.open(4, bob).unwrap(), WireState::Pending, None);
    check(
        &world.open(5, OpenLogin { service: "sudo".into(), ..alice(1) }).unwrap(),
        WireState::Pending,
        None,
    );
    check(&world.open(6, alice(2)).unwrap(), WireState::Pending, None);
    world.pass(300);
    check(&world.open(7, account()).unwrap(), WireState::Pending, None);
}

#[test]
fn a_process_that_is_no_ssh_connection_never_carries_a_decision_over() {
    let world = World::new();
    let daemon = || {
        let connection = Connection { id: "boot.1".into(), ssh: None };
        OpenLogin { connection, ..alice(1) }
    };
    world.open(1, daemon()).unwrap();
    world.answer(1, "console:root", Answer::Approve);
    world.poll(1, 0);
    check(&world.open(2, daemon()).unwrap(), WireState::Pending, None);
    world.answer(2, "console:root", Answer::Deny);
    check(&world.open(3, daemon()).unwrap(), WireState::Pending, None);
}

#[test]
fn nobody_is_asked_about_an_account_that_does_not_exist_and_it_takes_as_long() {
    let world = World::new();
    let ghost = OpenLogin { account: Account::Missing, ..alice(1) };
    check(&world.open(1, ghost).unwrap(), WireState::Pending, None);
    assert!(!decided(&world.answer(1, "console:root", Answer::Approve)));
    world.poll(1, 30);
    world.pass(40);
    world.poll(1, 30);
    world.pass(20);
    check(&world.poll(1, 30), WireState::Expired, Some("no-answer"));
    assert_eq!(world.story(1), ["answer.rejected", "login.expired"]);
}

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
fn only_approvers_count_and_the_others_are_on_record() {
    let mut world = World::new();
    world.rules.policy.default.approvers = "console:alice".parse().unwrap();
    world.open(1, alice(1)).unwrap();
    assert!(!decided(&world.answer(1, "console:mallory", Answer::Approve)));
    check(&world.poll(1, 0), WireState::Pending, None);
    assert!(decided(&world.answer(1, "console:alice", Answer::Approve)));
    assert_eq!(world.story(1), ["answer.rejected", "answer.given", "login.approved"]);
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
fn a_machine_that_falls_silent_is_given_up_and_one_whose_poll_is_held_is_not() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(2)).unwrap();
    world.poll(2, 25);
    world.pass(15);
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
        world.act(move |tx, rules, _| service::poll_broke(tx, rules, &login_id(id), number)).unwrap();
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
    assert_eq!(world.story(1), ["answer.given", "login.approved", "login.lapsed"]);
}

#[test]
fn removing_a_machine_ends_what_it_waits_for() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    world.open(2, alice(2)).unwrap();
    world.answer(2, "console:root", Answer::Approve);
    world
        .act(|tx, rules, caller| {
            service::revoke_all_at(tx, rules, &caller.machine_id, &Actor::new("console:root"))
        })
        .unwrap();
    check(&world.poll(1, 0), WireState::Denied, Some("machine-removed"));
    check(&world.poll(2, 0), WireState::Expired, Some("lapsed"));
}

#[test]
fn a_rehearsal_lets_nobody_in_and_asks_nobody() {
    let world = World::new();
    check(&world.open(1, OpenLogin { rehearsal: true, ..alice(1) }).unwrap(), WireState::Rehearsed, None);
    assert!(!decided(&world.answer(1, "console:root", Answer::Approve)));
    assert_eq!(world.story(1), ["login.rehearsed", "answer.rejected"]);
}

#[test]
fn a_key_is_shown_by_its_fingerprint_and_nonsense_is_refused() {
    let world = World::new();
    let with_key =
        |key: &str| OpenLogin { first_factor: FirstFactor::Publickey { key: key.into() }, ..alice(1) };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwG6WgNbhLK6oNFPMKm2Kh9OZC4rJBqXEBbSJ1sYhYI";
    world.open(1, with_key(key)).unwrap();
    let login = world.fixture.db.read_blocking(|tx| service::find(tx, "0101")).unwrap();
    assert!(login.key.unwrap().starts_with("SHA256:"));
    assert!(matches!(world.open(2, with_key("ssh-ed25519 nonsense")), Err(Error::Bad(_))));
    assert!(matches!(world.open(2, with_key(&"x".repeat(4097))), Err(Error::Bad(_))));
}

#[test]
fn a_login_is_found_by_an_unambiguous_beginning_and_by_nothing_else() {
    let world = World::new();
    world.open(0x11, alice(1)).unwrap();
    world.open(0x12, alice(2)).unwrap();
    let find = |prefix: &str| world.fixture.db.read_blocking(|tx| service::find(tx, prefix));
    assert_eq!(find("11").unwrap().id, login_id(0x11));
    assert!(matches!(find("1"), Err(Error::Ambiguous(_))));
    for prefix in ["", "2", "%", "11' OR 1=1", "1_"] {
        assert!(matches!(find(prefix), Err(Error::NotFound(_))), "{prefix:?}");
    }
}

fn employ(world: &World, unix_name: &'static str) {
    let employee = Employee {
        id: unix_name.into(),
        email: format!("{unix_name}@example.com").parse().unwrap(),
        name: unix_name.into(),
        unix_name: unix_name.parse().unwrap(),
        keybase_name: None,
        state: employee::State::Active,
        created_at: Time::from_micros(0),
        changed_at: Time::from_micros(0),
    };
    world
        .act(move |tx, _, _| Ok(employee::service::add(tx, &Actor::new("console:root"), &employee)?))
        .unwrap();
}

/// Suspends, resumes or removes alice, as the command line does.
fn set_alice(world: &World, state: employee::State) {
    let revokes = match state {
        employee::State::Active => None,
        employee::State::Suspended => Some(Revocation::Suspended),
        employee::State::Removed => Some(Revocation::Removed),
    };
    world
        .act(move |tx, rules, _| {
            let actor = Actor::new("console:root");
            employee::service::set_state(tx, &actor, &"alice@example.com".parse().unwrap(), state)?;
            if let Some(why) = revokes {
                service::revoke_all_of(tx, rules, &"alice".parse().unwrap(), why, &actor)?;
            }
            Ok(())
        })
        .unwrap();
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
    set_alice(&world, employee::State::Suspended);
    check(&world.poll(1, 0), WireState::Denied, Some("suspended"));
    check(&world.poll(2, 0), WireState::Denied, Some("suspended"));
    check(&world.poll(3, 0), WireState::Denied, Some("suspended"));
    check(&world.open(4, alice(4)).unwrap(), WireState::Denied, Some("suspended"));
    let session = OpenLogin { phase: Phase::Session, ..alice(3) };
    check(&world.open(5, session).unwrap(), WireState::Denied, Some("suspended"));
    set_alice(&world, employee::State::Active);
    check(&world.open(6, alice(6)).unwrap(), WireState::Pending, None);
    set_alice(&world, employee::State::Removed);
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
fn an_exempt_login_is_let_in_and_on_record_with_its_rule() {
    let mut world = World::new();
    let scope = Scope { from: vec!["192.0.2.0/24".parse().unwrap()], ..Scope::default() };
    world.rules.policy.rules.push(Rule { line: 7, scope, says: Says::Exempt });
    check(&world.open(1, alice(1)).unwrap(), WireState::Approved, None);
    assert_eq!(world.story(1), ["login.approved", "login.collected"]);
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

#[derive(Debug, Clone, Copy)]
enum Act {
    Poll(u64),
    Cancel,
    Approve,
    Deny,
    Pass(u64),
    Sweep,
    OpenAgain,
    Restart,
    Suspend,
    Resume,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..=30_u64).prop_map(Act::Poll),
        Just(Act::Cancel),
        Just(Act::Approve),
        Just(Act::Deny),
        (1..20_u64).prop_map(Act::Pass),
        Just(Act::Sweep),
        Just(Act::OpenAgain),
        Just(Act::Restart),
        Just(Act::Suspend),
        Just(Act::Resume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_interleaving_gives_one_decision_one_ask_and_a_whole_record(acts in prop::collection::vec(act(), 1..25)) {
        let mut world = World::new();
        employ(&world, "alice");
        world.open(1, alice(1)).unwrap();
        let (mut let_in, mut suspended) = (false, false);
        for act in acts {
            match act {
                Act::Poll(wait) => let_in |= world.poll(1, wait).state == WireState::Approved,
                Act::Cancel => let_in |= world.cancel(1).state == WireState::Approved,
                Act::Approve => drop(world.answer(1, "console:root", Answer::Approve)),
                Act::Deny => drop(world.answer(1, "console:root", Answer::Deny)),
                Act::Pass(seconds) => world.pass(seconds),
                Act::Sweep => world.sweep(),
                Act::OpenAgain => let_in |= world.open(1, alice(1)).unwrap().state == WireState::Approved,
                Act::Restart => world.restart(),
                Act::Suspend if !suspended => set_alice(&world, employee::State::Suspended),
                Act::Resume if suspended => set_alice(&world, employee::State::Active),
                Act::Suspend | Act::Resume => {}
            }
            suspended = match act {
                Act::Suspend => true,
                Act::Resume => false,
                _ => suspended,
            };
            prop_assert!(!suspended || world.poll(1, 0).state != WireState::Approved, "a suspended person was let in");
        }
        let story = world.story(1);
        let count = |kinds: &[&str]| story.iter().filter(|kind| kinds.contains(&kind.as_str())).count();
        prop_assert!(count(&["login.approved", "login.denied", "login.expired", "login.cancelled"]) <= 1, "{story:?}");
        prop_assert!(count(&["login.collected", "login.lapsed"]) <= count(&["login.approved"]), "{story:?}");
        prop_assert_eq!(let_in, count(&["login.collected"]) == 1, "{:?}", story);
        let asks = world.fixture.db.read_blocking(|tx| store::asks::of(tx, &login_id(1))).unwrap();
        prop_assert_eq!(asks.len(), 1);
        prop_assert!(world.verified());
    }
}

#[test]
fn time_is_kept_to_the_microsecond_in_the_row() {
    let world = World::new();
    world.open(1, alice(1)).unwrap();
    let login = world.fixture.db.read_blocking(|tx| store::by_id(tx, &login_id(1))).unwrap().unwrap();
    assert_eq!(login.opened_at, Time::from_micros(crate::db::testing::START));
    assert_eq!(login.life.expires_at.since(login.opened_at), WINDOW);
}

#[test]
fn machines_that_go_by_the_auth_token_share_one_cap_and_no_login() {
    let mut world = World::new();
    let claimed = |name: &str, secret: &str| {
        let name = name.parse::<MachineName>().unwrap().claimed();
        let (token, login) = (SecretHash::of("token"), SecretHash::of(secret));
        let claim = Claim { token, name, login, address: "192.0.2.1".parse().unwrap() };
        let caller = world
            .fixture
            .db
            .write_blocking("test", move |tx| roster::service::claimed(tx, &claim, Some("0.1.0")));
        caller.unwrap().unwrap()
    };
    let callers = [claimed("web1", "a"), claimed("web1", "b"), claimed("web2", "a")];
    let user = |id: u8| OpenLogin { user: format!("user{id}").parse().unwrap(), ..alice(u16::from(id)) };
    assert_eq!(callers[0].machine_id, callers[1].machine_id);
    assert_eq!(callers[0].name.as_str(), "claimed:web1");
    for id in 1..=5 {
        world.caller = callers[usize::from(id) % 2].clone();
        assert_eq!(world.open(id, user(id)).unwrap().state, WireState::Pending);
    }
    world.caller = callers[0].clone();
    assert!(matches!(world.open(1, user(1)), Err(Error::Conflict(_))), "it was opened with another secret");
    world.caller = callers[2].clone();
    assert_eq!(world.open(6, user(6)).unwrap().reason.unwrap().as_str(), "too-many-pending");
}
