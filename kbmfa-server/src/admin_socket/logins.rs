//! What each `login` verb reads and checks, as functions on a transaction. The command line calls them on the
//! database, and the server calls them for its socket.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

use super::Refusal;
use super::request::{Decision, ListQuery, WatchQuery};
use super::rows::{LoginRow, Presence, SessionRow, StateName};
use crate::audit::store as audit;
use crate::audit::store::archive;
use crate::audit::store::search::{Filter as EventFilter, Found, search};
use crate::clock::Time;
use crate::db::Tx;
use crate::logins::decide::Answered;
use crate::logins::store::{self, Filter, Login};
use crate::logins::{Error, Rules, service};
use crate::retention::pruned_before;
use crate::sessions::store as sessions;

/// Digits of an id that an answer needs. With fewer digits a typing error could name another login.
const DIGITS_TO_DECIDE: usize = 8;

/// Number of the newest logins that a watch reads. Recent changes are among them.
const WATCHED_MAX: i64 = 1000;

/// Maximum number of one login's events that are shown: far more than usual.
const EVENTS_MAX: i64 = 10_000;

/// The reply to `login.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoginList {
    /// The newest first.
    pub logins: Vec<LoginRow>,
    /// Whether there are more than the limit.
    pub is_cut: bool,
}

/// Lists logins.
pub fn list(tx: &Tx<'_>, query: &ListQuery) -> Result<LoginList, Refusal> {
    // One more than is printed, to know whether there are more.
    let limit = query.limit.saturating_add(1);
    let found: Vec<Login> = if query.unopened {
        let ids = sessions::unopened(tx, limit)?;
        let found: Result<Vec<_>, _> = ids.iter().map(|id| store::by_id(tx, id)).collect();
        found?.into_iter().flatten().collect()
    } else {
        let states = query.states.iter().map(|StateName(state)| *state).collect();
        let (user, machine) = (query.user.clone(), query.machine.clone());
        store::newest(tx, &Filter { states, user, machine, since: query.since }, limit)?
    };
    let rows: Result<Vec<_>, Refusal> =
        found.into_iter().map(|login| Ok(with_sessions(tx, login)?.0)).collect();
    let mut logins = rows?;
    let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let is_cut = logins.len() > wanted;
    logins.truncate(wanted);
    Ok(LoginList { logins, is_cut })
}

/// A login with what the machine reported about its sessions.
fn with_sessions(tx: &Tx<'_>, login: Login) -> Result<(LoginRow, Vec<SessionRow>), Error> {
    // If its approval was not collected it has no session, but another login of its connection may have one.
    let is_in = login.life.collected_at.is_some();
    let found = if is_in { sessions::of(tx, &login)? } else { Vec::new() };
    let presence = match (found.is_empty(), found.iter().any(sessions::Session::is_open)) {
        (true, _) => Presence::None,
        (false, true) => Presence::Open,
        (false, false) => Presence::Closed,
    };
    let row = LoginRow { session: Some(presence), ..LoginRow::from(login) };
    Ok((row, found.into_iter().map(SessionRow::from).collect()))
}

/// The reply to `login.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginDetails {
    /// A login that exists.
    Known(Box<LoginStory>),
    /// A pruned login, of which only its events are left.
    Pruned(PrunedLogin),
}

/// A login with its sessions and its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoginStory {
    /// The login as `list` has it.
    #[serde(flatten)]
    pub login: LoginRow,
    /// Its sessions.
    pub sessions: Vec<SessionRow>,
    /// What policy decided when it was opened.
    pub verdict: String,
    /// Length of the window.
    pub window_ms: u64,
    /// Its events in the order of time, each with `after_ms`, the time since it was opened.
    pub story: Vec<Value>,
    /// File of the newest archive, in which older events of this login may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
}

/// What is left of a login that was pruned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrunedLogin {
    /// The complete id.
    pub id: String,
    /// Always true, so that a program can tell the two kinds of replies apart.
    pub pruned: bool,
    /// Its events in the order of time.
    pub story: Vec<Value>,
}

/// Shows one login.
pub fn show(tx: &Tx<'_>, id: &str) -> Result<LoginDetails, Refusal> {
    let login = match service::find(tx, id) {
        Err(Error::NotFound(_)) => return pruned(tx, id).map(LoginDetails::Pruned),
        found => found?,
    };
    let filter =
        EventFilter { login: Some(login.id.to_string()), limit: EVENTS_MAX, ..EventFilter::default() };
    let story: Vec<Value> =
        search(tx, &filter)?.iter().map(|event| with_time_since(event, login.opened_at)).collect();
    let archived = archive::newest(tx)?.filter(|_| story.is_empty());
    let (verdict, window) = (login.verdict.clone(), login.life.expires_at.since(login.opened_at));
    let (login, sessions) = with_sessions(tx, login)?;
    Ok(LoginDetails::Known(Box::new(LoginStory {
        login,
        sessions,
        verdict,
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        story,
        archive: archived.map(|cut| cut.archive.file.to_string()),
    })))
}

fn pruned(tx: &Tx<'_>, id: &str) -> Result<PrunedLogin, Refusal> {
    let is_hex = !id.is_empty() && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let filter = EventFilter { login: Some(id.to_owned()), limit: EVENTS_MAX, ..EventFilter::default() };
    let events = if is_hex { search(tx, &filter)? } else { Vec::new() };
    let ids: BTreeSet<String> =
        events.iter().filter_map(|event| Some(body(event)?.get("login")?.as_str()?.to_owned())).collect();
    let mut ids = ids.into_iter();
    let (login, other) = (ids.next(), ids.next());
    let Some(login) = login else {
        let nothing = Refusal::from(service::find(tx, id).err().unwrap_or(Error::NotFound(id.to_owned())));
        return Err(match pruned_before(tx)? {
            Some(before) => {
                nothing.hint(format!("logins from before {before} were pruned{}", in_archive(tx)?))
            }
            None => nothing,
        });
    };
    if other.is_some() {
        return Err(Error::Ambiguous(id.to_owned()).into());
    }
    let opened = events.first().and_then(|event| body(event)?.get("at")?.as_i64());
    let opened = Time::from_micros(opened.unwrap_or_default());
    let story = events.iter().map(|event| with_time_since(event, opened)).collect();
    Ok(PrunedLogin { id: login, pruned: true, story })
}

fn in_archive(tx: &Tx<'_>) -> Result<String, Refusal> {
    let archived = archive::newest(tx)?
        .map(|cut| format!("; archived events are in {} and the files before it", cut.archive.file));
    Ok(archived.unwrap_or_default())
}

fn body(event: &Found) -> Option<Value> {
    serde_json::from_str(&event.body).ok()
}

fn with_time_since(event: &Found, opened: Time) -> Value {
    let mut row = event.row();
    if let Some(fields) = row.as_object_mut() {
        let at = fields.get("at").and_then(Value::as_i64).map(Time::from_micros);
        let after = at.and_then(|at| u64::try_from(at.since(opened).as_millis()).ok());
        fields.insert("after_ms".into(), after.into());
    }
    row
}

/// The reply to `login.watch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// The newest logins, the newest first; absent if nothing has changed since `seen`.
    pub logins: Option<Vec<LoginRow>>,
    /// Notices that came due after the requested moment, oldest first.
    pub notices: Vec<NoticeRow>,
    /// Number of the newest event: `seen` of the next request.
    pub head: i64,
    /// Whether an answer from the console needs a reason.
    pub needs_reason: bool,
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeRow {
    /// When it came due, in microseconds since 1970.
    pub at: Time,
    /// The text.
    pub text: String,
}

/// Reads changes. Every change of a login has an event, so the number of the newest event shows whether there
/// are any.
pub fn news(tx: &Tx<'_>, rules: &Rules, query: &WatchQuery) -> Result<News, Refusal> {
    let head = audit::head(tx)?.seq;
    let logins = if query.seen == Some(head) {
        None
    } else {
        let newest = store::newest(tx, &Filter::default(), WATCHED_MAX)?;
        Some(newest.into_iter().map(LoginRow::from).collect())
    };
    let notices = store::notices::after(tx, query.noticed)?
        .into_iter()
        .map(|(at, notice)| NoticeRow { at, text: notice.text })
        .collect();
    Ok(News { logins, notices, head, needs_reason: needs_reason(rules) })
}

/// True if an answer at the console needs a reason: if people are also asked in a chat.
fn needs_reason(rules: &Rules) -> bool {
    rules.chat.is_some()
}

/// Checks that a decision has enough digits of the id, and a reason if one is needed.
pub fn check(decision: &Decision, rules: &Rules) -> Result<(), Refusal> {
    let Decision { id, reason } = decision;
    if id.len() < DIGITS_TO_DECIDE {
        return Err(Refusal::new(format!("{id:?} is too short to decide about a login"))
            .hint(format!("give {DIGITS_TO_DECIDE} digits of its id at least, as `login list` shows them")));
    }
    if let (Some(chat), None) = (rules.chat, reason) {
        let error = format!("asks go to {chat}: an answer from here needs a reason");
        return Err(Refusal::new(error).hint("add --reason TEXT"));
    }
    Ok(())
}

/// The login after an answer, or why the answer did not count.
pub fn decided(answered: Answered) -> Result<LoginRow, Refusal> {
    match answered {
        Answered::Decided(login) => Ok(LoginRow::from(*login)),
        Answered::DidNotCount(why) => Err(Refusal::new(format!("your answer did not count: {why}"))),
    }
}
