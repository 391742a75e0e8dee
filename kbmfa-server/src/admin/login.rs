//! `login ..`: see who waits, and decide.

mod show;

use clap::{Args as ClapArgs, Subcommand};
use kbmfa_proto::names::{LoginId, MachineName, UserName};
use kbmfa_proto::text::Shown as Text;
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;

use super::{Admin, Failure, print, session};
use crate::clock::{Clock, SystemClock, Time};
use crate::db::{Db, Tx};
use crate::logins::answering::{self, Answered};
use crate::logins::state::State;
use crate::logins::store::{self, Login};
use crate::logins::{Error, service};
use crate::policy::Approver;
use crate::relay::{self, Answer};
use crate::sessions::store as sessions;

/// How often `watch` looks for changes.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Digits of an id that a decision needs: fewer are mistyped too easily.
const DIGITS_TO_DECIDE: usize = 8;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// List logins, newest first.
    List {
        /// Only those in this state.
        #[arg(long)]
        state: Option<State>,
        /// Only those that were let in over a minute ago and never opened a session, on machines that report
        /// sessions.
        #[arg(long, conflicts_with = "state")]
        unopened: bool,
        /// So many at the most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// Show one login: what is known of it, and its whole story in the order of time.
    Show {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Print each login as it comes and as it ends, until interrupted.
    Watch,
    /// Approve a login that waits.
    Approve(Decision),
    /// Deny a login that waits.
    Deny(Decision),
}

/// Which login, and why.
#[derive(ClapArgs)]
pub struct Decision {
    /// Its id, or the beginning of it.
    id: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Does it.
///
/// # Errors
/// What went wrong.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { state, unopened, limit } => list(admin, state, unopened, limit),
        Verb::Show { id } => show::run(admin, &id),
        Verb::Watch => watch(admin),
        Verb::Approve(decision) => decide(admin, decision, Answer::Approve),
        Verb::Deny(decision) => decide(admin, decision, Answer::Deny),
    }
}

#[derive(Serialize)]
struct Shown {
    id: LoginId,
    machine: MachineName,
    user: UserName,
    service: Text,
    source: Option<String>,
    key: Option<String>,
    state: &'static str,
    reason: Option<String>,
    decided_by: Option<String>,
    opened: String,
    expires: String,
    collected: Option<String>,
    lapsed: Option<String>,
    /// `open`, `closed` or `none`; null where nobody has looked.
    session: Option<&'static str>,
}

impl From<Login> for Shown {
    fn from(login: Login) -> Self {
        Self {
            machine: login.machine.clone(),
            user: login.user().clone(),
            service: login.opened.service.clone(),
            state: login.life.state.as_str(),
            opened: login.opened_at.to_string(),
            expires: login.life.expires_at.to_string(),
            collected: login.life.collected_at.map(|at| at.to_string()),
            lapsed: login.life.lapsed_at.map(|at| at.to_string()),
            id: login.id,
            source: login.source,
            key: login.key,
            reason: login.reason,
            decided_by: login.decided_by,
            session: None,
        }
    }
}

/// A login with what the machine reported about its sessions.
#[derive(Serialize)]
struct WithSessions {
    #[serde(flatten)]
    login: Shown,
    sessions: Vec<session::Shown>,
}

impl WithSessions {
    fn read(tx: &Tx<'_>, login: Login) -> Result<Self, Error> {
        // One that was not let in has no session; another login of its connection may.
        let is_in = login.life.collected_at.is_some();
        let found = if is_in { sessions::of(tx, &login)? } else { Vec::new() };
        let word = match (found.is_empty(), found.iter().any(sessions::Session::is_open)) {
            (true, _) => "none",
            (false, true) => "open",
            (false, false) => "closed",
        };
        let login = Shown { session: Some(word), ..Shown::from(login) };
        Ok(Self { login, sessions: found.into_iter().map(session::Shown::from).collect() })
    }
}

impl Shown {
    fn cells(&self) -> Vec<String> {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        vec![
            self.id.short().to_owned(),
            self.opened.clone(),
            self.user.to_string(),
            self.machine.to_string(),
            self.service.to_string(),
            or_dash(&self.source),
            or_dash(&self.key),
            self.state.to_owned(),
            or_dash(&self.decided_by.clone().or_else(|| self.reason.clone())),
            self.session.filter(|word| *word != "none").unwrap_or("-").to_owned(),
        ]
    }

    fn sentence(&self) -> String {
        self.cells().join("  ")
    }
}

const HEADINGS: &[&str] =
    &["LOGIN", "OPENED", "USER", "MACHINE", "SERVICE", "FROM", "KEY", "STATE", "BY", "SESSION"];

fn list(admin: &Admin, state: Option<State>, unopened: bool, limit: i64) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let logins: Result<Vec<Shown>, Error> = db.read_blocking(|tx| {
        let found = if unopened {
            let ids = sessions::unopened(tx, limit)?;
            let found: Result<Vec<_>, _> = ids.iter().map(|id| store::by_id(tx, id)).collect();
            found?.into_iter().flatten().collect()
        } else {
            store::newest(tx, state, limit)?
        };
        found.into_iter().map(|login| Ok(WithSessions::read(tx, login)?.login)).collect()
    });
    admin.print(&logins.map_err(Failure::new)?, HEADINGS, Shown::cells)
}

fn decide(admin: &Admin, decision: Decision, answer: Answer) -> Result<(), Failure> {
    let name = admin.actor.who.strip_prefix("console:").unwrap_or(&admin.actor.who);
    let person = Approver::console(name).map_err(Failure::new)?;
    let Decision { id, reason } = decision;
    let reason = reason.map(Text::from);
    if id.len() < DIGITS_TO_DECIDE {
        return Err(Failure::new(format!("{id:?} is too short to decide about a login"))
            .hint(format!("give {DIGITS_TO_DECIDE} digits of its id at least, as `login list` shows them")));
    }
    let config = admin.become_owner()?;
    if config.relay != relay::Settings::Console && reason.is_none() {
        return Err(Failure::new(format!(
            "people are asked in {}; whoever decides here says why",
            config.relay.name()
        ))
        .hint("add --reason TEXT"));
    }
    let answered = admin.change("login.answer", move |tx, config, _| {
        let login = service::find(tx, &id)?;
        answering::answer(tx, &config.rules(None), &login.id, &person, answer, reason.as_ref())
    })?;
    match answered {
        Answered::Decided(login) => {
            let login = Shown::from(*login);
            admin.tell(&format!("login {} is {}", login.id.short(), login.state), &login)
        }
        Answered::DidNotCount(why) => Err(Failure::new(format!("your answer did not count: {why}"))),
    }
}

/// Prints a line for each login that is new or has changed, and for each notice. Looking costs one number
/// as long as nothing has.
#[expect(clippy::disallowed_methods, reason = "the command line has nothing to do between two looks")]
fn watch(admin: &Admin) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let changes = db.watch().map_err(Failure::new)?;
    let (mut version, mut shown) = (None, None);
    let mut noticed = SystemClock.now();
    loop {
        let now = Some(changes.version().map_err(Failure::new)?);
        if now != version {
            version = now;
            print_news(admin, &db, &mut shown)?;
            noticed = print_notices(admin, &db, noticed)?;
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

/// Prints what people are told besides; returns the moment of the last of it.
fn print_notices(admin: &Admin, db: &Db, after: Time) -> Result<Time, Failure> {
    let notices = db.read_blocking(|tx| store::notices::after(tx, after)).map_err(Failure::new)?;
    let mut last = after;
    for (at, notice) in notices {
        last = at;
        let json = serde_json::json!({ "notice": notice.text, "at": at.to_string() });
        admin.tell(&format!("!  {at}  {}", notice.text), &json)?;
    }
    Ok(last)
}

fn print_news(admin: &Admin, db: &Db, shown: &mut Option<HashMap<LoginId, State>>) -> Result<(), Failure> {
    let is_first = shown.is_none();
    let shown = shown.get_or_insert_default();
    let mut newest =
        db.read_blocking(|tx| Ok::<_, Error>(store::newest(tx, None, 1000)?)).map_err(Failure::new)?;
    newest.reverse();
    for login in newest {
        let state = login.life.state;
        let news = shown.insert(login.id.clone(), state) != Some(state);
        // What had ended before the watch began is history, not news.
        if news && !(is_first && state != State::Pending) {
            let login = Shown::from(login);
            if admin.json { print::print_json(&login)? } else { print::say(&login.sentence())? }
        }
    }
    Ok(())
}
