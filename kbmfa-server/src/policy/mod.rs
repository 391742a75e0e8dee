//! Who may enter: pure functions over facts. No clock, no database, no async.

mod approver;
mod channel;
mod lint;
mod rule;

pub use approver::{Approver, Approvers, BadApprover};
pub use channel::{Channel, UnknownChannel};
pub use lint::{Known, lint};
pub use rule::{Mismatch, Rule, Says, Scope, Subject, Terms};

use kbmfa_proto::login::Account;
use kbmfa_proto::names::MachineName;
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
    /// Whether only members of the chat's team may log in.
    pub require_member: bool,
}

/// How much is too much. What counts per user counts per source address too, so that the thief of a key
/// cannot lock its owner out; and for one machine, so that the thief of a machine's credential, who can say any user
/// and any address, uses up the limits of that machine only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Logins of one user from one address to one machine that may wait at once.
    pub pending_per_user: u64,
    /// Logins of one machine that may wait at once.
    pub pending_per_machine: u64,
    /// Asks in a minute for one user from one address at one machine.
    pub asks_per_user: u64,
    /// Asks in a minute for one machine.
    pub asks_per_machine: u64,
    /// Asks in a minute for one user from one address, at all machines together: several times `asks_per_user`, which is
    /// as much as one machine can use up of it.
    pub asks_per_user_everywhere: u64,
}

/// How much there is already, each counted as far as its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Logins that wait: same machine, user and address.
    pub pending_same_user: u64,
    /// Logins that wait: same machine.
    pub pending_on_machine: u64,
    /// Asks in the last minute: same machine, user and address.
    pub asks_same_user: u64,
    /// Asks in the last minute: same machine.
    pub asks_on_machine: u64,
    /// Asks in the last minute: same user and address, on any machine.
    pub asks_everywhere: u64,
}

/// What is known about a login when it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who wants to go where.
    pub subject: Subject,
    /// The person behind the Unix account, if an employee has it.
    pub person: Person,
    /// Whether the account exists on the machine.
    pub account: Account,
    /// Whether it is a dry run.
    pub rehearsal: bool,
    /// Whether that person is a member of the chat's team.
    pub membership: Membership,
    /// Whether people can be asked in the chat.
    pub chat: Reach,
    /// What was decided before.
    pub before: Before,
    /// How much there is already.
    pub counts: Counts,
}

/// The person behind a Unix account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// No employee has this account.
    Unknown,
    /// An employee, who answers under these names.
    Employee(Vec<Approver>),
    /// An employee who is suspended.
    Suspended,
    /// Somebody who was an employee.
    Removed,
}

impl Person {
    /// Several people as one: whoever is out keeps all out, and none of them may approve.
    pub fn of_all(people: impl IntoIterator<Item = Self>) -> Self {
        people.into_iter().fold(Self::Unknown, |all, one| match (all, one) {
            (Self::Suspended, _) | (_, Self::Suspended) => Self::Suspended,
            (Self::Removed, _) | (_, Self::Removed) => Self::Removed,
            (Self::Employee(names), Self::Employee(more)) => Self::Employee([names, more].concat()),
            (Self::Employee(names), Self::Unknown) | (Self::Unknown, Self::Employee(names)) => {
                Self::Employee(names)
            }
            (Self::Unknown, Self::Unknown) => Self::Unknown,
        })
    }
}

/// Whether a person is a member of the chat's team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// By a list that is fresh enough.
    Member,
    /// By such a list they are not, or have no name there.
    Stranger,
    /// There is no such list.
    Unknown,
}

impl Membership {
    /// Of two people, each of whom has to be a member.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Stranger, _) | (_, Self::Stranger) => Self::Stranger,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Member, Self::Member) => Self::Member,
        }
    }
}

/// Whether the chat reaches people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// As far as is known. Also where there is no chat.
    Up,
    /// The server has just started, and it is not known yet. Whoever comes is asked about once people are reached.
    Starting,
    /// It does not.
    Down,
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
    /// How many rules are for this machine by its name.
    pub fn rules_that_name(&self, machine: &MachineName) -> usize {
        self.rules.iter().filter(|rule| rule.scope.machines.contains(machine)).count()
    }

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
    /// One word for the audit log.
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
    /// The employee is no member of the chat's team, and must be.
    NotAMember,
    /// Nobody can be asked: none of the rule's channels works.
    RelayDown,
    /// Nobody may approve their own login here, and no employee has this account.
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
            Self::NotAMember => "not-a-member",
            Self::RelayDown => "relay-down",
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
///
/// A rehearsal is refused like a login, so that it shows what would become of one; in no other case is it one.
pub fn judge(settings: &Settings, facts: &Facts) -> Verdict {
    match judge_login(settings, facts) {
        Verdict::Allow(_) if is_membership_awaited(settings, facts) => Verdict::Refuse(Refusal::RelayDown),
        Verdict::Refuse(refusal) => Verdict::Refuse(refusal),
        _ if facts.rehearsal => Verdict::Rehearse,
        verdict => verdict,
    }
}

fn judge_login(settings: &Settings, facts: &Facts) -> Verdict {
    if let Some(refusal) = refused_outright(settings, facts) {
        return Verdict::Refuse(refusal);
    }
    if facts.before == Before::Approved {
        return Verdict::Allow(Grounds::SameConnection);
    }
    if facts.before == Before::DeniedRecently {
        return Verdict::Refuse(Refusal::DeniedRecently);
    }
    if let Some(refusal) = over_limit(&settings.limits, facts.counts) {
        return Verdict::Refuse(refusal);
    }
    let spoken = speaking_rule(settings, &facts.subject);
    match spoken.map(|rule| (&rule.says, rule.line)) {
        _ if facts.account == Account::Missing => hold(terms_for(settings, &facts.subject), facts),
        Some((Says::Exempt, line)) => Verdict::Allow(Grounds::Exempt { line }),
        Some((Says::Ask(terms), _)) => ask(terms, facts),
        None => ask(&settings.default, facts),
    }
}

/// The rule that speaks about a login, if one does.
pub fn speaking_rule<'a>(settings: &'a Settings, login: &Subject) -> Option<&'a Rule> {
    settings.rules.iter().find(|rule| rule.fits(login).is_ok())
}

/// The terms on which people are asked about a login, or would be.
pub fn terms_for<'a>(settings: &'a Settings, login: &Subject) -> &'a Terms {
    match speaking_rule(settings, login).map(|rule| &rule.says) {
        Some(Says::Ask(terms)) => terms,
        Some(Says::Exempt) | None => &settings.default,
    }
}

/// True if `who` may answer on these terms about a login of the person `behind` it.
pub fn may_answer(terms: &Terms, behind: &Person, who: &Approver) -> bool {
    terms.channels.iter().any(|channel| who.is_in(*channel)) && is_among(&terms.approvers, behind, who)
}

/// Where people are asked now on these terms: in all of their channels if one of them works, and otherwise in those and
/// what takes over. Empty if nobody can be asked.
pub fn channels_now(terms: &Terms, chat: Reach) -> Vec<Channel> {
    let works = |channel: &Channel| *channel == Channel::Console || chat != Reach::Down;
    let mut channels = terms.channels.clone();
    if !channels.iter().any(works) {
        channels.extend(terms.channels_when_down.iter().filter(|channel| works(channel)));
    }
    if channels.iter().any(works) { channels } else { Vec::new() }
}

/// True if `who` is one of the approvers of a login of the person `behind` it.
pub fn is_among(approvers: &Approvers, behind: &Person, who: &Approver) -> bool {
    match (approvers, behind) {
        (Approvers::Anyone, _) => true,
        (Approvers::List(people), _) => people.contains(who),
        (Approvers::NotSelf, Person::Employee(own_names)) => !own_names.contains(who),
        (Approvers::NotSelf, Person::Unknown | Person::Suspended | Person::Removed) => false,
    }
}

fn refused_outright(settings: &Settings, facts: &Facts) -> Option<Refusal> {
    match (&facts.person, facts.before) {
        (Person::Suspended, _) => Some(Refusal::Suspended),
        (Person::Removed, _) => Some(Refusal::Removed),
        _ if settings.require_member => missing_member(settings, facts),
        _ => None,
    }
    .or_else(|| (facts.before == Before::Denied).then_some(Refusal::DeniedBefore))
}

/// Where only members may log in: an account that is nobody's is no member's either.
/// Nobody knows who is one while the chat is down: then another channel takes over, or nobody gets in.
fn missing_member(settings: &Settings, facts: &Facts) -> Option<Refusal> {
    match (&facts.person, facts.membership, facts.chat) {
        (Person::Unknown, _, _) => Some(Refusal::UnknownPerson),
        (_, Membership::Stranger, _) => Some(Refusal::NotAMember),
        (_, Membership::Unknown, Reach::Down) if has_substitute(settings, facts) => None,
        // Who answers is judged again with a list of members; nobody is let in without one.
        (_, Membership::Unknown, Reach::Starting) | (_, Membership::Member, _) => None,
        (_, Membership::Unknown, _) => Some(Refusal::RelayDown),
    }
}

fn has_substitute(settings: &Settings, facts: &Facts) -> bool {
    terms_for(settings, &facts.subject).channels_when_down.contains(&Channel::Console)
}

/// Where only members may log in, and who is one is not known yet: that may be asked about, and lets nobody in.
fn is_membership_awaited(settings: &Settings, facts: &Facts) -> bool {
    settings.require_member && facts.membership == Membership::Unknown && facts.chat == Reach::Starting
}

fn over_limit(limits: &Limits, counts: Counts) -> Option<Refusal> {
    let crowded = counts.pending_same_user >= limits.pending_per_user
        || counts.pending_on_machine >= limits.pending_per_machine;
    let rushed = counts.asks_same_user >= limits.asks_per_user
        || counts.asks_on_machine >= limits.asks_per_machine
        || counts.asks_everywhere >= limits.asks_per_user_everywhere;
    match (crowded, rushed) {
        (true, _) => Some(Refusal::TooManyPending),
        (false, true) => Some(Refusal::TooManyAsks),
        (false, false) => None,
    }
}

/// An account that does not exist is treated as one about which somebody is asked, or cannot be.
fn hold(terms: &Terms, facts: &Facts) -> Verdict {
    if channels_now(terms, facts.chat).is_empty() {
        return Verdict::Refuse(Refusal::RelayDown);
    }
    Verdict::Hold
}

fn ask(terms: &Terms, facts: &Facts) -> Verdict {
    if (&terms.approvers, &facts.person) == (&Approvers::NotSelf, &Person::Unknown) {
        return Verdict::Refuse(Refusal::UnknownPerson);
    }
    let channels = channels_now(terms, facts.chat);
    if channels.is_empty() {
        return Verdict::Refuse(Refusal::RelayDown);
    }
    Verdict::Ask(Terms { channels, ..terms.clone() })
}

#[cfg(test)]
mod tests;
