//! `login ..`: see who waits, and decide.

mod dialog;
mod list;
mod show;
mod watch;

use clap::{Args as ClapArgs, Subcommand};
use kbmfa_proto::account::LocalCaller;
use kbmfa_proto::names::{LoginId, MachineName, UserName};
use kbmfa_proto::text::Shown as Text;
use serde::Serialize;

use super::print::{Column, Moment};
use super::{Admin, Failure, session};
use crate::config::Config;
use crate::db::Tx;
use crate::logins::Error;
use crate::logins::answering::{Answered, AtConsole};
use crate::logins::store::Login;
use crate::policy::Approver;
use crate::relay::{self, Answer};
use crate::sessions::store as sessions;
use crate::usecases::logins as usecase;

/// Digits of an id that a decision needs: fewer are mistyped too easily.
const DIGITS_TO_DECIDE: usize = 8;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// List logins, newest first.
    List(list::Args),
    /// Show one login: what is known of it, and its whole story in the order of time.
    Show {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Print each login as it comes and as it ends, until interrupted. At a terminal, `a` and Enter approves a login that
    /// waits, `d` and Enter denies one, `?` and Enter explains.
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
        Verb::List(args) => list::run(admin, args),
        Verb::Show { id } => show::run(admin, &id),
        Verb::Watch => watch::run(admin),
        Verb::Approve(decision) => decide_and_tell(admin, decision, Answer::Approve),
        Verb::Deny(decision) => decide_and_tell(admin, decision, Answer::Deny),
    }
}

/// A login as it is printed.
#[derive(Serialize)]
struct Shown {
    id: LoginId,
    machine: MachineName,
    user: UserName,
    /// As the person typed it, where that differs.
    typed: Option<UserName>,
    /// Who asks, by su or sudo.
    caller: Option<LocalCaller>,
    service: Text,
    source: Option<String>,
    key: Option<String>,
    /// What the key's certificate says.
    certificate: Option<Text>,
    state: &'static str,
    reason: Option<String>,
    decided_by: Option<String>,
    opened: Moment,
    expires: Moment,
    collected: Option<Moment>,
    lapsed: Option<Moment>,
    /// `open`, `closed` or `none`; null where nobody has looked.
    session: Option<&'static str>,
}

impl From<Login> for Shown {
    fn from(login: Login) -> Self {
        Self {
            machine: login.machine.clone(),
            user: login.user().clone(),
            typed: login.opened.typed.clone(),
            caller: login.opened.caller.clone(),
            certificate: login.certificate().map(|certificate| certificate.to_string().into()),
            service: login.opened.service.clone(),
            state: login.life.state.as_str(),
            opened: login.opened_at.into(),
            expires: login.life.expires_at.into(),
            collected: login.life.collected_at.map(Moment),
            lapsed: login.life.lapsed_at.map(Moment),
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

/// What `list` prints; `watch` prints the first nine.
const COLUMNS: [Column; 10] = [
    Column::whole("LOGIN"),
    Column::whole("OPENED"),
    Column::short("USER", 6),
    Column::short("MACHINE", 6),
    Column::short("SERVICE", 4).rank(5),
    Column::short("FROM", 9).rank(2),
    Column::short("KEY", 14).rank(6),
    Column::whole("STATE").state(),
    Column::short("BY", 8).rank(3),
    Column::whole("SESSION").rank(4),
];

impl Shown {
    /// The account, how it was typed and who asks to become it, where those are others.
    fn account(&self) -> String {
        let typed = self.typed.as_ref().map(|typed| format!(" (typed {typed})")).unwrap_or_default();
        let caller =
            self.caller.as_ref().and_then(LocalCaller::account).filter(|caller| **caller != self.user);
        let caller = caller.map(|caller| format!(" (by {caller})")).unwrap_or_default();
        format!("{}{typed}{caller}", self.user)
    }

    fn cells(&self, admin: &Admin) -> Vec<String> {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        vec![
            self.id.short().to_owned(),
            admin.time(self.opened),
            self.account(),
            self.machine.to_string(),
            self.service.to_string(),
            or_dash(&self.source),
            or_dash(&self.key),
            self.state.to_owned(),
            or_dash(&self.decided_by.clone().or_else(|| self.reason.clone())),
            self.session.filter(|word| *word != "none").unwrap_or("-").to_owned(),
        ]
    }
}

/// Decides, and says what came of it.
fn decide_and_tell(admin: &Admin, decision: Decision, answer: Answer) -> Result<(), Failure> {
    let login = decide(admin, decision, answer)?;
    admin.tell(&format!("login {} is {}", login.id.short(), login.state), &login)
}

/// Puts in this person's answer about a login that waits.
fn decide(admin: &Admin, decision: Decision, answer: Answer) -> Result<Shown, Failure> {
    let name = admin.actor.who.strip_prefix("console:").unwrap_or(&admin.actor.who);
    let person = Approver::console(name).map_err(Failure::new)?;
    let who = AtConsole { person, claim: admin.actor.claim.clone(), has_login: super::owner::has_login() };
    let Decision { id, reason } = decision;
    let reason = reason.map(Text::from);
    if id.len() < DIGITS_TO_DECIDE {
        return Err(Failure::new(format!("{id:?} is too short to decide about a login"))
            .hint(format!("give {DIGITS_TO_DECIDE} digits of its id at least, as `login list` shows them")));
    }
    let config = admin.become_owner()?;
    if needs_reason(&config) && reason.is_none() {
        let error = format!("asks go to {}: an answer from here needs a reason", config.relay.name());
        return Err(Failure::new(error).hint("add --reason TEXT"));
    }
    let answered = admin.change("login.answer", move |tx, config, _| {
        usecase::decide(tx, &config.rules(None), &id, &who, answer, reason.as_ref())
    })?;
    match answered {
        Answered::Decided(login) => Ok(Shown::from(*login)),
        Answered::DidNotCount(why) => Err(Failure::new(format!("your answer did not count: {why}"))),
    }
}

/// Where people are asked in a chat, who answers here instead says why.
fn needs_reason(config: &Config) -> bool {
    config.relay != relay::Settings::Console
}
