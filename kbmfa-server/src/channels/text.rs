//! Every sentence that a person reads about a login, in a chat or at the ssh prompt. Names in it are
//! [`Shown`](kbmfa_proto::text::Shown) or narrower, so nothing from outside arrives uncleaned; in a chat they are quoted
//! besides, so that none is taken for a mention, a command or markup.

use kbmfa_proto::names::PoolName;
use std::fmt::Write as _;
use std::time::Duration;

use super::Answer;
use crate::clock::Time;

/// What an ask says.
pub struct AskFacts<'a> {
    /// The Unix account.
    pub user: &'a str,
    /// As the person typed it, where that differs.
    pub typed: Option<&'a str>,
    /// The account that asks to become it, by su or sudo.
    pub caller: Option<&'a str>,
    /// The account that once logged in, and now acts as another.
    pub logged_in: Option<&'a str>,
    /// The machine, by name.
    pub machine: &'a str,
    /// The pools that it is in.
    pub pools: &'a [PoolName],
    /// The PAM service.
    pub service: &'a str,
    /// Where the person comes from, if known.
    pub source: Option<&'a str>,
    /// Fingerprint of the key that was used, if known.
    pub key: Option<&'a str>,
    /// What the key's certificate says, if it has one.
    pub certificate: Option<String>,
    /// The first digits of the login's id.
    pub short: &'a str,
    /// How long people have to answer.
    pub window: Duration,
    /// Until when they have.
    pub until: Time,
    /// What they do to answer, as the end of a sentence.
    pub how: &'a str,
    /// Whether answers at the server's console count as well.
    pub console: bool,
}

/// How a login ended.
pub struct VerdictFacts<'a> {
    /// The state's word.
    pub state: &'a str,
    /// Code for why, if there is one.
    pub reason: Option<&'a str>,
    /// Who decided.
    pub by: Option<&'a str>,
    /// After how long.
    pub after: Duration,
    /// Number and beginning of the seal of the event that says so.
    pub head: &'a str,
}

/// The ask itself.
pub fn ask(facts: &AskFacts<'_>) -> String {
    let (short, window, until) = (code(facts.short), facts.window.as_secs(), facts.until);
    let (errand, how) = (errand(facts, "wants"), facts.how);
    let console = if facts.console { at_console(facts.short) } else { String::new() };
    format!("Login {short}: {errand}. Answer within {window} s, until {until}: {how}.{console}")
}

/// How the console answers.
fn at_console(short: &str) -> String {
    let command = code(&format!("kbmfa-server login approve {short} --reason TEXT"));
    format!(" On the server: {command}, or {}.", code("deny"))
}

/// To somebody whose reaction looks like a yes and decides nothing.
pub fn unclear(name: &str, how: &str) -> String {
    format!("{}: that reaction decides nothing. To answer, {how}.", code(name))
}

/// To people, when the message that asked was deleted while the login waits.
pub fn ask_deleted(short: &str, user: &str, machine: &str, until: Time, console: bool) -> String {
    let console = if console { at_console(short) } else { String::new() };
    let (short, user, machine) = (code(short), code(user), code(machine));
    format!(
        "The message that asked about login {short} ({user} to {machine}) was deleted. Nobody can answer it here any more; \
         it is refused at {until} unless it was answered before.{console}"
    )
}

/// What the ask becomes in the end.
pub fn verdict(facts: &AskFacts<'_>, end: &VerdictFacts<'_>) -> String {
    let by = end.by.map(|by| format!(" by {}", code(by))).unwrap_or_default();
    let reason =
        end.reason.filter(|reason| *reason != end.state).map(|why| format!(" ({why})")).unwrap_or_default();
    let (short, after, head) = (code(facts.short), end.after.as_secs(), code(end.head));
    let errand = errand(facts, "wanted");
    format!("Login {short} was *{}*{reason}{by} after {after} s: {errand}. Record {head}", end.state)
}

/// A second message about the same login. `sent_at` is when the server last began to send the ask.
pub fn copy(short: &str, sent_at: Option<Time>) -> String {
    let short = code(short);
    let sent = sent_at.map(|at| format!(", sent about {at}")).unwrap_or_default();
    format!(
        "Login {short} was asked about twice by accident: please answer the other message about it{sent}. What was answered here counts as well."
    )
}

/// Who wants to go where, and from where.
fn errand(facts: &AskFacts<'_>, wants: &str) -> String {
    let AskFacts {
        user, typed, caller, logged_in, machine, pools, service, source, key, certificate, ..
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
    if let Some(certificate) = certificate {
        let _ = write!(errand, " certified as {}", code(certificate));
    }
    errand
}

/// Quoted for a chat: what is in backticks is neither markup nor a mention. Whatever could end the quotation, or look like
/// something that it is not, is spelled out.
fn code(text: &str) -> String {
    let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && c != '`' && c != '\\';
    let mut quoted = String::from("`");
    for c in text.chars() {
        if plain(c) { quoted.push(c) } else { quoted.extend(c.escape_unicode()) }
    }
    if text.is_empty() {
        quoted.push('-');
    }
    quoted.push('`');
    // An escape begins with a backslash, which would be an escape of the chat's own.
    quoted.replace("\\u{", "u{")
}

/// To somebody whose answer did not count.
pub fn did_not_count(name: &str, answer: Answer, why: &str) -> String {
    format!("{}: this {} does not count now: {}", code(name), answer.as_str(), code(why))
}

/// To people, when policy refused a login.
pub fn refused(user: &str, machine: &str, from: &str, reason: &str) -> String {
    format!("Refused: {} wanted to enter {} from {} ({reason})", code(user), code(machine), code(from))
}

/// To people, when a session was opened or closed.
pub fn session(what: &str, user: &str, machine: &str, from: Option<&str>) -> String {
    let from = from.map(|from| format!(" from {}", code(from))).unwrap_or_default();
    format!("Session {what}: {} at {}{from}", code(user), code(machine))
}

/// A text that stands for others like it, which were too many to be told one by one.
pub fn with_others(text: &str, others: i64) -> String {
    match others {
        ..=0 => text.to_owned(),
        1 => format!("{text}\nThis machine caused one more message. `kbmfa-server audit search` shows both."),
        _ => format!(
            "{text}\nThis machine caused {others} more messages. `kbmfa-server audit search` shows all of them."
        ),
    }
}

/// To people, once a day: against this the record can be verified.
pub fn head(head: &str) -> String {
    format!("Head of the record: {} (`kbmfa-server audit verify --head` checks against it)", code(head))
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
        "restored" => "The approval server was restored from a backup meanwhile. Try again.".into(),
        "relay-down" => "Nobody can be asked for an approval right now. Try again later.".into(),
        "not-a-member" => "Only members of the team may log in here.".into(),
        "unknown-person" => "It is not known whose account this is, so nobody may approve the login.".into(),
        _ => format!("Login {short} was denied."),
    }
}

/// To people, when logins are refused for being too many.
pub fn limit_reached(user: &str, machine: &str, from: &str, code: &str) -> String {
    let (user, machine, from) = (self::code(user), self::code(machine), self::code(from));
    format!(
        "Logins of {user} to {machine} from {from} are being refused ({code}); somebody may be trying a stolen key"
    )
}

/// To people, when one machine's credential is used on two computers.
pub fn seen_twice(machine: &str, what: &str) -> String {
    format!(
        "Machine {}: {what}. It was cloned, or somebody copied `/etc/kbmfa`. Let one of them join anew: \
         `kbmfa-server machine rotate` (docs/operations.md)",
        code(machine)
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
    let (machine, user) = (code(machine), code(user));
    format!(
        "{machine} let {user} in without an approval at {at}: no server could be reached, and `on_unreachable` is `allow`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: AskFacts<'_> = AskFacts {
        user: "alice",
        typed: None,
        caller: None,
        logged_in: None,
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
        let end = VerdictFacts {
            state: "approved",
            reason: None,
            by: Some("keybase:bob"),
            after,
            head: "7:0a1b2c",
        };
        insta::assert_snapshot!(verdict(&FACTS, &end), @"Login `0f3a9b7c` was *approved* by `keybase:bob` after 12 s: `alice` wanted to enter `web1` by `sshd` from `192.0.2.7` with key `SHA256:abc`. Record `7:0a1b2c`");
        let end =
            VerdictFacts { state: "denied", reason: Some("suspended"), by: Some("console:root"), ..end };
        insta::assert_snapshot!(verdict(&FACTS, &end), @"Login `0f3a9b7c` was *denied* (suspended) by `console:root` after 12 s: `alice` wanted to enter `web1` by `sshd` from `192.0.2.7` with key `SHA256:abc`. Record `7:0a1b2c`");
    }

    #[test]
    fn nothing_from_outside_leaves_its_quotation() {
        let check = |text: &str, expected: &str| assert_eq!(code(text), expected, "{text:?}");
        check("alice", "`alice`");
        check("@here *bold*", "`@here *bold*`");
        check("a`b", "`au{60}b`");
        check("EXAMPLE\\alice", "`EXAMPLEu{5c}alice`");
        check("ends in \\", "`ends in u{5c}`");
        check("m\u{fc}ller\n", "`mu{fc}lleru{a}`");
        check("", "`-`");
    }

    proptest::proptest! {
        #[test]
        fn whatever_it_is_there_are_two_backticks_and_no_backslash(text in "\\PC{0,40}") {
            let quoted = code(&text);
            proptest::prop_assert_eq!(quoted.matches('`').count(), 2);
            proptest::prop_assert!(quoted.is_ascii() && !quoted.contains('\\'));
        }
    }
}
