//! The policy: pure functions that judge a login by its facts. They use no clock and no database, and are not
//! async.

mod approver;
mod channel;
mod lint;
mod rule;

pub use approver::{Approver, Approvers, BadApprover};
pub use channel::{Channel, UnknownChannel};
pub use lint::{Known, lint};
pub use rule::{Mismatch, Rule, Says, Scope, Subject, Terms};

use kbmfa_proto::login::Account;
use kbmfa_proto::names::{MachineName, PoolName};
use std::time::Duration;

/// The operator's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Rules in their order; the first that matches a login applies.
    pub rules: Vec<Rule>,
    /// The terms where no rule matches.
    pub default: Terms,
    /// Limits on pending logins and asks.
    pub limits: Limits,
    /// Whether only members of the chat's team may log in.
    pub require_member: bool,
    /// Where an employee needs a live grant to a pool of the machine.
    pub require_grant: RequireGrant,
}

/// Where an employee needs a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RequireGrant {
    /// On each machine.
    Everywhere,
    /// On the machines to which keys are delivered. Who has a grant there gets in by it alone; so who has none is
    /// refused also while the machine has not confirmed that their key is gone.
    #[default]
    Delivered,
    /// Nowhere.
    Nowhere,
}

/// Limits on pending logins and asks. Limits per user are also per source address, so that somebody with a
/// stolen key cannot lock its owner out. They are also per machine: a stolen machine credential can claim any
/// user and address, and so it uses up the limits of that machine only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of pending logins of one user from one address to one machine.
    pub pending_per_user: u64,
    /// Maximum number of pending logins of one machine.
    pub pending_per_machine: u64,
    /// Maximum number of asks per minute for one user from one address to one machine.
    pub asks_per_user: u64,
    /// Maximum number of asks per minute for one machine.
    pub asks_per_machine: u64,
    /// Maximum number of asks per minute for one user from one address to all machines. It is several times
    /// `asks_per_user`, because one machine can use up `asks_per_user` alone.
    pub asks_per_user_everywhere: u64,
}

/// Current numbers, each counted up to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Pending logins with the same machine, user and address.
    pub pending_same_user: u64,
    /// Pending logins with the same machine.
    pub pending_on_machine: u64,
    /// Asks in the last minute with the same machine, user and address.
    pub asks_same_user: u64,
    /// Asks in the last minute with the same machine.
    pub asks_on_machine: u64,
    /// Asks in the last minute with the same user and address, on any machine.
    pub asks_everywhere: u64,
}

/// The facts about a login at the time it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The part of the login that rules match.
    pub subject: Subject,
    /// The person who owns the Unix account.
    pub person: Person,
    /// Whether the account exists on the machine.
    pub account: Account,
    /// True for a dry run (`kbmfa-host doctor`).
    pub rehearsal: bool,
    /// Whether that person is a member of the chat's team.
    pub membership: Membership,
    /// Why the key that was used is refused, if it is.
    pub key_refusal: Option<Refusal>,
    /// True if a grant is required there, and one of the people whose login it is is an employee without a live one to a
    /// pool of the machine.
    pub lacks_grant: bool,
    /// Whether people can be asked in the chat.
    pub chat: Reach,
    /// Earlier decisions that affect this login.
    pub before: Before,
    /// Current numbers of pending logins and asks.
    pub counts: Counts,
}

/// The owner of a Unix account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// The account belongs to no employee.
    Unknown,
    /// An employee, with the names under which this person answers.
    Employee(Vec<Approver>),
    /// A suspended employee.
    Suspended,
    /// A former employee.
    Removed,
}

impl Person {
    /// Combines several people into one. If one of them is suspended or removed, the login is blocked. Under
    /// `not-self` none of them may approve it.
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
    /// A recent list of members has this person.
    Member,
    /// A recent list of members does not have this person.
    Stranger,
    /// There is no recent list.
    Unknown,
}

impl Membership {
    /// Combines two people. Both must be members.
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
    /// People can be reached, or there is no chat.
    Up,
    /// The server has just started and does not know yet. New logins are asked about once the chat is up.
    Starting,
    /// People cannot be reached.
    Down,
}

/// Earlier decisions that affect a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// None.
    Nothing,
    /// The same ssh connection was approved, and the machine collected the approval.
    Approved,
    /// The same ssh connection was denied.
    Denied,
    /// The same user from the same address was denied on this machine within the cool-down.
    DeniedRecently,
}

/// What the policy decides before anybody is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Deny without asking.
    Refuse(Refusal),
    /// Approve without asking.
    Allow(Grounds),
    /// Ask, on these terms.
    Ask(Terms),
    /// Ask nobody, and stay pending until the window ends. So the outcome does not reveal that the account
    /// does not exist.
    Stall,
    /// End a dry run here.
    DryRun,
}

impl Settings {
    /// The lines of the rules that name this machine.
    pub fn lines_that_name_machine(&self, machine: &MachineName) -> Vec<usize> {
        let named = self.rules.iter().filter(|rule| rule.scope.machines.contains(machine));
        named.map(|rule| rule.line).collect()
    }

    /// The lines of the rules that name this pool.
    pub fn lines_that_name_pool(&self, pool: &PoolName) -> Vec<usize> {
        let named = self.rules.iter().filter(|rule| rule.scope.pools.contains(pool));
        named.map(|rule| rule.line).collect()
    }

    /// The longest window of all terms.
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
            Self::Stall => "hold",
            Self::DryRun => "rehearse",
        }
    }
}

/// Why the policy approves without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// The same ssh connection was approved.
    SameConnection,
    /// A rule exempts the login.
    Exempt {
        /// The line of the configuration file.
        line: usize,
    },
}

/// Why the policy denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The employee is suspended.
    Suspended,
    /// The employee was removed.
    Removed,
    /// The same ssh connection was denied.
    DeniedBefore,
    /// The same user from the same address was denied within the cool-down.
    DeniedRecently,
    /// Too many logins are pending.
    TooManyPending,
    /// Too many asks in the last minute.
    TooManyAsks,
    /// The key that was used is revoked.
    RevokedKey,
    /// The key that was used waits for an approval.
    PendingKey,
    /// The employee must have a live grant to a pool of the machine, and has none.
    NoGrant,
    /// The employee must be a member of the chat's team, and is not.
    NotAMember,
    /// Nobody can be asked: none of the rule's channels works.
    RelayDown,
    /// Nobody may approve their own login here, and the account belongs to no employee.
    UnknownPerson,
}

impl Refusal {
    /// The stable code, which docs/protocol.md lists.
    pub fn code(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Removed => "removed",
            Self::DeniedBefore => "denied-before",
            Self::DeniedRecently => "denied-recently",
            Self::TooManyPending => "too-many-pending",
            Self::TooManyAsks => "too-many-asks",
            Self::RevokedKey => "revoked-key",
            Self::PendingKey => "pending-key",
            Self::NoGrant => "no-grant",
            Self::NotAMember => "not-a-member",
            Self::RelayDown => "relay-down",
            Self::UnknownPerson => "unknown-person",
        }
    }

    /// True for the limits on pending logins and asks.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::TooManyPending | Self::TooManyAsks)
    }
}

/// Judges one login. The order matters: people who may not log in at all, then earlier decisions, then
/// limits, then the rules in their order, then the default.
///
/// A dry run is denied where a login would be denied, so that it shows what would happen to a login.
/// Otherwise it ends in [`Verdict::DryRun`].
pub fn judge(settings: &Settings, facts: &Facts) -> Verdict {
    match judge_login(settings, facts) {
        Verdict::Allow(_) if is_membership_awaited(settings, facts) => Verdict::Refuse(Refusal::RelayDown),
        Verdict::Refuse(refusal) => Verdict::Refuse(refusal),
        _ if facts.rehearsal => Verdict::DryRun,
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
    let rule = matching_rule(settings, &facts.subject);
    match rule.map(|rule| (&rule.says, rule.line)) {
        _ if facts.account == Account::Missing => stall(terms_for(settings, &facts.subject), facts),
        Some((Says::Exempt, line)) => Verdict::Allow(Grounds::Exempt { line }),
        Some((Says::Ask(terms), _)) => ask(terms, facts),
        None => ask(&settings.default, facts),
    }
}

/// The first rule that matches a login.
pub fn matching_rule<'a>(settings: &'a Settings, login: &Subject) -> Option<&'a Rule> {
    settings.rules.iter().find(|rule| rule.fits(login).is_ok())
}

/// The terms that apply to a login, even if policy decides it without asking.
pub fn terms_for<'a>(settings: &'a Settings, login: &Subject) -> &'a Terms {
    match matching_rule(settings, login).map(|rule| &rule.says) {
        Some(Says::Ask(terms)) => terms,
        Some(Says::Exempt) | None => &settings.default,
    }
}

/// True if `who` may answer on these terms. `behind` is the person whose login it is.
pub fn may_answer(terms: &Terms, behind: &Person, who: &Approver) -> bool {
    terms.channels.iter().any(|channel| who.is_in(*channel)) && is_among(&terms.approvers, behind, who)
}

/// The channels in which people are asked now: those of the terms. If none of them works, those of
/// `channels_when_down` that work are added. Empty if nobody can be asked.
pub fn channels_now(terms: &Terms, chat: Reach) -> Vec<Channel> {
    let works = |channel: &Channel| *channel == Channel::Console || chat != Reach::Down;
    let mut channels = terms.channels.clone();
    if !channels.iter().any(works) {
        channels.extend(terms.channels_when_down.iter().filter(|channel| works(channel)));
    }
    if channels.iter().any(works) { channels } else { Vec::new() }
}

/// True if `who` is one of the approvers. `behind` is the person whose login it is.
pub fn is_among(approvers: &Approvers, behind: &Person, who: &Approver) -> bool {
    match (approvers, behind) {
        (Approvers::Anyone, _) => true,
        (Approvers::List(people), _) => people.contains(who),
        (Approvers::NotSelf, Person::Employee(own_names)) => !own_names.contains(who),
        (Approvers::NotSelf, Person::Unknown | Person::Suspended | Person::Removed) => false,
    }
}

fn refused_outright(settings: &Settings, facts: &Facts) -> Option<Refusal> {
    refused_person(facts)
        .or_else(|| settings.require_member.then(|| missing_member(settings, facts)).flatten())
        .or_else(|| refused_connection(facts))
}

fn refused_person(facts: &Facts) -> Option<Refusal> {
    match facts.person {
        Person::Suspended => Some(Refusal::Suspended),
        Person::Removed => Some(Refusal::Removed),
        Person::Unknown | Person::Employee(_) => {
            facts.key_refusal.or_else(|| facts.lacks_grant.then_some(Refusal::NoGrant))
        }
    }
}

fn refused_connection(facts: &Facts) -> Option<Refusal> {
    (facts.before == Before::Denied).then_some(Refusal::DeniedBefore)
}

/// Whether the server's own login to a machine may pass without a human. It needs no approver and is subject to no limit,
/// but nobody who is refused gets in by it.
pub fn passes_itself(facts: &Facts) -> bool {
    let is_refused = refused_person(facts).or_else(|| refused_connection(facts)).is_some();
    !is_refused && facts.account == Account::Known && !facts.rehearsal
}

/// Checks `require_member`. An account that belongs to no employee does not pass. While the chat is down
/// there is no list of members; then `channels_when_down` takes over, or the login is denied.
fn missing_member(settings: &Settings, facts: &Facts) -> Option<Refusal> {
    match (&facts.person, facts.membership, facts.chat) {
        (Person::Unknown, _, _) => Some(Refusal::UnknownPerson),
        (_, Membership::Stranger, _) => Some(Refusal::NotAMember),
        (_, Membership::Unknown, Reach::Down) if has_substitute(settings, facts) => None,
        // When an answer comes the login is judged again, with a list of members.
        (_, Membership::Unknown, Reach::Starting) | (_, Membership::Member, _) => None,
        (_, Membership::Unknown, _) => Some(Refusal::RelayDown),
    }
}

fn has_substitute(settings: &Settings, facts: &Facts) -> bool {
    terms_for(settings, &facts.subject).channels_when_down.contains(&Channel::Console)
}

/// True if `require_member` is set and there is no list of members yet. People may be asked, but no exemption
/// counts.
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

/// The verdict for an account that does not exist. The login takes as long, or fails in the same way, as that
/// of an existing account.
fn stall(terms: &Terms, facts: &Facts) -> Verdict {
    if channels_now(terms, facts.chat).is_empty() {
        return Verdict::Refuse(Refusal::RelayDown);
    }
    Verdict::Stall
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
