//! Tests of logins through the public functions, on a real database and with a clock that the test moves.

use kbmfa_proto::login::{
    Account, Capabilities, Connection, FirstFactor, LoginReply, OpenLogin, Phase, SshConnection,
    State as WireState,
};
use kbmfa_proto::names::{LoginId, MachineName};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

use super::decide::{self, Answered};
use super::ending;
use super::rules::Rules;
use super::service;
use super::state::Grace;
use super::{Error, store};
use crate::audit::Actor;
use crate::audit::store as audit;
use crate::audit::store::search::{Filter, search};
use crate::channels::Answer;
use crate::clock::{Clock, Time};
use crate::db::Tx;
use crate::db::testing::{Fixture, fixture};
use crate::employees;
use crate::employees::store::Employee;
use crate::machines;
use crate::machines::caller::{Caller, Claim};
use crate::policy::{Approvers, Channel, Limits, RequireGrant, Rule, Says, Scope, Settings, Terms};
use crate::secret::SecretHash;
use crate::usecases::employees as employment;
use crate::usecases::testing::enter_machine;

mod accounts;
mod answers;
mod grants;
mod interleaving;
mod keys;
mod limits;
mod look_backs;
mod opening;
mod own;
mod silence;

const GRACE: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(60);

/// One server and one machine.
struct World {
    fixture: Fixture,
    rules: Rules,
    caller: Caller,
}

impl World {
    fn new() -> Self {
        Self::of(fixture())
    }

    fn of(fixture: Fixture) -> Self {
        let caller = enter_machine(&fixture, "web1");
        let default = Terms {
            approvers: Approvers::Anyone,
            channels: vec![Channel::Console],
            channels_when_down: Vec::new(),
            window: WINDOW,
            destination: "console".into(),
        };
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
        let grace = Grace { length: GRACE, listening_since: Some(fixture.clock.now()) };
        let rules = Rules {
            policy,
            chat: None,
            cool_down: Duration::ZERO,
            grace,
            auth_token: None,
            post: crate::channels::Post::default(),
            keep: Duration::MAX,
            uids: employees::ledger::Uids::default(),
            added_keys: crate::keys::AddedKeys::default(),
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
        self.act(move |tx, rules, caller| {
            service::open(tx, rules, caller, &login_id(id), &opened).map(|opened| opened.reply)
        })
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
        self.act(move |tx, rules, _| decide::answer(tx, rules, &login_id(id), &person, answer, None)).unwrap()
    }

    fn sweep(&self) {
        self.act(|tx, rules, _| ending::sweep(tx, rules)).unwrap();
    }

    fn pass(&self, seconds: u64) {
        self.fixture.clock.advance(Duration::from_secs(seconds));
    }

    /// Starts a new process: opens the database again, and counts silence from now on.
    fn restart(&mut self) {
        let clock = self.fixture.clock.clone();
        self.rules.grace.listening_since = Some(clock.now());
        self.fixture.db = self.fixture.reopen();
    }

    /// The kinds of a login's events after its opening.
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

pub(crate) fn login_id(byte: u8) -> LoginId {
    LoginId::from_random([byte; 16])
}

/// A login of alice at sshd, on connection number `connection`.
pub(crate) fn alice(connection: u16) -> OpenLogin {
    let ssh = SshConnection {
        client: ([192, 0, 2, 7], 50_000 + connection).into(),
        server: ([192, 0, 2, 1], 22).into(),
    };
    OpenLogin {
        phase: Phase::Auth,
        service: "sshd".into(),
        user: "alice".parse().unwrap(),
        typed: None,
        account: Account::Known,
        uid: Some(1000),
        uid_user: None,
        expires_day: None,
        caller: None,
        rhost: None,
        tty: Some("ssh".into()),
        connection: Connection { id: format!("boot.{connection}").into(), ssh: Some(ssh) },
        first_factor: FirstFactor::Sshd,
        capabilities: Capabilities { text: true, prompt: false },
        rehearsal: false,
        module_version: "0.1.0".into(),
        host: None,
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

fn employ(world: &World, unix_name: &'static str) {
    let employee = Employee {
        id: unix_name.into(),
        email: format!("{unix_name}@example.com").parse().unwrap(),
        name: unix_name.into(),
        unix_name: unix_name.parse().unwrap(),
        keybase_name: None,
        state: employees::State::Active,
        created_at: Time::from_micros(0),
        changed_at: Time::from_micros(0),
    };
    let new = employment::New { employee, uid: None, pools: Vec::new() };
    let uids = world.rules.uids;
    let add = move |tx: &Tx<'_>| employment::add(tx, uids, &Actor::new("console:root"), &new);
    world.fixture.db.write_blocking("test", add).unwrap();
}

/// Suspends, resumes or removes alice, as the command line does.
fn set_alice(world: &World, state: employees::State) {
    let (rules, actor) = (world.rules.clone(), Actor::new("console:root"));
    let set = move |tx: &Tx<'_>| {
        employment::set_state(tx, &rules, &actor, &"alice@example.com".parse().unwrap(), state)
    };
    world.fixture.db.write_blocking("test", set).unwrap();
}
