//! Who may enter: pure functions over facts. No clock, no database, no async.

mod approver;

pub use approver::{Approver, Approvers, BadApprover};

use kbmfa_proto::login::Account;
use std::time::Duration;

/// What the operator has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who may answer.
    pub approvers: Approvers,
    /// How long people have to answer.
    pub window: Duration,
    /// Logins of one user from one address that may wait at once. Counting per address keeps the thief of
    /// a key from locking its owner out.
    pub pending_per_user: u64,
    /// Logins of one machine that may wait at once.
    pub pending_per_machine: u64,
}

/// What is known about a login when it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whether the account exists on the machine.
    pub account: Account,
    /// Whether it is a dry run.
    pub rehearsal: bool,
    /// What was decided on the same connection before.
    pub before: Before,
    /// Logins that wait already: same machine, user and address.
    pub pending_same_user: u64,
    /// Logins that wait already: same machine.
    pub pending_on_machine: u64,
}

/// What was decided on the same ssh connection before, in another phase or attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing, or it is not an ssh connection.
    Nothing,
    /// Somebody approved it, and the machine collected that.
    Approved,
    /// It was denied.
    Denied,
}

/// What policy says before any human.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Do not let them in, and ask nobody.
    Refuse(Refusal),
    /// Let them in without asking: the connection was approved a moment ago.
    Allow,
    /// Ask these people.
    Ask(Approvers),
    /// Ask nobody, and take as long about it as if somebody had been asked.
    Hold,
    /// A dry run: it ends here.
    Rehearse,
}

impl Verdict {
    /// One word for the record.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refuse(_) => "refuse",
            Self::Allow => "allow",
            Self::Ask(_) => "ask",
            Self::Hold => "hold",
            Self::Rehearse => "rehearse",
        }
    }
}

/// Why policy refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The connection was denied already.
    DeniedBefore,
    /// Too many logins wait already.
    TooManyPending,
}

/// Judges one login. The order is the rule: a denial outweighs everything, limits come before people.
pub fn judge(settings: &Settings, facts: &Facts) -> Verdict {
    if facts.before == Before::Denied {
        return Verdict::Refuse(Refusal::DeniedBefore);
    }
    if facts.rehearsal {
        return Verdict::Rehearse;
    }
    if facts.before == Before::Approved {
        return Verdict::Allow;
    }
    let crowded = facts.pending_same_user >= settings.pending_per_user
        || facts.pending_on_machine >= settings.pending_per_machine;
    if crowded {
        return Verdict::Refuse(Refusal::TooManyPending);
    }
    match facts.account {
        Account::Missing => Verdict::Hold,
        Account::Known => Verdict::Ask(settings.approvers.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let window = Duration::from_secs(60);
        Settings { approvers: Approvers::Anyone, window, pending_per_user: 3, pending_per_machine: 10 }
    }

    fn facts() -> Facts {
        let before = Before::Nothing;
        Facts {
            account: Account::Known,
            rehearsal: false,
            before,
            pending_same_user: 0,
            pending_on_machine: 0,
        }
    }

    fn check(facts: &Facts, expected: &Verdict) {
        assert_eq!(&judge(&settings(), facts), expected, "{facts:?}");
    }

    #[test]
    fn each_case_has_its_verdict() {
        let ask = Verdict::Ask(Approvers::Anyone);
        let crowded = Verdict::Refuse(Refusal::TooManyPending);
        let denied = Verdict::Refuse(Refusal::DeniedBefore);
        check(&facts(), &ask);
        check(&Facts { account: Account::Missing, ..facts() }, &Verdict::Hold);
        check(&Facts { pending_same_user: 2, ..facts() }, &ask);
        check(&Facts { pending_same_user: 3, ..facts() }, &crowded);
        check(&Facts { pending_on_machine: 10, ..facts() }, &crowded);
        check(&Facts { before: Before::Approved, ..facts() }, &Verdict::Allow);
        check(&Facts { before: Before::Approved, pending_on_machine: 10, ..facts() }, &Verdict::Allow);
        check(&Facts { before: Before::Denied, ..facts() }, &denied);
        check(&Facts { before: Before::Denied, rehearsal: true, ..facts() }, &denied);
        check(&Facts { rehearsal: true, ..facts() }, &Verdict::Rehearse);
        check(&Facts { rehearsal: true, before: Before::Approved, ..facts() }, &Verdict::Rehearse);
    }
}
