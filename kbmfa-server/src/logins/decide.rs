//! Decides whether an answer counts, and applies it. Each function is one action inside the caller's
//! transaction, with its event. It reads the facts once, and a pure function of these facts decides whether
//! the answer counts.

use kbmfa_proto::names::LoginId;
use kbmfa_proto::text::SafeText;

use super::events::about;
use super::facts::facts;
use super::rules::Rules;
use super::service::apply;
use super::state::{Input, State};
use super::store::asks::{self, Ask, Given};
use super::store::{self, Login};
use super::{Error, notifications};
use crate::audit::{Actor, Kind, store as audit};
use crate::channels::{self, Answer, LiveAnswer};
use crate::db::Tx;
use crate::policy::{self, Approver, Approvers, Before, Channel, Counts, Facts, Person, Reach, Verdict};
use crate::random;

/// The effect of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// It decided the login.
    Decided(Box<Login>),
    /// It did not count, for this reason. The audit log has it.
    DidNotCount(String),
}

/// A person at the server's console, as the operating system knows them.
#[derive(Debug, Clone)]
pub struct AtConsole {
    /// Named after the login uid, or after the uid if there is none.
    pub person: Approver,
    /// The value of `SUDO_USER`, which proves nothing.
    pub claim: Option<SafeText>,
    /// True if a login uid is set. Without one, everybody who can become root is `console:root`.
    pub has_login: bool,
}

impl AtConsole {
    fn actor(&self) -> Actor {
        Actor { who: self.person.to_string(), claim: self.claim.clone() }
    }

    /// The reason why an answer without a login uid does not count: the rule tells approvers apart.
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

/// A login that is being answered, its asks, and the verdict that policy gives now.
struct Case {
    login: Login,
    asks: Vec<Ask>,
    person: Person,
    verdict: Verdict,
}

impl Case {
    /// Reads the login, expires it if its time is over, and judges it again.
    fn read(tx: &Tx<'_>, rules: &Rules, id: &LoginId) -> Result<Self, Error> {
        let mut login = store::by_id(tx, id)?.ok_or_else(|| Error::NotFound(id.to_string()))?;
        apply(tx, rules, &mut login, Input::Tick, &Actor::new("clock"))?;
        let asks = asks::of(tx, id)?;
        let facts = facts(tx, rules, (&login.machine_id, &login.machine), &login.opened)?;
        let (person, verdict) = (facts.person.clone(), judge_again(&rules.policy, facts));
        Ok(Self { login, asks, person, verdict })
    }

    /// The ask that this person answers: the one in their channel, or the first if their channel takes over for another.
    fn ask_of(&self, person: &Approver) -> Option<&Ask> {
        self.asks.iter().find(|ask| person.is_in(ask.channel)).or_else(|| self.asks.first())
    }

    /// The reason why this person's answer does not count; `None` if it counts.
    fn rejection(&self, person: &Approver) -> Option<String> {
        let login = &self.login;
        if login.life.state != State::Pending {
            let by = login.decided_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
            return Some(format!("the login is {} already{by}", login.life.state));
        }
        let Some(ask) = self.ask_of(person) else {
            return Some("nobody is asked about this login".into());
        };
        let was_asked = policy::is_among(&ask.approvers, &self.person, person);
        match &self.verdict {
            Verdict::Ask(terms) if was_asked && policy::may_answer(terms, &self.person, person) => None,
            // Meanwhile a rule exempts the login. People who were asked may still answer.
            Verdict::Allow(_) if was_asked && person.is_in(ask.channel) => None,
            Verdict::Ask(_) | Verdict::Allow(_) => {
                Some(format!("{person} is not among the approvers of this login"))
            }
            verdict => Some(format!("policy has come to another verdict: {}", verdict.as_str())),
        }
    }

    /// Records an answer that counts, and decides the login accordingly.
    fn decide(
        mut self,
        tx: &Tx<'_>,
        rules: &Rules,
        one: &LiveAnswer,
        actor: &Actor,
        note: Option<&SafeText>,
    ) -> Result<Login, Error> {
        self.record(tx, one, actor.clone(), note)?;
        apply(tx, rules, &mut self.login, Input::Answer(one.answer), actor)?;
        Ok(self.login)
    }

    fn record(
        &self,
        tx: &Tx<'_>,
        one: &LiveAnswer,
        actor: Actor,
        note: Option<&SafeText>,
    ) -> Result<(), Error> {
        let LiveAnswer { person, answer, rejection } = one;
        if let Some(ask) = self.ask_of(person) {
            let (id, note) = (random::hex::<16>()?, note.map(SafeText::as_str));
            let rejection = rejection.as_deref();
            asks::insert_answer(tx, &Given { id, ask: &ask.id, person, answer: *answer, rejection, note })?;
        }
        let kind = if rejection.is_some() { Kind::AnswerRejected } else { Kind::AnswerGiven };
        let event = about(&self.login, kind, actor).detail("answer", answer.as_str());
        audit::append(tx, &event.maybe("why-not", rejection.as_ref()).maybe("note", note))?;
        Ok(())
    }

    /// True if the answer agrees with the decision. Its author then need not be told that it was late.
    fn agrees(&self, answer: Answer) -> bool {
        let state = self.login.life.state;
        matches!((state, answer), (State::Approved, Answer::Approve) | (State::Denied, Answer::Deny))
    }
}

/// Judges a login again when an answer comes, so that changes since the ask count. Limits and cool-downs do
/// not count now, because they limit asking. Nor does a chat that has gone down, because people were asked
/// already.
fn judge_again(policy: &policy::Settings, facts: Facts) -> Verdict {
    let before = if facts.before == Before::DeniedRecently { Before::Nothing } else { facts.before };
    let chat = facts.chat;
    let now = Facts { before, counts: Counts::default(), ..facts };
    match policy::judge(policy, &now) {
        Verdict::Refuse(policy::Refusal::RelayDown) if chat == Reach::Down => {
            policy::judge(policy, &Facts { chat: Reach::Up, ..now })
        }
        verdict => verdict,
    }
}

/// Applies the answer of a person whose identity is proven.
///
/// # Errors
/// [`Error::NotFound`].
pub fn answer(
    tx: &Tx<'_>,
    rules: &Rules,
    id: &LoginId,
    person: &Approver,
    answer: Answer,
    note: Option<&SafeText>,
) -> Result<Answered, Error> {
    let who = AtConsole { person: person.clone(), claim: None, has_login: true };
    answer_at_console(tx, rules, id, &who, answer, note)
}

/// Applies an answer from the console.
///
/// # Errors
/// [`Error::NotFound`].
pub fn answer_at_console(
    tx: &Tx<'_>,
    rules: &Rules,
    id: &LoginId,
    who: &AtConsole,
    answer: Answer,
    note: Option<&SafeText>,
) -> Result<Answered, Error> {
    let case = Case::read(tx, rules, id)?;
    let rejection = case.rejection(&who.person);
    let rejection = rejection.or_else(|| case.ask_of(&who.person).and_then(|ask| who.is_anybody(ask)));
    let one = LiveAnswer { person: who.person.clone(), answer, rejection };
    if let Some(rejection) = &one.rejection {
        case.record(tx, &one, who.actor(), note)?;
        return Ok(Answered::DidNotCount(rejection.clone()));
    }
    Ok(Answered::Decided(Box::new(case.decide(tx, rules, &one, &who.actor(), note)?)))
}

/// Applies the answers that are on the messages of an ask. A Deny that counts outweighs every Approve. An
/// answer that does not count is recorded once, and its author is told why. A person with an unclear reaction
/// is told `how` to answer.
///
/// # Errors
/// [`Error::NotFound`].
pub fn apply_answers(
    tx: &Tx<'_>,
    rules: &Rules,
    ask: &Ask,
    answers: &channels::Answers,
    how: &str,
) -> Result<(), Error> {
    let case = Case::read(tx, rules, &ask.login)?;
    let mut eligible = Vec::new();
    for one in &answers.live {
        let rejection = one.rejection.clone().or_else(|| case.rejection(&one.person));
        let one = LiveAnswer { rejection, ..one.clone() };
        if one.rejection.is_none() {
            eligible.push(one);
        } else if !asks::was_answered(tx, &ask.login, &one.person, one.answer)? {
            case.record(tx, &one, Actor::new(one.person.to_string()), None)?;
            if !case.agrees(one.answer) {
                notifications::rejection(tx, ask, &one)?;
            }
        }
    }
    if case.login.life.state == State::Pending {
        for person in answers.unclear.iter().filter(|person| case.rejection(person).is_none()) {
            notifications::unclear(tx, ask, person, how)?;
        }
        if answers.is_gone {
            let console = case.asks.iter().any(|ask| ask.channel == Channel::Console);
            notifications::ask_deleted(tx, ask, &case.login, console)?;
        }
    }
    if let Some(decisive) = channels::tally(&eligible) {
        let actor = Actor::new(decisive.person.to_string());
        case.decide(tx, rules, decisive, &actor, None)?;
    }
    Ok(())
}
