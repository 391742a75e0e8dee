//! Texts of an ask in a chat: the ask itself, a copy of it, and the decision. Names are quoted.

use kbmfa_proto::names::PoolName;
use std::fmt::Write as _;
use std::time::Duration;

use crate::channels::quote::code;
use crate::clock::Time;
use crate::logins::notice_texts::at_console;

/// The facts in an ask.
pub(super) struct AskFacts<'a> {
    /// The Unix account.
    pub(super) user: &'a str,
    /// The account as the person typed it, if that differs.
    pub(super) typed: Option<&'a str>,
    /// The account that called su or sudo.
    pub(super) caller: Option<&'a str>,
    /// The account that logged in first, if the caller is another one.
    pub(super) logged_in: Option<&'a str>,
    /// The machine's name.
    pub(super) machine: &'a str,
    /// The machine's pools.
    pub(super) pools: &'a [PoolName],
    /// The PAM service.
    pub(super) service: &'a str,
    /// The source address, if known.
    pub(super) source: Option<&'a str>,
    /// Fingerprint of the key that was used, if known.
    pub(super) key: Option<&'a str>,
    /// The employee who has the key, and the device, if it is known.
    pub(super) key_owner: Option<&'a str>,
    /// Key ID, serial number and CA of the key's certificate, if it has one.
    pub(super) certificate: Option<String>,
    /// The first digits of the login's id.
    pub(super) short: &'a str,
    /// Time to answer.
    pub(super) window: Duration,
    /// End of the window.
    pub(super) until: Time,
    /// How to answer, as the end of a sentence.
    pub(super) how: &'a str,
    /// Whether answers at the server's console count as well.
    pub(super) console: bool,
}

/// How a login ended.
pub(super) struct OutcomeFacts<'a> {
    /// The state.
    pub(super) state: &'a str,
    /// Code of the reason, if there is one.
    pub(super) reason: Option<&'a str>,
    /// The person who decided.
    pub(super) by: Option<&'a str>,
    /// Number and seal of the newest event about the login, shortened.
    pub(super) after: Duration,
    /// Number and seal of the newest event, shortened.
    pub(super) head: &'a str,
}

/// The text of an ask.
pub(super) fn ask(facts: &AskFacts<'_>) -> String {
    let (short, window, until) = (code(facts.short), facts.window.as_secs(), facts.until);
    let (errand, how) = (errand(facts, "wants"), facts.how);
    let console = if facts.console { at_console(facts.short) } else { String::new() };
    format!("Login {short}: {errand}. Answer within {window} s, until {until}: {how}.{console}")
}

/// The text into which an ask is edited when its login has ended.
pub(super) fn verdict(facts: &AskFacts<'_>, end: &OutcomeFacts<'_>) -> String {
    let by = end.by.map(|by| format!(" by {}", code(by))).unwrap_or_default();
    let reason =
        end.reason.filter(|reason| *reason != end.state).map(|why| format!(" ({why})")).unwrap_or_default();
    let (short, after, head) = (code(facts.short), end.after.as_secs(), code(end.head));
    let errand = errand(facts, "wanted");
    format!("Login {short} was *{}*{reason}{by} after {after} s: {errand}. Audit log {head}", end.state)
}

/// The text of a copy, which is a second message about the same login. `sent_at` is the start of the last
/// attempt to send the ask.
pub(super) fn copy(short: &str, sent_at: Option<Time>) -> String {
    let short = code(short);
    let sent = sent_at.map(|at| format!(", sent about {at}")).unwrap_or_default();
    format!(
        "Login {short} was asked about twice by accident: please answer the other message about it{sent}. What was answered here counts as well."
    )
}

/// Who, on which machine, and from which source.
fn errand(facts: &AskFacts<'_>, wants: &str) -> String {
    let AskFacts {
        user,
        typed,
        caller,
        logged_in,
        machine,
        pools,
        service,
        source,
        key,
        key_owner,
        certificate,
        ..
    } = facts;
    let typed = typed.map(|typed| format!(" (typed {})", code(typed))).unwrap_or_default();
    let logged_in = logged_in.map(|name| format!(" (logged in as {})", code(name))).unwrap_or_default();
    let mut errand = match caller.filter(|caller| caller != user) {
        Some(caller) => format!(
            "{}{logged_in} {wants} to become {}{typed} at {}",
            code(caller),
            code(user),
            code(machine)
        ),
        None => format!("{}{typed}{logged_in} {wants} to enter {}", code(user), code(machine)),
    };
    if !pools.is_empty() {
        let pools: Vec<_> = pools.iter().map(|pool| code(pool.as_str())).collect();
        let _ = write!(errand, " ({})", pools.join(", "));
    }
    let source = source.map_or_else(|| "an unknown address".to_owned(), code);
    let _ = write!(errand, " by {} from {source}", code(service));
    if let Some(key) = key {
        let _ = write!(errand, " with key {}", code(key));
    }
    if let Some(owner) = key_owner {
        let _ = write!(errand, " of {}", code(owner));
    }
    if let Some(certificate) = certificate {
        let _ = write!(errand, " certified as {}", code(certificate));
    }
    errand
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: AskFacts<'_> = AskFacts {
        user: "alice",
        typed: None,
        caller: None,
        logged_in: None,
        key_owner: None,
        certificate: None,
        machine: "web1",
        pools: &[],
        service: "sshd",
        source: Some("192.0.2.7"),
        key: Some("SHA256:abc"),
        short: "0f3a9b7c",
        window: Duration::from_secs(60),
        until: Time::from_micros(1_795_262_460_000_000),
        how: "click Approve or Deny",
        console: false,
    };

    #[test]
    fn an_ask_says_who_wants_to_go_where_and_from_where() {
        insta::assert_snapshot!(ask(&FACTS), @"Login `0f3a9b7c`: `alice` wants to enter `web1` by `sshd` from `192.0.2.7` with key `SHA256:abc`. Answer within 60 s, until 2026-11-21T12:01:00Z: click Approve or Deny.");
        let pools = ["db".parse().unwrap(), "web".parse().unwrap()];
        let bare = AskFacts { pools: &pools, source: None, key: None, ..FACTS };
        insta::assert_snapshot!(ask(&bare), @"Login `0f3a9b7c`: `alice` wants to enter `web1` (`db`, `web`) by `sshd` from an unknown address. Answer within 60 s, until 2026-11-21T12:01:00Z: click Approve or Deny.");
    }

    #[test]
    fn an_ask_names_the_owner_of_the_key_and_its_device() {
        let said = ask(&AskFacts { user: "root", key_owner: Some("Alice Liddell, laptop"), ..FACTS });
        assert!(said.contains(" with key `SHA256:abc` of `Alice Liddell, laptop`. Answer"), "{said}");
    }

    #[test]
    fn where_the_console_counts_the_ask_says_the_command() {
        let said = ask(&AskFacts { console: true, ..FACTS });
        let command = "On the server: `kbmfa-server login approve 0f3a9b7c --reason TEXT`, or `deny`.";
        assert!(said.ends_with(command), "{said}");
    }

    #[test]
    fn an_ask_says_who_wants_to_become_whom_how_a_name_was_typed_and_what_is_certified() {
        let su =
            AskFacts { user: "root", caller: Some("bob"), service: "su", source: None, key: None, ..FACTS };
        assert!(
            ask(&su).starts_with("Login `0f3a9b7c`: `bob` wants to become `root` at `web1` by `su` from ")
        );
        let su = AskFacts { caller: Some("root"), logged_in: Some("carol"), user: "bob", ..su };
        assert!(ask(&su).contains(": `root` (logged in as `carol`) wants to become `bob` at `web1`"));
        let sudo = AskFacts { caller: Some("bob"), user: "bob", logged_in: None, service: "sudo", ..su };
        assert!(ask(&sudo).contains(": `bob` wants to enter `web1` by `sudo`"));
        let certificate = Some("laptop serial 7 by SHA256:ca".to_owned());
        let typed = ask(&AskFacts { typed: Some("ALICE"), certificate, ..FACTS });
        assert!(typed.contains(": `alice` (typed `ALICE`) wants to enter `web1`"), "{typed}");
        assert!(
            typed.contains(" with key `SHA256:abc` certified as `laptop serial 7 by SHA256:ca`. "),
            "{typed}"
        );
    }

    #[test]
    fn a_verdict_says_how_it_ended_by_whom_and_after_how_long() {
        let after = Duration::from_secs(12);
        let end = OutcomeFacts {
            state: "approved",
            reason: None,
            by: Some("keybase:bob"),
            after,
            head: "7:0a1b2c",
        };
        insta::assert_snapshot!(verdict(&FACTS, &end), @"Login `0f3a9b7c` was *approved* by `keybase:bob` after 12 s: `alice` wanted to enter `web1` by `sshd` from `192.0.2.7` with key `SHA256:abc`. Audit log `7:0a1b2c`");
        let end =
            OutcomeFacts { state: "denied", reason: Some("suspended"), by: Some("console:root"), ..end };
        insta::assert_snapshot!(verdict(&FACTS, &end), @"Login `0f3a9b7c` was *denied* (suspended) by `console:root` after 12 s: `alice` wanted to enter `web1` by `sshd` from `192.0.2.7` with key `SHA256:abc`. Audit log `7:0a1b2c`");
    }
}
