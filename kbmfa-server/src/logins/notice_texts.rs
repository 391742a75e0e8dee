//! The sentences of notices: what people read in a chat that is no ask. Names are quoted.

use crate::channels::Answer;
use crate::channels::quote::code;
use crate::clock::Time;

/// How the console answers.
pub fn at_console(short: &str) -> String {
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

/// To people, when a machine let somebody in without asking them.
pub fn let_in_unreachable(user: &str, machine: &str, at: &str) -> String {
    let (machine, user) = (code(machine), code(user));
    format!(
        "{machine} let {user} in without an approval at {at}: no server could be reached, and `on_unreachable` is `allow`"
    )
}
