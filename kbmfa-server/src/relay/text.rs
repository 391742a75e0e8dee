//! Every sentence that a person reads about a login, in a chat or at the ssh prompt. Names in it are
//! [`Shown`](kbmfa_proto::text::Shown) or narrower, so nothing from outside arrives uncleaned.

use std::time::Duration;

/// What an ask says.
pub struct AskFacts<'a> {
    /// The Unix account.
    pub user: &'a str,
    /// The machine, by name.
    pub machine: &'a str,
    /// The PAM service.
    pub service: &'a str,
    /// Where the person comes from, if known.
    pub source: Option<&'a str>,
    /// Fingerprint of the key that was used, if known.
    pub key: Option<&'a str>,
    /// The first digits of the login's id.
    pub short: &'a str,
    /// How long people have to answer.
    pub window: Duration,
}

/// The ask itself.
pub fn ask(facts: &AskFacts<'_>) -> String {
    let AskFacts { user, machine, service, source, key, short, window } = facts;
    let source = source.map_or_else(|| " from an unknown address".into(), |source| format!(" from {source}"));
    let key = key.map(|key| format!(" with key {key}")).unwrap_or_default();
    format!("{user} wants to enter {machine} ({service}){source}{key}; login {short}, {} s", window.as_secs())
}

/// What the ask becomes in the end.
pub fn verdict(ask: &str, decision: &str, by: Option<&str>, head: &str) -> String {
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    format!("{ask}: {decision}{by} [{head}]")
}

/// At the prompt, while nobody has answered. sshd before 10.3 shows it only at the end, so it must read well
/// beside any end.
pub fn say_pending(short: &str, left: Duration) -> String {
    format!("Login {short} needs an approval; asked for one (up to {} s).", left.as_secs().max(1))
}

/// At the prompt, when it was refused for the reason with this code.
pub fn say_refused(code: &str, short: &str) -> String {
    match code {
        "denied-before" => "This connection was denied already.".into(),
        "denied-recently" => "This was denied a moment ago. Try again later.".into(),
        "too-many-pending" => "Too many logins wait for an approval already. Try again in a minute.".into(),
        "too-many-asks" => {
            "Too many logins asked for an approval in the last minute. Try again later.".into()
        }
        "suspended" => "Your access is suspended.".into(),
        "removed" => "Your access has ended.".into(),
        "machine-removed" => "This machine may not ask for approvals any more.".into(),
        "unknown-person" => "It is not known whose account this is, so nobody may approve the login.".into(),
        _ => format!("Login {short} was denied."),
    }
}

/// To people, when logins are refused for being too many.
pub fn limit_reached(user: &str, machine: &str, from: &str, code: &str) -> String {
    format!(
        "logins of {user} to {machine} from {from} are being refused ({code}); somebody may be trying a stolen key"
    )
}

/// At the prompt, when nobody answered.
pub fn say_no_answer(short: &str) -> String {
    format!("Nobody approved login {short} in time.")
}

/// At the prompt, when the approval came and was not collected in time.
pub fn say_lapsed(short: &str) -> String {
    format!("Login {short} was approved, but this machine collected the approval too late. Try again.")
}

/// At the prompt, when the login was given up.
pub fn say_cancelled(short: &str) -> String {
    format!("Login {short} was cancelled.")
}

/// To people, when a machine let somebody in without asking them.
pub fn let_in_unreachable(user: &str, machine: &str, at: &str) -> String {
    format!(
        "{machine} let {user} in without an approval at {at}: no server could be reached, and on_unreachable is allow"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_says_who_wants_to_go_where_and_from_where() {
        let mut facts = AskFacts {
            user: "alice",
            machine: "web1",
            service: "sshd",
            source: Some("192.0.2.7"),
            key: Some("SHA256:abc"),
            short: "0f3a9b7c",
            window: Duration::from_secs(60),
        };
        insta::assert_snapshot!(ask(&facts), @"alice wants to enter web1 (sshd) from 192.0.2.7 with key SHA256:abc; login 0f3a9b7c, 60 s");
        (facts.source, facts.key) = (None, None);
        insta::assert_snapshot!(ask(&facts), @"alice wants to enter web1 (sshd) from an unknown address; login 0f3a9b7c, 60 s");
    }
}
