//! Actions on a login: each function is one action inside the caller's transaction, with its event. `policy::judge` and
//! `state::step` decide; the functions here apply the decision.

use kbmfa_proto::account::LocalCaller;
use kbmfa_proto::login::{
    Account, FirstFactor, KEY_BYTES_MAX, LoginReply, OpenLogin, State as WireState, WAIT_S_MAX,
};
use kbmfa_proto::names::LoginId;
use kbmfa_proto::text::SafeText;
use std::time::Duration;

use super::Error;
use super::asking::ask_in;
use super::events::about;
use super::facts::{facts, origin};
use super::grants;
use super::key;
use super::keys;
use super::notifications;
use super::own;
use super::people;
use super::prompt_texts;
use super::rules::Rules;
use super::state::{self, Change, Input, Life, Revocation, State};
use super::store::asks;
use super::store::{self, Login};
use crate::audit::{Actor, Kind, store as audit};
use crate::db::Tx;
use crate::employees::ledger::service as ledger;
use crate::machines;
use crate::machines::caller::Caller;
use crate::policy::{self, Grounds, Person, Refusal, Verdict};

/// The result of opening a login.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The reply to the machine.
    pub reply: LoginReply,
    /// False if an earlier request opened it, or if there is no login to keep: the server's own one.
    pub is_new: bool,
}

/// Opens a login and judges it. A repeated request finds the login that it opened before.
///
/// # Errors
/// [`Error::Conflict`] if another login has the id, [`Error::Bad`] if the report is invalid.
pub fn open(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    id: &LoginId,
    opened: &OpenLogin,
) -> Result<Opened, Error> {
    let opened = opened.clone().canonical();
    let known = store::by_id(tx, id)?;
    let is_new = known.is_none();
    let login = match known {
        Some(known) if owns(caller, &known) && known.opened == opened => known,
        Some(_) => return Err(Error::Conflict(id.clone())),
        None => match own::enter(tx, rules, caller, id, &opened)? {
            Some(reply) => return Ok(Opened { reply, is_new: false }),
            None => enter(tx, rules, caller, id, &opened)?,
        },
    };
    Ok(Opened { reply: read(tx, rules, login, Duration::ZERO)?.1, is_new })
}

/// Handles a poll of the machine, which will wait at most `wait` for the reply. Reading an approval collects
/// it. Returns the poll's number and the reply.
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
    match of_machine(tx, caller, id) {
        Ok(login) => read(tx, rules, login, wait),
        Err(error) => Ok((0, own::poll(tx, caller, id)?.ok_or(error)?)),
    }
}

/// [`poll`] without a write, if a poll that waits this long has nothing to write; otherwise `None`. Returns
/// the number of the last poll that was written, and the reply.
///
/// # Errors
/// [`Error::NotFound`] if the machine has no such login.
pub fn look(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    id: &LoginId,
    wait: Duration,
) -> Result<Option<(i64, LoginReply)>, Error> {
    let login = of_machine(tx, caller, id)?;
    let is_present = state::is_present(&login.life, tx.now, wait, rules.grace);
    Ok(is_present.then(|| (login.poll, reply(&login, tx, rules))))
}

/// Cancels a login for its machine.
///
/// # Errors
/// [`Error::NotFound`] if the machine has no such login.
pub fn cancel(tx: &Tx<'_>, rules: &Rules, caller: &Caller, id: &LoginId) -> Result<LoginReply, Error> {
    let mut login = match of_machine(tx, caller, id) {
        Ok(login) => login,
        Err(error) => return own::cancel(tx, caller, id)?.ok_or(error),
    };
    apply(tx, rules, &mut login, Input::Cancel, &Actor::machine(&caller.name))?;
    Ok(reply(&login, tx, rules))
}

/// Finds a login by the first digits of its id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Ambiguous`].
pub fn find(tx: &Tx<'_>, prefix: &str) -> Result<Login, Error> {
    let hex = prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut found = if hex && !prefix.is_empty() { store::by_prefix(tx, prefix)? } else { Vec::new() };
    match (found.pop(), found.pop()) {
        (Some(login), None) => Ok(login),
        (None, _) => Err(Error::NotFound(SafeText::new(prefix).to_string())),
        (Some(_), Some(_)) => Err(Error::Ambiguous(prefix.to_owned())),
    }
}

fn of_machine(tx: &Tx<'_>, caller: &Caller, id: &LoginId) -> Result<Login, Error> {
    let login = store::by_id(tx, id)?.filter(|login| owns(caller, login));
    login.ok_or_else(|| Error::NotFound(id.to_string()))
}

/// True if this machine opened the login. Machines that share the `AUTH_TOKEN` prove that by the login's
/// secret.
fn owns(caller: &Caller, login: &Login) -> bool {
    caller.machine_id == login.machine_id && caller.login == login.secret
}

fn enter(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    id: &LoginId,
    opened: &OpenLogin,
) -> Result<Login, Error> {
    let key = fingerprint(opened)?;
    let facts = facts(tx, rules, (&caller.machine_id, &caller.name), opened)?;
    let verdict = policy::judge(&rules.policy, &facts);
    let state = match &verdict {
        Verdict::Refuse(_) => State::Denied,
        Verdict::Allow(_) => State::Approved,
        Verdict::DryRun => State::Rehearsed,
        Verdict::Ask(_) | Verdict::Stall => State::Pending,
    };
    let decided = state != State::Pending;
    let (source, source_key) = origin(opened).map(|origin| (origin.shown, origin.key)).unzip();
    let login = Login {
        id: id.clone(),
        machine_id: caller.machine_id.clone(),
        machine: caller.name.clone(),
        opened: opened.clone(),
        secret: caller.login.clone(),
        source,
        source_key: source_key.unwrap_or_default(),
        key,
        verdict: verdict.as_str().to_owned(),
        life: Life {
            state,
            expires_at: tx.now + policy::terms_for(&rules.policy, &facts.subject).window,
            // This also covers the first poll, so that the first poll need not write anything.
            lapses_at: tx.now + Duration::from_secs(WAIT_S_MAX) + rules.grace.length,
            decided_at: decided.then_some(tx.now),
            collected_at: None,
            lapsed_at: None,
        },
        reason: match &verdict {
            Verdict::Refuse(refusal) => Some(refusal.code().to_owned()),
            _ => None,
        },
        decided_by: decided.then(|| "policy".to_owned()),
        opened_at: tx.now,
        poll: 0,
    };
    store::insert(tx, &login)?;
    machines::store::set_resolves(tx, &caller.machine_id, opened)?;
    if let (Account::Known, Some(uid)) = (opened.account, rules.uid_of_ledger(caller, opened.uid)) {
        ledger::note_seen(tx, &caller.machine_id, uid)?;
    }
    record_opening(tx, &login, &verdict)?;
    match verdict {
        Verdict::Ask(terms) => {
            terms.channels.iter().try_for_each(|channel| ask_in(tx, &login, &terms, *channel))?;
        }
        // A dry run is in the audit log, but causes no notice.
        Verdict::Refuse(_) if opened.rehearsal => {}
        Verdict::Refuse(refusal) if refusal.is_limit() => {
            notifications::of_limit(tx, rules, &login, refusal)?;
        }
        Verdict::Refuse(refusal) if rules.post.refusals => {
            notifications::of_refusal(tx, rules, &login, refusal)?;
        }
        _ => {}
    }
    Ok(login)
}

/// Fingerprint of the key that was used, if the module reported one.
fn fingerprint(opened: &OpenLogin) -> Result<Option<String>, Error> {
    match &opened.first_factor {
        FirstFactor::Publickey { key } if key.len() > KEY_BYTES_MAX => Err(Error::Bad("the key is too long")),
        FirstFactor::Publickey { key } => match key::read(key) {
            Some(key) => Ok(Some(key.fingerprint)),
            None => Err(Error::Bad("first_factor.key is not a public key line")),
        },
        FirstFactor::Sshd | FirstFactor::Stack => Ok(None),
    }
}

fn record_opening(tx: &Tx<'_>, login: &Login, verdict: &Verdict) -> Result<(), Error> {
    let opened = &login.opened;
    let phase = serde_json::to_value(opened.phase).ok().and_then(|phase| phase.as_str().map(str::to_owned));
    let event = about(login, Kind::LoginOpened, Actor::machine(&login.machine))
        .detail("verdict", &login.verdict)
        .detail("service", &opened.service)
        .maybe("phase", phase)
        .maybe("source", login.source.as_ref())
        .maybe("tty", opened.tty.as_ref())
        .maybe("key", login.key.as_ref())
        .maybe("certificate", login.certificate())
        .maybe("typed", opened.typed.as_ref())
        .maybe("uid", opened.uid)
        .maybe("uid-user", opened.uid_user.as_ref())
        .maybe("account", people::has_expired(opened, tx.now).then_some("expired"))
        .maybe("caller", opened.caller.as_ref().and_then(LocalCaller::account))
        .maybe("caller-login", opened.caller.as_ref().and_then(|caller| caller.login_user.as_ref()))
        .maybe("rehearsal", opened.rehearsal.then_some("yes"))
        .detail("module", &opened.module_version);
    audit::append(tx, &event)?;
    let (kind, reason, line) = match verdict {
        Verdict::Refuse(refusal) => (Kind::LoginDenied, Some(refusal.code()), None),
        Verdict::Allow(Grounds::SameConnection) => (Kind::LoginApproved, Some("same-connection"), None),
        Verdict::Allow(Grounds::Exempt { line }) => (Kind::LoginApproved, Some("exempt"), Some(*line)),
        Verdict::DryRun => (Kind::LoginRehearsed, None, None),
        Verdict::Ask(_) | Verdict::Stall => return Ok(()),
    };
    audit::append(
        tx,
        &about(login, kind, Actor::new("policy")).maybe("reason", reason).maybe("rule-line", line),
    )?;
    Ok(())
}

fn read(tx: &Tx<'_>, rules: &Rules, mut login: Login, wait: Duration) -> Result<(i64, LoginReply), Error> {
    // An approval of somebody who is suspended or removed, or has lost the grant or the key, does not count, whether it is
    // read for the first time or again.
    if login.life.state == State::Approved
        && let Some(why) = revoked(tx, rules, &login)?
    {
        apply(tx, rules, &mut login, Input::Revoke(why), &Actor::new("policy"))?;
        return Ok((login.poll, refusal(&login, why)));
    }
    let machine = Actor::machine(&login.machine);
    apply(tx, rules, &mut login, Input::Poll(wait), &machine)?;
    Ok((login.poll, reply(&login, tx, rules)))
}

fn revoked(tx: &Tx<'_>, rules: &Rules, login: &Login) -> Result<Option<Revocation>, Error> {
    let key = keys::of(tx, &login.opened)?;
    Ok(match Person::of_all(people::about(tx, &login.opened, key.as_ref())?) {
        Person::Suspended => Some(Revocation::Suspended),
        Person::Removed => Some(Revocation::Removed),
        Person::Unknown | Person::Employee(_) => match keys::revocation(key.as_ref()) {
            Some(why) => Some(why),
            None => grants::is_missing(tx, rules, &login.machine_id, (&login.opened, key.as_ref()))?
                .then_some(Revocation::NoGrant),
        },
    })
}

/// The stable code, which docs/protocol.md lists.
fn code_of(why: Revocation) -> &'static str {
    match why {
        Revocation::Suspended => Refusal::Suspended.code(),
        Revocation::Removed => Refusal::Removed.code(),
        Revocation::NoGrant => Refusal::NoGrant.code(),
        Revocation::RevokedKey => Refusal::RevokedKey.code(),
        Revocation::PendingKey => Refusal::PendingKey.code(),
        Revocation::MachineRemoved => "machine-removed",
        Revocation::RelayDown => Refusal::RelayDown.code(),
        Revocation::Restored => "restored",
    }
}

/// The reply for an approval that no longer counts.
fn refusal(login: &Login, why: Revocation) -> LoginReply {
    let code = code_of(why);
    let say = Some(prompt_texts::refused(code, login.id.short()).into());
    let (id, reason) = (login.id.clone(), Some(code.into()));
    LoginReply { id, state: WireState::Denied, reason, say, expires_in_ms: None, held_ms: None }
}

/// Applies one input to a login, and records what it changed.
pub(super) fn apply(
    tx: &Tx<'_>,
    rules: &Rules,
    login: &mut Login,
    input: Input,
    by: &Actor,
) -> Result<Change, Error> {
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
        Change::Revoked(why) => (Kind::LoginDenied, by, Some(code_of(why))),
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
        asks::end_all(tx, &login.id)?;
    }
    audit::append(tx, &about(login, kind, actor.clone()).maybe("reason", reason))?;
    Ok(change)
}

/// The reply to the machine. An approval that the machine may no longer use is reported as expired.
fn reply(login: &Login, tx: &Tx<'_>, rules: &Rules) -> LoginReply {
    let (life, short) = (&login.life, login.id.short());
    let left = life.expires_at.since(tx.now);
    let (state, say) = match life.state {
        State::Pending => (WireState::Pending, Some(prompt_texts::pending(short, left))),
        State::Approved if state::lets_in(life, tx.now, rules.grace.length) => (WireState::Approved, None),
        State::Approved => (WireState::Expired, Some(prompt_texts::approval_expired(short))),
        State::Denied => (
            WireState::Denied,
            Some(prompt_texts::refused(login.reason.as_deref().unwrap_or_default(), short)),
        ),
        State::Expired => (WireState::Expired, Some(prompt_texts::no_answer(short))),
        State::Cancelled => (WireState::Cancelled, Some(prompt_texts::cancelled(short))),
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
        reason: reason.map(SafeText::from),
        say: say.map(SafeText::from),
        expires_in_ms: (state == WireState::Pending)
            .then(|| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        held_ms: None,
    }
}
