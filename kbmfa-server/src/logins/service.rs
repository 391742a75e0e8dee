//! What can happen to a login: each function is one action inside the caller's transaction, with its audit
//! entry. The decisions are made by `policy::judge` and `state::step`; here they are carried out.

use kbmfa_proto::login::{FirstFactor, KEY_BYTES_MAX, LoginReply, OpenLogin, State as WireState};
use kbmfa_proto::names::LoginId;
use kbmfa_proto::text::Shown;
use std::time::Duration;

use super::Error;
use super::key;
use super::state::{self, Change, Grace, Input, Life, State};
use super::store::{self, Ask, Given, Login};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{self, Tx};
use crate::policy::{self, Approver, Facts, Refusal, Verdict};
use crate::random;
use crate::relay::{Answer, text};
use crate::roster::service::Caller;

/// What the operator has decided about logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who may enter.
    pub policy: policy::Settings,
    /// Where asks go: the relay, and where in it.
    pub destination: (String, String),
    /// How long a silent machine is waited for.
    pub grace: Grace,
}

/// Opens a login and judges it, or finds the one that this very request opened before.
///
/// # Errors
/// [`Error::Conflict`] if the id stands for another login, [`Error::Bad`] if the report makes no sense.
pub fn open(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    id: &LoginId,
    opened: &OpenLogin,
) -> Result<LoginReply, Error> {
    let login = match store::by_id(tx, id)? {
        Some(known) if known.machine_id == caller.machine_id && known.opened == *opened => known,
        Some(_) => return Err(Error::Conflict(id.clone())),
        None => enter(tx, rules, caller, id, opened)?,
    };
    Ok(read(tx, rules, login, Duration::ZERO)?.1)
}

/// The machine asks how its login stands, and will wait so long for the answer. Reading an approval
/// collects it. Returns the poll's number with the reply.
///
/// # Errors
/// [`Error::NotFound`] if the machine has no such login.
pub fn poll(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    id: &LoginId,
    wait: Duration,
) -> Result<(i64, LoginReply), Error> {
    let login = of_machine(tx, caller, id)?;
    read(tx, rules, login, wait)
}

/// The machine gives its login up.
///
/// # Errors
/// [`Error::NotFound`] if the machine has no such login.
pub fn cancel(tx: &Tx<'_>, rules: &Rules, caller: &Caller, id: &LoginId) -> Result<LoginReply, Error> {
    let mut login = of_machine(tx, caller, id)?;
    apply(tx, rules, &mut login, Input::Cancel, &Actor::machine(&caller.name))?;
    Ok(reply(&login, tx, rules))
}

/// What became of a person's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// It decided the login.
    Decided(Box<Login>),
    /// It did not count, for this reason. It is on record all the same.
    DidNotCount(String),
}

/// A person answers, by the full id of a login.
///
/// # Errors
/// [`Error::NotFound`].
pub fn answer(
    tx: &Tx<'_>,
    rules: &Rules,
    id: &LoginId,
    person: &Approver,
    answer: Answer,
    note: Option<&Shown>,
) -> Result<Answered, Error> {
    let mut login = store::by_id(tx, id)?.ok_or_else(|| Error::NotFound(id.to_string()))?;
    apply(tx, rules, &mut login, Input::Tick, &Actor::new("clock"))?;
    let ask = store::asks_of(tx, id)?.into_iter().next();
    let why_not = why_not(tx, rules, &login, ask.as_ref(), person)?;
    if let Some(ask) = &ask {
        let (id, note) = (random::hex::<16>()?, note.map(Shown::as_str));
        let given = Given { id, ask: &ask.id, person, answer, why_not: why_not.as_deref(), note };
        store::insert_answer(tx, &given)?;
    }
    let kind = if why_not.is_some() { Kind::AnswerRejected } else { Kind::AnswerGiven };
    let event = about(&login, kind, Actor::new(person.to_string())).detail("answer", answer.as_str());
    audit::append(tx, &event.maybe("why-not", why_not.as_ref()).maybe("note", note))?;
    if let Some(why_not) = why_not {
        return Ok(Answered::DidNotCount(why_not));
    }
    apply(tx, rules, &mut login, Input::Answer(answer), &Actor::new(person.to_string()))?;
    Ok(Answered::Decided(Box::new(login)))
}

/// Lets time pass for every login to which it matters; returns those that it changed.
///
/// # Errors
/// What the database says.
pub fn sweep(tx: &Tx<'_>, rules: &Rules) -> Result<Vec<LoginId>, Error> {
    let mut changed = Vec::new();
    for mut login in store::due(tx, rules.grace.length)? {
        if apply(tx, rules, &mut login, Input::Tick, &Actor::new("clock"))? != Change::None {
            changed.push(login.id);
        }
    }
    Ok(changed)
}

/// A poll's connection broke: if the machine does not ask again within the grace, it is taken for gone.
///
/// # Errors
/// What the database says.
pub fn poll_broke(tx: &Tx<'_>, rules: &Rules, id: &LoginId, poll: i64) -> Result<(), Error> {
    Ok(store::shorten(tx, id, poll, tx.now + rules.grace.length)?)
}

/// Cancels everything that a machine still waits for, since the machine is being removed.
///
/// # Errors
/// What the database says.
pub fn cancel_all_of(tx: &Tx<'_>, rules: &Rules, machine_id: &str, actor: &Actor) -> Result<(), Error> {
    for mut login in store::unfinished_of(tx, machine_id)? {
        apply(tx, rules, &mut login, Input::Cancel, actor)?;
    }
    Ok(())
}

/// Finds a login by the beginning of its id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Ambiguous`].
pub fn find(tx: &Tx<'_>, prefix: &str) -> Result<Login, Error> {
    let hex = prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut found = if hex && !prefix.is_empty() { store::by_prefix(tx, prefix)? } else { Vec::new() };
    match (found.pop(), found.pop()) {
        (Some(login), None) => Ok(login),
        (None, _) => Err(Error::NotFound(Shown::new(prefix).to_string())),
        (Some(_), Some(_)) => Err(Error::Ambiguous(prefix.to_owned())),
    }
}

/// Records that the relay has posted an ask.
///
/// # Errors
/// What the database says.
pub fn ask_posted(tx: &Tx<'_>, relay: &str, ask: &Ask, message: &str) -> Result<(), Error> {
    if store::posted(tx, &ask.id, message)?
        && let Some(login) = store::by_id(tx, &ask.login)?
    {
        let event = about(&login, Kind::AskPosted, Actor::new(format!("relay:{relay}")));
        audit::append(tx, &event.detail("destination", &ask.destination.1).detail("message", message))?;
    }
    Ok(())
}

fn of_machine(tx: &Tx<'_>, caller: &Caller, id: &LoginId) -> Result<Login, Error> {
    let login = store::by_id(tx, id)?.filter(|login| login.machine_id == caller.machine_id);
    login.ok_or_else(|| Error::NotFound(id.to_string()))
}

fn enter(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    id: &LoginId,
    opened: &OpenLogin,
) -> Result<Login, Error> {
    let key = match &opened.first_factor {
        FirstFactor::Publickey { key } if key.len() > KEY_BYTES_MAX => {
            return Err(Error::Bad("the key is too long"));
        }
        FirstFactor::Publickey { key } => {
            Some(key::fingerprint(key).ok_or(Error::Bad("first_factor.key is not a public key line"))?)
        }
        FirstFactor::Sshd | FirstFactor::Stack => None,
    };
    let ssh = opened.connection.ssh.map(|ssh| ssh.client.ip().to_canonical().to_string());
    let source = ssh.or_else(|| opened.rhost.as_ref().map(Shown::to_string));
    let (same_user, on_machine) = store::pending(tx, &caller.machine_id, &opened.user, source.as_deref())?;
    let facts = facts(tx, &caller.machine_id, opened, (same_user, on_machine))?;
    let verdict = policy::judge(&rules.policy, &facts);
    let (state, reason) = match &verdict {
        Verdict::Refuse(Refusal::DeniedBefore) => (State::Denied, Some("denied-before")),
        Verdict::Refuse(Refusal::TooManyPending) => (State::Denied, Some("too-many-pending")),
        Verdict::Allow => (State::Approved, None),
        Verdict::Rehearse => (State::Rehearsed, None),
        Verdict::Ask(_) | Verdict::Hold => (State::Pending, None),
    };
    let decided = state != State::Pending;
    let login = Login {
        id: id.clone(),
        machine_id: caller.machine_id.clone(),
        machine: caller.name.clone(),
        opened: opened.clone(),
        source,
        key,
        verdict: verdict.as_str().to_owned(),
        life: Life {
            state,
            expires_at: tx.now + rules.policy.window,
            lapses_at: tx.now + rules.grace.length,
            decided_at: decided.then_some(tx.now),
            collected_at: None,
            lapsed_at: None,
        },
        reason: reason.map(str::to_owned),
        decided_by: decided.then(|| "policy".to_owned()),
        opened_at: tx.now,
        poll: 0,
    };
    store::insert(tx, &login)?;
    record_opening(tx, &login)?;
    if let Verdict::Ask(approvers) = verdict {
        let destination = rules.destination.clone();
        store::insert_ask(
            tx,
            &Ask { id: random::hex::<16>()?, login: id.clone(), destination, approvers, message: None },
        )?;
    }
    Ok(login)
}

fn record_opening(tx: &Tx<'_>, login: &Login) -> Result<(), Error> {
    let opened = &login.opened;
    let phase = serde_json::to_value(opened.phase).ok().and_then(|phase| phase.as_str().map(str::to_owned));
    let event = about(login, Kind::LoginOpened, Actor::machine(&login.machine))
        .detail("verdict", &login.verdict)
        .detail("service", &opened.service)
        .maybe("phase", phase)
        .maybe("source", login.source.as_ref())
        .maybe("tty", opened.tty.as_ref())
        .maybe("key", login.key.as_ref())
        .detail("module", &opened.module_version);
    audit::append(tx, &event)?;
    let ended = match login.life.state {
        State::Denied => Kind::LoginDenied,
        State::Approved => Kind::LoginApproved,
        State::Rehearsed => Kind::LoginRehearsed,
        State::Pending | State::Expired | State::Cancelled => return Ok(()),
    };
    let reason = login.reason.as_deref().or((ended == Kind::LoginApproved).then_some("same-connection"));
    audit::append(tx, &about(login, ended, Actor::new("policy")).maybe("reason", reason))?;
    Ok(())
}

fn facts(
    tx: &Tx<'_>,
    machine_id: &str,
    opened: &OpenLogin,
    (pending_same_user, pending_on_machine): (u64, u64),
) -> Result<Facts, db::Error> {
    Ok(Facts {
        account: opened.account,
        rehearsal: opened.rehearsal,
        before: store::before(tx, machine_id, opened)?,
        pending_same_user,
        pending_on_machine,
    })
}

/// Why this person's answer to this login does not count; `None` if it does. Policy speaks again here, so
/// that what has changed since the ask counts.
fn why_not(
    tx: &Tx<'_>,
    rules: &Rules,
    login: &Login,
    ask: Option<&Ask>,
    person: &Approver,
) -> Result<Option<String>, Error> {
    if login.life.state != State::Pending {
        let by = login.decided_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
        return Ok(Some(format!("the login is {} already{by}", login.life.state)));
    }
    let Some(ask) = ask else { return Ok(Some("nobody is asked about this login".into())) };
    // The login itself is among those that wait.
    let (same_user, all) = store::pending(tx, &login.machine_id, login.user(), login.source.as_deref())?;
    let others = (same_user.saturating_sub(1), all.saturating_sub(1));
    Ok(match policy::judge(&rules.policy, &facts(tx, &login.machine_id, &login.opened, others)?) {
        Verdict::Ask(approvers) if approvers.include(person) && ask.approvers.include(person) => None,
        Verdict::Ask(_) => Some(format!("{person} is not among the approvers of this login")),
        verdict => Some(format!("policy has come to another verdict: {}", verdict.as_str())),
    })
}

fn read(tx: &Tx<'_>, rules: &Rules, mut login: Login, wait: Duration) -> Result<(i64, LoginReply), Error> {
    let machine = Actor::machine(&login.machine);
    apply(tx, rules, &mut login, Input::Poll(wait), &machine)?;
    Ok((login.poll, reply(&login, tx, rules)))
}

/// Takes one step and writes down what it changed.
fn apply(tx: &Tx<'_>, rules: &Rules, login: &mut Login, input: Input, by: &Actor) -> Result<Change, Error> {
    let (life, change) = state::step(login.life, input, tx.now, rules.grace);
    let is_held = matches!(input, Input::Poll(wait) if !wait.is_zero()) && life.state == State::Pending;
    if life == login.life && !is_held {
        return Ok(change);
    }
    login.poll += i64::from(is_held);
    login.life = life;
    let clock = Actor::new("clock");
    let (kind, actor, reason) = match change {
        Change::None => {
            store::update(tx, login)?;
            return Ok(change);
        }
        Change::Approved => (Kind::LoginApproved, by, None),
        Change::Denied => (Kind::LoginDenied, by, Some("denied")),
        Change::Expired => (Kind::LoginExpired, &clock, Some("no-answer")),
        Change::Cancelled => (Kind::LoginCancelled, by, Some("hung-up")),
        Change::MachineGone => (Kind::LoginCancelled, &clock, Some("machine-gone")),
        Change::Collected => (Kind::LoginCollected, by, None),
        Change::Lapsed => {
            (Kind::LoginLapsed, if input == Input::Cancel { by } else { &clock }, Some("lapsed"))
        }
    };
    if life.decided_at == Some(tx.now) && !matches!(change, Change::Collected | Change::Lapsed) {
        login.decided_by = Some(actor.who.clone());
    }
    login.reason = reason.map(str::to_owned);
    store::update(tx, login)?;
    if change != Change::Collected {
        store::end_asks(tx, &login.id)?;
    }
    audit::append(tx, &about(login, kind, actor.clone()).maybe("reason", reason))?;
    Ok(change)
}

fn about(login: &Login, kind: Kind, actor: Actor) -> Event {
    let (id, user) = (Some(login.id.clone()), Some(login.user().clone()));
    Event { login: id, user, ..Event::new(kind, actor).machine(&login.machine) }
}

/// What the machine is told. An approval that it may not use any more reads as expired.
fn reply(login: &Login, tx: &Tx<'_>, rules: &Rules) -> LoginReply {
    let (life, short) = (&login.life, login.id.short());
    let left = life.expires_at.since(tx.now);
    let (state, say) = match life.state {
        State::Pending => (WireState::Pending, Some(text::say_pending(short, left))),
        State::Approved if state::lets_in(life, tx.now, rules.grace.length) => (WireState::Approved, None),
        State::Approved => (WireState::Expired, Some(text::say_lapsed(short))),
        State::Denied => (WireState::Denied, Some(say_denied(login))),
        State::Expired => (WireState::Expired, Some(text::say_no_answer(short))),
        State::Cancelled => (WireState::Cancelled, Some(text::say_cancelled(short))),
        State::Rehearsed => (WireState::Rehearsed, None),
    };
    let reason = if state == WireState::Expired && life.state == State::Approved {
        Some("lapsed")
    } else {
        login.reason.as_deref()
    };
    LoginReply {
        id: login.id.clone(),
        state,
        reason: reason.map(Shown::from),
        say: say.map(Shown::from),
        prompt: None,
        expires_in_ms: (state == WireState::Pending)
            .then(|| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn say_denied(login: &Login) -> String {
    match login.reason.as_deref() {
        Some("denied-before") => text::say_denied_before(),
        Some("too-many-pending") => text::say_too_many_pending(),
        _ => text::say_denied(login.id.short()),
    }
}
