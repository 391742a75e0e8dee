//! What the program prints: text for people, or the server's answer as JSON.

use jiff::Timestamp;
use kbmfa_proto::enrolment::{Enrolled, KeyView, MachineView, PersonView, Placed};
use kbmfa_proto::text::SafeText;
use std::io::{self, Write};

/// Where the answer goes, and in which form.
pub(crate) struct Report<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) json: bool,
}

impl Report<'_> {
    /// A line for people; nothing with `--json`.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(self.out, "{line}") }
    }

    /// A value for scripts; nothing without `--json`.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        if self.json { writeln!(self.out, "{}", serde_json::to_string(value)?) } else { Ok(()) }
    }

    pub(crate) fn person(&mut self, person: &PersonView) -> io::Result<()> {
        let (email, account) = (SafeText::new(&person.email), SafeText::new(&person.unix_name));
        self.say(&format!("{} <{email}>, account {account}", person.name))?;
        self.keys(&person.keys)?;
        if let Some(set) = person.password_set_us {
            self.say(&format!("  password for your account on the machines, chosen {}", time(set)))?;
        }
        for machine in &person.machines {
            let until = machine.until_us.map(|us| format!(" (until {})", time(us))).unwrap_or_default();
            let (name, note) = (SafeText::new(&machine.name), note(machine));
            self.say(&format!("  machine  {name}{until}{note}"))?;
        }
        match person.machines_left_out {
            0 => Ok(()),
            count => self.say(&format!("  and {count} more machines, which your administrator can name")),
        }
    }

    pub(crate) fn keys(&mut self, keys: &[KeyView]) -> io::Result<()> {
        keys.iter().try_for_each(|key| self.say(&format!("  key      {}", key_text(key))))
    }

    /// What happened to which key.
    pub(crate) fn changes(&mut self, answer: &Enrolled) -> io::Result<()> {
        for key in &answer.revoked {
            self.say(&format!("revoked  {}", key_text(key)))?;
        }
        if let Some(key) = &answer.key {
            self.say(&format!("key      {}", key_text(key)))?;
            if key.state == "pending" {
                self.say("The key can be used as soon as your administrator approves it.")?;
                self.say("Tell them its fingerprint.")?;
            }
        }
        Ok(())
    }
}

/// A key in one line.
pub(crate) fn key_text(key: &KeyView) -> String {
    let safe = SafeText::new;
    let (fingerprint, algorithm, state) = (safe(&key.fingerprint), safe(&key.algorithm), safe(&key.state));
    format!("{fingerprint}  {algorithm}  {state}  {}", key.device)
}

/// What is behind a machine's name in a list; nothing if the server delivers no keys to it.
fn note(machine: &MachineView) -> String {
    machine.placed.as_ref().map(|placed| format!(": {}", placed_text(placed))).unwrap_or_default()
}

/// Whether a machine has the keys. A state that is not known comes from a newer server.
pub(crate) fn placed_text(placed: &Placed) -> String {
    let since = placed.since_us.map(|us| format!(" since {}", time(us))).unwrap_or_default();
    match placed.state.as_str() {
        "confirmed" => "has your keys".to_owned(),
        "waiting" => "does not have your keys as they are now yet".to_owned(),
        "unreachable" => format!("cannot be reached{since}; it gets your keys when it can"),
        "failing" => format!("cannot be given your keys{since}; your administrator sees why"),
        "left-out" => "was not given your keys; ask your administrator why".to_owned(),
        other => SafeText::new(other).to_string(),
    }
}

/// `YYYY-MM-DD HH:MMZ`.
fn time(us: i64) -> String {
    match Timestamp::from_microsecond(us) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%MZ").to_string(),
        Err(_) => "a time that cannot be shown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_utc() {
        assert_eq!(time(1_798_070_400_000_000), "2026-12-24 00:00Z");
        assert_eq!(time(i64::MAX), "a time that cannot be shown");
    }
}
