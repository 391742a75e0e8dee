//! The outcomes of a login, and for each the PAM code and the sentence for the person.
//!
//! Everything fails closed. In the whole project a login can succeed without an approval at one place only,
//! which is marked in [`Outcome::code`]. Nothing may be added beside it.

use kbmfa_proto::login::Phase;
use kbmfa_proto::names::LoginId;
use kbmfa_proto::text::SafeText;
use pam::constants::PamResultCode;
use std::fmt;
use std::time::Instant;

/// The sentence after a successful dry run. `kbmfa-host doctor` recognises a working module of any version by
/// it, because no login has this sentence. So it never changes.
pub const DRY_RUN_DONE: &str = "The rehearsal went well. Nobody is let in.";

/// `on_unreachable` in pam.toml: what to do when no server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnreachable {
    /// Refuse the login.
    Deny,
    /// Let the person in, and raise an alarm in the log.
    Allow,
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Approved, as the server has just confirmed.
    Approved,
    /// Denied by a person or by policy.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The server considered it abandoned.
    Cancelled,
    /// The person left: the ssh client hung up, the terminal was closed, Ctrl-C was typed.
    HungUp,
    /// The module's deadline passed.
    TimedOut,
    /// No address of any server accepted a TCP connection.
    Unreachable(OnUnreachable),
    /// A server was reached, but sent no decision that the module understands.
    Fault,
    /// There is no proof of a first factor.
    NoFirstFactor,
    /// No socket confirms the connection that PAM's environment names.
    OriginUnverified,
    /// The account's name cannot be displayed.
    BadUser,
    /// The dry run succeeded. Nobody is let in.
    DryRun,
    /// The module's arguments or files have a fault.
    Misconfigured,
    /// The module's own code failed.
    Panicked,
    /// `log_only`: nobody was asked.
    Ignored,
}

impl Outcome {
    /// The code for PAM.
    #[expect(clippy::match_same_arms, reason = "the exception is a line of its own")]
    pub fn code(self, phase: Phase) -> PamResultCode {
        match self {
            Self::Approved => PamResultCode::PAM_SUCCESS,
            Self::Unreachable(OnUnreachable::Allow) => PamResultCode::PAM_SUCCESS, // fail-open: only here
            Self::Ignored => PamResultCode::PAM_IGNORE,
            Self::Denied
            | Self::Expired
            | Self::Cancelled
            | Self::HungUp
            | Self::TimedOut
            | Self::Unreachable(OnUnreachable::Deny)
            | Self::Fault
            | Self::NoFirstFactor
            | Self::OriginUnverified
            | Self::BadUser
            | Self::DryRun
            | Self::Misconfigured
            | Self::Panicked => match phase {
                // Not AUTH_ERR: the ssh client would repeat the method twice, and people would be asked three
                // times.
                Phase::Auth => PamResultCode::PAM_MAXTRIES,
                Phase::Account => PamResultCode::PAM_PERM_DENIED,
                Phase::Session => PamResultCode::PAM_SESSION_ERR,
            },
        }
    }

    /// The sentence for the person, for when the server sent none.
    pub fn sentence(self) -> Option<&'static str> {
        Some(match self {
            Self::Denied => "Your login was denied.",
            Self::Expired | Self::TimedOut => "Nobody approved your login in time.",
            Self::Cancelled => "Your login was cancelled.",
            Self::Unreachable(OnUnreachable::Deny) => {
                "Your login needs an approval, and the approval server cannot be reached."
            }
            Self::Fault => "Your login needs an approval, and the approval server does not work properly.",
            Self::NoFirstFactor => "Your login needs a proof of identity before it can be approved.",
            Self::OriginUnverified => {
                "The origin of this connection could not be verified. Ask your administrator."
            }
            Self::BadUser => "This account name cannot be used.",
            Self::DryRun => DRY_RUN_DONE,
            Self::Misconfigured => {
                "Your login needs an approval, and this machine is not set up to ask for it."
            }
            Self::Approved
            | Self::HungUp
            | Self::Unreachable(OnUnreachable::Allow)
            | Self::Panicked
            | Self::Ignored => return None,
        })
    }

    /// True if PAM continues with the login.
    pub fn lets_in(self) -> bool {
        matches!(self, Self::Approved | Self::Unreachable(OnUnreachable::Allow))
    }

    /// True if the module stopped waiting while the login may still be pending at the server, so that
    /// approvers may still see its ask.
    pub fn abandons(self) -> bool {
        matches!(self, Self::HungUp | Self::TimedOut | Self::Fault)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::HungUp => "refused, the person has left",
            Self::TimedOut => "refused, the deadline passed",
            Self::Unreachable(OnUnreachable::Deny) => "refused, no server can be reached",
            Self::Unreachable(OnUnreachable::Allow) => {
                "LET IN WITHOUT APPROVAL, no server can be reached and on_unreachable is allow"
            }
            Self::Fault => "refused, no decision",
            Self::NoFirstFactor => "refused, no first factor proven",
            Self::OriginUnverified => "refused, origin of the connection not verified",
            Self::BadUser => "refused, bad user name",
            Self::DryRun => "dry run, nobody let in",
            Self::Misconfigured => "refused, not configured properly",
            Self::Panicked => "refused after a fault",
            Self::Ignored => "log_only",
        })
    }
}

/// An outcome, with details for the log and the person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for the log; may be empty.
    pub why: String,
    /// The server's sentence for the person.
    pub say: Option<SafeText>,
    /// The login's id at the server, if it was opened.
    pub login: Option<LoginId>,
    /// Earliest time at which the server looked the decision up; `None` if the server decided nothing.
    pub as_of: Option<Instant>,
}

impl End {
    pub fn new(outcome: Outcome, why: impl fmt::Display) -> Self {
        Self { outcome, why: why.to_string(), say: None, login: None, as_of: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 3] = [Phase::Auth, Phase::Account, Phase::Session];
    const ALL: [Outcome; 16] = [
        Outcome::Approved,
        Outcome::Denied,
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::HungUp,
        Outcome::TimedOut,
        Outcome::Unreachable(OnUnreachable::Deny),
        Outcome::Unreachable(OnUnreachable::Allow),
        Outcome::Fault,
        Outcome::NoFirstFactor,
        Outcome::OriginUnverified,
        Outcome::BadUser,
        Outcome::DryRun,
        Outcome::Misconfigured,
        Outcome::Panicked,
        Outcome::Ignored,
    ];

    #[test]
    fn only_an_approval_or_a_configured_exception_lets_anybody_in() {
        for (outcome, phase) in ALL.into_iter().flat_map(|o| PHASES.map(|p| (o, p))) {
            let open = matches!(outcome, Outcome::Approved | Outcome::Unreachable(OnUnreachable::Allow));
            assert_eq!(outcome.code(phase) == PamResultCode::PAM_SUCCESS, open, "{outcome:?} {phase:?}");
            assert_eq!(outcome.lets_in(), open, "{outcome:?}");
        }
    }

    #[test]
    fn only_log_only_is_ignored_by_pam() {
        for (outcome, phase) in ALL.into_iter().flat_map(|o| PHASES.map(|p| (o, p))) {
            let ignored = outcome.code(phase) == PamResultCode::PAM_IGNORE;
            assert_eq!(ignored, outcome == Outcome::Ignored, "{outcome:?} {phase:?}");
        }
    }

    #[test]
    fn a_refusal_ends_the_attempt_in_the_words_of_its_phase() {
        let codes = PHASES.map(|phase| Outcome::Denied.code(phase));
        let expected =
            [PamResultCode::PAM_MAXTRIES, PamResultCode::PAM_PERM_DENIED, PamResultCode::PAM_SESSION_ERR];
        assert_eq!(codes, expected);
    }
}
