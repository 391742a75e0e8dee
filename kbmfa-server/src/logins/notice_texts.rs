//! Texts of notices, which are messages in a chat that need no answer. Names are quoted.

use crate::channels::Answer;
use crate::channels::quote::code;
use crate::clock::Time;
use crate::employees::store::Employee;
use crate::keys::State;
use crate::keys::store::Key;

/// The command that answers a login at the console.
pub fn at_console(short: &str) -> String {
    let command = code(&format!("kbmfa-server login approve {short} --reason TEXT"));
    format!(" On the server: {command}, or {}.", code("deny"))
}

/// Notice to a person whose reaction resembles an approval but does not count.
pub fn unclear(name: &str, how: &str) -> String {
    format!("{}: that reaction decides nothing. To answer, {how}.", code(name))
}

/// Notice that the ask's message was deleted while the login is pending.
pub fn ask_deleted(short: &str, user: &str, machine: &str, until: Time, console: bool) -> String {
    let console = if console { at_console(short) } else { String::new() };
    let (short, user, machine) = (code(short), code(user), code(machine));
    format!(
        "The message that asked about login {short} ({user} to {machine}) was deleted. Nobody can answer it here any more; \
         it is refused at {until} unless it was answered before.{console}"
    )
}

/// Notice to a person whose answer did not count.
pub fn did_not_count(name: &str, answer: Answer, why: &str) -> String {
    format!("{}: this {} does not count now: {}", code(name), answer.as_str(), code(why))
}

/// Notice that policy denied a login.
pub fn refused(user: &str, machine: &str, from: &str, reason: &str) -> String {
    format!("Refused: {} wanted to enter {} from {} ({reason})", code(user), code(machine), code(from))
}

/// Notice that a session was opened or closed.
pub fn session(what: &str, user: &str, machine: &str, from: Option<&str>) -> String {
    let from = from.map(|from| format!(" from {}", code(from))).unwrap_or_default();
    format!("Session {what}: {} at {}{from}", code(user), code(machine))
}

/// Text of a notice that stands for several, which were too many to be posted one by one.
pub fn with_others(text: &str, others: i64) -> String {
    match others {
        ..=0 => text.to_owned(),
        1 => format!("{text}\nThis machine caused one more message. `kbmfa-server audit search` shows both."),
        _ => format!(
            "{text}\nThis machine caused {others} more messages. `kbmfa-server audit search` shows all of them."
        ),
    }
}

/// Daily notice of the audit log's head, against which the audit log can be verified.
pub fn head(head: &str) -> String {
    format!("Head of the audit log: {} (`kbmfa-server audit verify --head` checks against it)", code(head))
}

/// Notice that a limit on logins was reached.
pub fn limit_reached(user: &str, machine: &str, from: &str, code: &str) -> String {
    let (user, machine, from) = (self::code(user), self::code(machine), self::code(from));
    format!(
        "Logins of {user} to {machine} from {from} are being refused ({code}); somebody may be trying a stolen key"
    )
}

/// Notice that an enrolled key has added another key of its owner.
pub fn key_added(owner: &Employee, key: &Key, parent: &Key, before: Option<&Key>) -> String {
    let (name, email) = (code(owner.name.as_str()), code(owner.email.as_str()));
    let command = |verb: &str| code(&format!("kbmfa-server key {verb} {}", key.fingerprint));
    let what = match key.state {
        State::Pending => format!(
            "It is refused until somebody approves it. Ask the person, then on the server: {} or {}",
            command("approve"),
            command("reject")
        ),
        State::Active | State::Revoked => "It counts already".to_owned(),
    };
    let lost = code(&format!("kbmfa-server key revoke {} --lost", parent.fingerprint));
    format!("{name} ({email}): {}. {what}. If it was not the person: {lost}", added(key, parent, before))
}

/// The same notice to the owner.
pub fn key_added_to_you(key: &Key, parent: &Key, before: Option<&Key>) -> String {
    format!(
        "{}. If you did not do this, somebody else has your key: tell whoever runs the approval server at once",
        added(key, parent, before)
    )
}

/// Notice that an invite has enrolled a key.
pub fn key_enrolled(owner: &Employee, key: &Key, before: Option<&Key>) -> String {
    let (name, email) = (code(owner.name.as_str()), code(owner.email.as_str()));
    let lost = code(&format!("kbmfa-server key revoke {} --lost", key.fingerprint));
    format!(
        "{name} ({email}): {}. It counts already. If it was not the person: {lost}",
        enrolled(key, before)
    )
}

/// The same notice to the owner.
pub fn key_enrolled_to_you(key: &Key, before: Option<&Key>) -> String {
    format!(
        "{}. If you did not do this, somebody else had your invite: tell whoever runs the approval server at once",
        enrolled(key, before)
    )
}

fn enrolled(key: &Key, before: Option<&Key>) -> String {
    format!("an invite has enrolled the key {}{}", named(key), in_place_of(before))
}

fn in_place_of(before: Option<&Key>) -> String {
    before.map(|old| format!(", in the place of {}", named(old))).unwrap_or_default()
}

fn named(key: &Key) -> String {
    format!("{} on {}", code(&key.fingerprint), code(key.device.as_str()))
}

/// Notice that an enrolled key has revoked keys of its owner.
pub fn keys_revoked(owner: &Employee, by: &str, keys: &[&Key]) -> String {
    let (name, email) = (code(owner.name.as_str()), code(owner.email.as_str()));
    let lost = code(&format!("kbmfa-server key revoke {by} --lost"));
    format!("{name} ({email}): {}. If it was not the person: {lost}", revoked(by, keys))
}

/// The same notice to the owner.
pub fn keys_revoked_to_you(by: &str, keys: &[&Key]) -> String {
    format!(
        "{}. If you did not do this, somebody else has your key: tell whoever runs the approval server at once",
        revoked(by, keys)
    )
}

/// Notice that an enrolled key has set or removed the password of its owner's account on the machines.
pub fn password(owner: &Employee, by: &str, is_set: bool) -> String {
    let (name, email) = (code(owner.name.as_str()), code(owner.email.as_str()));
    let lost = code(&format!("kbmfa-server key revoke {by} --lost"));
    format!("{name} ({email}): {}. If it was not the person: {lost}", password_changed(by, is_set))
}

/// The same notice to the owner.
pub fn password_to_you(by: &str, is_set: bool) -> String {
    format!(
        "{}. If you did not do this, somebody else has your key: tell whoever runs the approval server at once",
        password_changed(by, is_set)
    )
}

fn password_changed(by: &str, is_set: bool) -> String {
    let what = if is_set { "set" } else { "removed" };
    format!("the key {} has {what} the password of the account on the machines", code(by))
}

fn revoked(by: &str, keys: &[&Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| named(key)).collect();
    format!("the key {} has revoked {}", code(by), keys.join(", "))
}

fn added(key: &Key, parent: &Key, before: Option<&Key>) -> String {
    format!("the key {} has added the key {}{}", named(parent), named(key), in_place_of(before))
}

/// Notice that one machine's credential is used on two computers.
pub fn seen_twice(machine: &str, what: &str) -> String {
    format!(
        "Machine {}: {what}. It was cloned, or somebody copied `/etc/kbmfa`. Let one of them join anew: \
         `kbmfa-server machine rotate` (docs/operations.md)",
        code(machine)
    )
}

/// Notice that a machine is in quarantine, because it reports host keys that are not pinned for it. `other` is a key
/// among them that is another machine's, and that machine.
pub fn quarantined(machine: &str, pinned: &str, reported: &str, other: Option<(&str, &str)>) -> String {
    let whose = match other {
        Some((key, other)) => format!("{} is the host key of machine {}", code(key), code(other)),
        None => format!("pinned: {}", code(pinned)),
    };
    format!(
        "Machine {0} reports other host keys than its own: {1} ({whose}). It was installed anew or cloned, or somebody \
         uses its credential. Compare the keys at its console; `kbmfa-server machine show` says what to do.",
        code(machine),
        code(reported)
    )
}

/// Notice that accounts or keys on a machine were changed by somebody else, and put right.
pub fn drift(machine: &str, done: &str) -> String {
    format!(
        "Accounts or keys on machine {} were changed there and are put right again: {}.",
        code(machine),
        code(done)
    )
}

/// Notice that a machine cannot be given its accounts and keys.
pub fn delivery_failed(machine: &str, detail: &str, fix: &str) -> String {
    format!(
        "Machine {} cannot be given its accounts and keys: {}. To do: {fix}.",
        code(machine),
        code(detail)
    )
}

/// Notice that a machine let somebody in because no server was reachable.
pub fn let_in_unreachable(user: &str, machine: &str, at: &str) -> String {
    let (machine, user) = (code(machine), code(user));
    format!(
        "{machine} let {user} in without an approval at {at}: no server could be reached, and `on_unreachable` is `allow`"
    )
}
