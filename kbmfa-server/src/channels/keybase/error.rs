//! Reasons why Keybase is down, and what to do about them. `doctor`, `check`, the log and `/readyz` use the
//! same sentences.

use kbmfa_finding::Finding;
use kbmfa_proto::names::KeybaseName;
use std::fmt;

use super::members::{MemberKind, Role};
use super::process::program::Error;
use super::settings::Service;

/// A problem, with its fix if one is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The problem, as a sentence.
    pub found: String,
    /// The fix, as a command or a sentence.
    pub fix: Option<String>,
}

impl Fault {
    pub(super) fn new(found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { found: found.into(), fix: Some(fix.into()) }
    }

    /// Converts the fault for `doctor`; `what` names the part that was checked.
    pub fn finding(self, what: &str) -> Finding {
        let finding = Finding::fault(what, self.found);
        match self.fix {
            Some(fix) => finding.fix(fix),
            None => finding,
        }
    }
}

/// Problem and fix on one line, for the log and `/readyz`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fix {
            Some(fix) => write!(f, "{} (to fix it: {fix})", self.found),
            None => f.write_str(&self.found),
        }
    }
}

impl std::error::Error for Fault {}

impl From<String> for Fault {
    fn from(found: String) -> Self {
        Self { found, fix: None }
    }
}

impl From<&str> for Fault {
    fn from(found: &str) -> Self {
        found.to_owned().into()
    }
}

/// A fault, and whether it may pass by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Remains until the operator fixes it. A server that finds it at its first start does not start.
    Permanent(Fault),
    /// May pass by itself; the supervisor retries.
    Transient(Fault),
}

impl Failure {
    pub(super) fn permanent(found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Permanent(Fault::new(found, fix))
    }

    pub(super) fn fault(&self) -> &Fault {
        match self {
            Self::Permanent(fault) | Self::Transient(fault) => fault,
        }
    }

    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::Permanent(fault) | Self::Transient(fault) => fault,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Transient(error.to_string().into())
    }
}

/// Part of a service's message if another service already runs at its home.
const ALREADY_RUNNING: &str = "already running";

/// Part of the client's message if the paper key does not belong to this account.
const NO_SUCH_PAPERKEY: &str = "No device found";

/// The failure for our own service that exited with this message on stderr.
pub(super) fn service_ended(status: &str, message: &str, bot: &KeybaseName) -> Failure {
    let found = format!("the keybase service ended ({status}): {message}");
    if message.contains(NO_SUCH_PAPERKEY) {
        return Failure::Permanent(wrong_paperkey(&found, bot));
    }
    Failure::Transient(found.into())
}

/// True if a service could not start because another one runs at its home.
pub(super) fn is_leftover(fault: &Fault) -> bool {
    fault.found.contains(ALREADY_RUNNING)
}

/// The failure for a login that ended with this error.
pub(super) fn login_failed(error: &Error, bot: &KeybaseName) -> Failure {
    if error.to_string().contains(NO_SUCH_PAPERKEY) {
        return Failure::Permanent(wrong_paperkey(&error.to_string(), bot));
    }
    Failure::Transient(error.to_string().into())
}

fn wrong_paperkey(found: &str, bot: &KeybaseName) -> Fault {
    let fix = format!(
        "make a new paper key as {bot} (`keybase paperkey`) and put it into [relay.keybase] paperkey_file; it must be \
         one of {bot}'s own"
    );
    Fault::new(format!("the paper key is not one of {bot}'s: {found}"), fix)
}

/// The failure if no service answers.
pub(super) fn no_service(error: &Error, service: &Service) -> Failure {
    let fix = match service {
        Service::Own { .. } => "`systemctl restart kbmfa-server`, which also restarts its Keybase service",
        Service::Ambient { .. } => {
            "start the service for the account that runs kbmfa-server (`keybase service`) and keep it running, or set \
             [relay.keybase] service = \"own\""
        }
    };
    Failure::Transient(Fault::new(error.to_string(), fix))
}

/// The failure if the service is logged out.
pub(super) fn logged_out() -> Failure {
    let fix = "log it in (`keybase oneshot`), or name the bot's paper key in [relay.keybase] paperkey_file";
    Failure::Transient(Fault::new("the keybase service is logged out", fix))
}

/// Why the bot cannot post in this team; `None` if it can. `kind` is `None` if the bot is not in the team.
pub(super) fn bot_fault(bot: &KeybaseName, team: &str, kind: Option<MemberKind>) -> Option<Fault> {
    let role =
        |verb: &str| format!("`keybase team {verb} {team} --user {bot} --role bot`, as an admin of the team");
    Some(match kind {
        Some(MemberKind::Bot) => return None,
        Some(MemberKind::Person(role)) if role >= Role::Writer => return None,
        Some(MemberKind::RestrictedBot) => Fault::new(
            format!("{bot} is a restricted bot in {team}, and cannot see who answers"),
            role("edit-member"),
        ),
        Some(MemberKind::Person(found)) => {
            Fault::new(format!("{bot} is a {found} in {team}, and may not write there"), role("edit-member"))
        }
        Some(MemberKind::Keyless) => Fault::new(
            format!("{bot} was reset, or has no keys yet, and cannot read messages in {team}"),
            format!(
                "log {bot} in once on any computer (`keybase login`), then `keybase team remove-member {team} --user {bot}` \
                 and {}",
                role("add-member")
            ),
        ),
        None => Fault::new(format!("{bot} is not in team {team}"), role("add-member")),
    })
}

/// The fault if anybody may join the team.
pub(super) fn open_team(team: &str) -> Fault {
    let fix = format!(
        "close it (`keybase team settings {team} --open-team=off`), or set [relay.keybase] open_teams = [\"{team}\"]"
    );
    Fault::new(format!("team {team} is open, so that anybody can join it and answer"), fix)
}

/// The fault if a channel does not exist.
pub(super) fn no_channel(team: &str, channel: &str) -> Fault {
    let fix = format!("`keybase chat create-channel {team} {channel}`, or change [relay.keybase] channel");
    Fault::new(format!("team {team} has no channel {channel}, and an ask would create it"), fix)
}

/// The failure if the members of a team could not be listed, or a private chat could not be opened. Some
/// refusals are permanent.
pub(super) fn classify_refusal(error: &Error, what: &str, fix: impl FnOnce() -> String) -> Failure {
    let found = format!("{what}: {error}");
    let permanent = ["does not exist", "not a member", "not found", "No user", "no such user"];
    if permanent.iter().any(|text| found.contains(text)) {
        Failure::permanent(found, fix())
    } else {
        Failure::Transient(found.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_membership_that_prevents_the_bot_from_posting_has_its_own_fix() {
        let bot = "sshbot".parse().unwrap();
        let fault = |kind| bot_fault(&bot, "acme", kind).map(|fault| fault.to_string()).unwrap_or_default();
        assert_eq!(fault(Some(MemberKind::Bot)), "");
        assert_eq!(fault(Some(MemberKind::Person(Role::Writer))), "");
        let all = [
            None,
            Some(MemberKind::Person(Role::Reader)),
            Some(MemberKind::RestrictedBot),
            Some(MemberKind::Keyless),
        ];
        insta::assert_snapshot!(all.map(fault).join("\n"), @r"
        sshbot is not in team acme (to fix it: `keybase team add-member acme --user sshbot --role bot`, as an admin of the team)
        sshbot is a reader in acme, and may not write there (to fix it: `keybase team edit-member acme --user sshbot --role bot`, as an admin of the team)
        sshbot is a restricted bot in acme, and cannot see who answers (to fix it: `keybase team edit-member acme --user sshbot --role bot`, as an admin of the team)
        sshbot was reset, or has no keys yet, and cannot read messages in acme (to fix it: log sshbot in once on any computer (`keybase login`), then `keybase team remove-member acme --user sshbot` and `keybase team add-member acme --user sshbot --role bot`, as an admin of the team)
        ");
    }

    #[test]
    fn a_paper_key_of_another_account_is_a_permanent_failure() {
        let bot = "sshbot".parse().unwrap();
        let wrong = "No device found no device found for paper key";
        assert!(matches!(service_ended("exit status: 2", wrong, &bot), Failure::Permanent(_)));
        assert!(matches!(login_failed(&Error::refused(wrong), &bot), Failure::Permanent(_)));
        assert!(matches!(service_ended("exit status: 2", "EOF", &bot), Failure::Transient(_)));
    }
}
