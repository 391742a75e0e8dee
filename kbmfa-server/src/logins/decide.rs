//! What a person's answer does: whether it counts, and what it decides. Each function is one action inside the caller's
//! transaction, with its audit entry.

use kbmfa_proto::names::LoginId;
use kbmfa_proto::text::Shown;

use super::service::{CONSOLE, Rules, about, apply, facts};
use super::state::{Input, State};
use super::store::asks::{self, Ask, Given};
use super::store::{self, Login};
use super::{Error, notifications};
use crate::audit::{Actor, Kind, store as audit};
use crate::channels::{self, Answer, LiveAnswer};
use crate::db::Tx;
use crate::policy::{self, Approver, Approvers, Before, Counts, Facts, Reach, Verdict};
use crate::random;

/// What became of a person's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// It decided the login.
    Decided(Box<Login>),
    /// It did not count, for this reason. It is on record all the same.
    DidNotCount(String),
}

/// Somebody at the server's console, as far as the system knows them.
#[derive(Debug, Clone)]
pub struct AtConsole {
    /// Named by the login uid, or without one by the uid.
    pub person: Approver,
    /// Who `SUDO_USER` says it is.
    pub claim: Option<Shown>,
    /// Whether there is a login uid. Without one, everybody who may become root is `console:root`.
    pub has_login: bool,
}

impl AtConsole {
    fn actor(&self) -> Actor {
        Actor { who: self.person.to_string(), claim: self.claim.clone() }
    }

    /// Why their answer does not count where it matters who answers.
    fn is_anybody(&self, ask: &Ask) -> Option<String> {
        let tells_apart = ask.approvers != Approvers::Anyone;
        (tells_apart && !self.has_login).then(|| {
            format!(
                "no login uid is set here, so {} may be anybody who can become that user, and this rule tells approvers \
                 apart; log in to the server (ssh, with pam_loginuid) and answer from there",
                self.person
            )
        })
    }
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
    let who = AtConsole { person: person.clone(), claim: None, has_login: true };
    answer_at_console(tx, rules, id, &who, answer, note)
}

/// Somebody at the console answers.
///
/// # Errors
/// [`Error::NotFound`].
pub fn answer_at_console(
    tx: &Tx<'_>,
    rules: &Rules,
    id: &LoginId,
    who: &AtConsole,
    answer: Answer,
    note: Option<&Shown>,
) -> Result<Answered, Error> {
    let mut login = store::by_id(tx, id)?.ok_or_else(|| Error::NotFound(id.to_string()))?;
    apply(tx, rules, &mut login, Input::Tick, &Actor::new("clock"))?;
    let ask = asks::of(tx, id)?.into_iter().next();
    let rejection = rejection_reason(tx, rules, &login, ask.as_ref(), &who.person)?;
    let rejection = rejection.or_else(|| ask.as_ref().and_then(|ask| who.is_anybody(ask)));
    let standing = LiveAnswer { person: who.person.clone(), answer, rejection };
    record_answer(tx, &login, ask.as_ref(), (&standing, who.actor()), note)?;
    if let Some(rejection) = standing.rejection {
        return Ok(Answered::DidNotCount(rejection));
    }
    apply(tx, rules, &mut login, Input::Answer(answer), &who.actor())?;
    Ok(Answered::Decided(Box::new(login)))
}

/// Decides by what a message says at this moment: any Deny of somebody who may answer outweighs every Approve. Answers that
/// do not count go on record once, and whose they are is told why; who has not answered clearly is told `how`.
///
/// # Errors
/// [`Error::NotFound`].
pub fn apply_answers(
    tx: &Tx<'_>,
    rules: &Rules,
    id: &LoginId,
    answers: &channels::Answers,
    how: &str,
) -> Result<(), Error> {
    let mut login = store::by_id(tx, id)?.ok_or_else(|| Error::NotFound(id.to_string()))?;
    apply(tx, rules, &mut login, Input::Tick, &Actor::new("clock"))?;
    let ask = asks::of(tx, id)?.into_iter().next();
    let mut eligible = Vec::new();
    for one in &answers.live {
        let rejection = match &one.rejection {
            Some(rejection) => Some(rejection.clone()),
            None => rejection_reason(tx, rules, &login, ask.as_ref(), &one.person)?,
        };
        let one = LiveAnswer { rejection, ..one.clone() };
        if one.rejection.is_none() {
            eligible.push(one);
        } else if !asks::was_answered(tx, id, &one.person, one.answer)? {
            let actor = Actor::new(one.person.to_string());
            record_answer(tx, &login, ask.as_ref(), (&one, actor), None)?;
            if !agrees(&login, one.answer) {
                notifications::rejection(tx, ask.as_ref(), &one)?;
            }
        }
    }
    if let (Some(ask), State::Pending) = (&ask, login.life.state) {
        for person in &answers.unclear {
            if rejection_reason(tx, rules, &login, Some(ask), person)?.is_none() {
                notifications::unclear(tx, ask, person, how)?;
            }
        }
        if answers.is_gone {
            notifications::ask_deleted(tx, ask, &login, console_counts(tx, rules, &login)?)?;
        }
    }
    if let Some(decisive) = channels::tally(&eligible) {
        answer(tx, rules, id, &decisive.person, decisive.answer, None)?;
    }
    Ok(())
}

/// Whether answers at the console count beside the relay's, by the terms as they are now.
///
/// # Errors
/// What the database says.
pub fn console_counts(tx: &Tx<'_>, rules: &Rules, login: &Login) -> Result<bool, Error> {
    let facts = facts(tx, rules, (&login.machine_id, &login.machine), &login.opened)?;
    let terms = policy::terms_for(&rules.policy, &facts.subject);
    Ok(rules.relay != CONSOLE && policy::counts_at_console(terms))
}

/// Whoever said the same as what was decided need not be told that it came too late.
fn agrees(login: &Login, answer: Answer) -> bool {
    matches!((login.life.state, answer), (State::Approved, Answer::Approve) | (State::Denied, Answer::Deny))
}

fn record_answer(
    tx: &Tx<'_>,
    login: &Login,
    ask: Option<&Ask>,
    (standing, actor): (&LiveAnswer, Actor),
    note: Option<&Shown>,
) -> Result<(), Error> {
    let LiveAnswer { person, answer, rejection } = standing;
    if let Some(ask) = ask {
        let (id, note) = (random::hex::<16>()?, note.map(Shown::as_str));
        let rejection = rejection.as_deref();
        asks::insert_answer(tx, &Given { id, ask: &ask.id, person, answer: *answer, rejection, note })?;
    }
    let kind = if rejection.is_some() { Kind::AnswerRejected } else { Kind::AnswerGiven };
    let event = about(login, kind, actor).detail("answer", answer.as_str());
    audit::append(tx, &event.maybe("why-not", rejection.as_ref()).maybe("note", note))?;
    Ok(())
}

/// Why this person's answer to this login does not count; `None` if it does. Policy speaks again here, so
/// that what has changed since the ask counts - but not limits and cool-downs, which are about asking.
fn rejection_reason(
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
    let facts = facts(tx, rules, (&login.machine_id, &login.machine), &login.opened)?;
    let before = if facts.before == Before::DeniedRecently { Before::Nothing } else { facts.before };
    // That nobody can be asked any more is no reason why somebody who was should not answer; the console may,
    // where it takes the relay's place.
    let relay = match facts.relay {
        Reach::Down if rules.policy.console_when_down => Reach::Down,
        Reach::Up | Reach::Starting | Reach::Down => Reach::Up,
    };
    let now = Facts { before, relay, counts: Counts::default(), ..facts };
    let was_asked = policy::is_among(&ask.approvers, &now.person, person);
    Ok(match policy::judge(&rules.policy, &now) {
        Verdict::Ask(terms) if policy::may_answer(&terms, &now.person, person) && was_asked => None,
        // It would not be asked about any more; whoever was asked may still answer.
        Verdict::Allow(_) if was_asked && (rules.relay == CONSOLE || !person.is_at_console()) => None,
        Verdict::Ask(_) | Verdict::Allow(_) => {
            Some(format!("{person} is not among the approvers of this login"))
        }
        verdict => Some(format!("policy has come to another verdict: {}", verdict.as_str())),
    })
}
