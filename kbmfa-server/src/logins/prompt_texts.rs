//! The sentences that a person reads at the ssh prompt.

use std::time::Duration;

/// While the login is pending. sshd before 10.3 shows this text only at the end, so it must fit any outcome.
pub fn pending(short: &str, left: Duration) -> String {
    format!("Login {short} needs an approval; asked for one (up to {} s).", left.as_secs().max(1))
}

/// The login was refused, for the reason with this code.
pub fn refused(code: &str, short: &str) -> String {
    match code {
        "denied-before" => "This connection was denied already.".into(),
        "denied-recently" => "This was denied a moment ago. Try again later.".into(),
        "too-many-pending" => "Too many logins wait for an approval already. Try again in a minute.".into(),
        "too-many-asks" => {
            "Too many logins asked for an approval in the last minute. Try again later.".into()
        }
        "suspended" => "Your access is suspended.".into(),
        "removed" => "Your access has ended.".into(),
        "revoked-key" => {
            "Your key was revoked. Use another one, or ask whoever runs the approval server.".into()
        }
        "pending-key" => {
            "Your key waits for an approval. Use another one, or ask whoever runs the approval server.".into()
        }
        "no-grant" => "You have no grant for this machine. Ask whoever runs the approval server.".into(),
        "machine-removed" => "This machine may not ask for approvals any more.".into(),
        "restored" => "The approval server was restored from a backup meanwhile. Try again.".into(),
        "relay-down" => "Nobody can be asked for an approval right now. Try again later.".into(),
        "not-a-member" => "Only members of the team may log in here.".into(),
        "unknown-person" => "It is not known whose account this is, so nobody may approve the login.".into(),
        _ => format!("Login {short} was denied."),
    }
}

/// Nobody answered in time.
pub fn no_answer(short: &str) -> String {
    format!("Nobody approved login {short} in time.")
}

/// The approval came, but was not collected in time.
pub fn approval_expired(short: &str) -> String {
    format!("Login {short} was approved, but this machine collected the approval too late. Try again.")
}

/// The login was cancelled.
pub fn cancelled(short: &str) -> String {
    format!("Login {short} was cancelled.")
}
