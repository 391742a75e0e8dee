//! Who may enter: pure functions over facts. No clock, no database, no async.

mod approver;
mod lint;
mod rule;

pub use approver::{Approver, Approvers, BadApprover};
pub use lint::{Known, lint};
pub use rule::{Mismatch, Rule, Says, Scope, Subject, Terms};

use kbmfa_proto::login::Account;
use std::time::Duration;

/// What the operator has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Rules; the first one that fits speaks.
    pub rules: Vec<Rule>,
    /// What is said where no rule fits.
    pub default: Terms,
    /// How much is too much.
    pub limits: Limits,
}

/// How much is too much. What counts per user counts per source address too, so that the thief of a key
/// cannot lock its owner out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Logins of one user from one address to one machine that may wait at once.
    pub pending_per_user: u64,
    /// Logins of one machine that may wait at once.
    pub pending_per_machine: u64,
    /// Asks in a minute for one user from one address.
    pub asks_per_user: u64,
    /// Asks in a minute for one machine.
    pub asks_per_machine: u64,
}

/// What is known about a login when it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who wants to go where.
    pub subject: Subject,
    /// The person behind the Unix account, if the roster knows one.
    pub person: Person,
    /// Whether the account exists on the machine.
    pub account: Account,
    /// Whether it is a dry run.
    pub rehearsal: bool,
    /// What was decided before.
    pub before: Before,
    /// Logins that wait already: same machine, user and address.
    pub pending_same_user: u64,
    /// Logins that wait already: same machine.
    pub pending_on_machine: u64,
    /// Asks in the last minute: same user and address.
    pub asks_same_user: u64,
    /// Asks in the last minute: same machine.
    pub asks_on_machine: u64,
}

/// The person behind a Unix account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// The roster knows nobody by this account.
    Unknown,
    /// An employee, who answers under these names.
    Employee(Vec<Approver>),
    /// An employee who is suspended.
    Suspended,
    /// Somebody who was an employee.
    Removed,
}

/// What was decided before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing that matters.
    Nothing,
    /// On the same ssh connection somebody approved, and the machine collected that.
    Approved,
    /// On the same ssh connection it was denied.
    Denied,
    /// The same user from the same address was denied on this machine a moment ago.
    DeniedRecently,
}

/// What policy says before any human.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Do not let them in, and ask nobody.
    Refuse(Refusal),
    /// Let them in without asking.
    Allow(Grounds),
    /// Ask, on these terms.
    Ask(Terms),
    /// Ask nobody, and take as long about it as if somebody had been asked.
    Hold,
    /// A dry run: it ends here.
    Rehearse,
}

impl Settings {
    /// The longest time that a login may have to wait.
    pub fn longest_window(&self) -> Duration {
        let ruled = self.rules.iter().filter_map(|rule| match &rule.says {
            Says::Ask(terms) => Some(terms.window),
            Says::Exempt => None,
        });
        ruled.max().unwrap_or_default().max(self.default.window)
    }
}

impl Verdict {
    /// One word for the record.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refuse(_) => "refuse",
            Self::Allow(_) => "allow",
            Self::Ask(_) => "ask",
            Self::Hold => "hold",
            Self::Rehearse => "rehearse",
        }
    }
}

/// Why nobody has to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// The connection was approved a moment ago.
    SameConnection,
    /// A rule says so; it stands on this line.
    Exempt {
        /// The line of the configuration file.
        line: usize,
    },
}

/// Why policy refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The employee is suspended.
    Suspended,
    /// The employee was removed.
    Removed,
    /// The connection was denied already.
    DeniedBefore,
    /// The same was denied a moment ago.
    DeniedRecently,
    /// Too many logins wait already.
    TooManyPending,
    /// Too many asks in the last minute.
    TooManyAsks,
    /// Nobody may approve their own login here, and the roster does not know whose this is.
    UnknownPerson,
}

impl Refusal {
    /// The stable code of docs/protocol.md.
    pub fn code(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Removed => "removed",
            Self::DeniedBefore => "denied-before",
            Self::DeniedRecently => "denied-recently",
            Self::TooManyPending => "too-many-pending",
            Self::TooManyAsks => "too-many-asks",
            Self::UnknownPerson => "unknown-person",
        }
    }

    /// True if it is about how much is too much.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::TooManyPending | Self::TooManyAsks)
    }
}

/// Judges one login. The order is the rule: somebody who may not enter at all, then what was denied, then
/// limits, then the rules in their order, then the default.
pub fn judge(settings: &Settings, facts: &Facts) -> Verdict {
    if let Some(refusal) = refused_outright(facts) {
        return Verdict::Refuse(refusal);
    }
    if facts.rehearsal {
        return Verdict::Rehearse;
    }
    if facts.before == Before::Approved {
        return Verdict::Allow(Grounds::SameConnection);
    }
    if facts.before == Before::DeniedRecently {
        return Verdict::Refuse(Refusal::DeniedRecently);
    }
    if let Some(refusal) = over_limit(&settings.limits, facts) {
        return Verdict::Refuse(refusal);
    }
    let spoken = speaking_rule(settings, &facts.subject);
    match spoken.map(|rule| (&rule.says, rule.line)) {
        _ if facts.account == Account::Missing => Verdict::Hold,
        Some((Says::Exempt, line)) => Verdict::Allow(Grounds::Exempt { line }),
        Some((Says::Ask(terms), _)) => ask(terms, &facts.person),
        None => ask(&settings.default, &facts.person),
    }
}

/// The rule that speaks about a login, if one does.
pub fn speaking_rule<'a>(settings: &'a Settings, login: &Subject) -> Option<&'a Rule> {
    settings.rules.iter().find(|rule| rule.scope.fits(login).is_ok())
}

/// The terms on which people are asked about a login, or would be.
pub fn terms_for<'a>(settings: &'a Settings, login: &Subject) -> &'a Terms {
    match speaking_rule(settings, login).map(|rule| &rule.says) {
        Some(Says::Ask(terms)) => terms,
        Some(Says::Exempt) | None => &settings.default,
    }
}

/// True if `who` may answer about a login of the person `behind` it.
pub fn may_answer(approvers: &Approvers, behind: &Person, who: &Approver) -> bool {
    match (approvers, behind) {
        (Approvers::Anyone, _) => true,
        (Approvers::List(people), _) => people.contains(who),
        (Approvers::NotSelf, Person::Employee(own_names)) => !own_names.contains(who),
        (Approvers::NotSelf, Person::Unknown | Person::Suspended | Person::Removed) => false,
    }
}

fn refused_outright(facts: &Facts) -> Option<Refusal> {
    match (&facts.person, facts.before) {
        (Person::Suspended, _) => Some(Refusal::Suspended),
        (Person::Removed, _) => Some(Refusal::Removed),
        (_, Before::Denied) => Some(Refusal::DeniedBefore),
        _ => None,
    }
}

fn over_limit(limits: &Limits, facts: &Facts) -> Option<Refusal> {
    let crowded = facts.pending_same_user >= limits.pending_per_user
        || facts.pending_on_machine >= limits.pending_per_machine;
    let rushed =
        facts.asks_same_user >= limits.asks_per_user || facts.asks_on_machine >= limits.asks_per_machine;
    match (crowded, rushed) {
        (true, _) => Some(Refusal::TooManyPending),
        (false, true) => Some(Refusal::TooManyAsks),
        (false, false) => None,
    }
}

fn ask(terms: &Terms, person: &Person) -> Verdict {
    match (&terms.approvers, person) {
        (Approvers::NotSelf, Person::Unknown) => Verdict::Refuse(Refusal::UnknownPerson),
        _ => Verdict::Ask(terms.clone()),
    }
}

#[cfg(test)]
mod tests;
