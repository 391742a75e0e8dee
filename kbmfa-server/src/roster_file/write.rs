//! Writes a roster as TOML: one block for each entry, sorted, so that a difference in git shows what changed.

use kbmfa_proto::names::KeybaseName;
use kbmfa_proto::text::SafeText;
use std::fmt::{Display, Write as _};

use super::{Employee, FORMAT, Grant, Key, Machine, Part, Pool, Roster};
use crate::clock::Time;
use crate::employees::State;
use crate::grants::SudoProfile;
use crate::machines::host_keys::{HostKey, SSH_PORT};

const HEAD: &str =
    "# The roster of a kbmfa server, made by `kbmfa-server roster export`. docs/roster.md describes it.
# `kbmfa-server roster apply FILE` shows how it differs from the server's, and makes it so with --yes.
";

/// The text of a file with these parts of a roster.
pub fn text(server: &str, manages: &[Part], roster: &Roster) -> String {
    let mut out = Out(HEAD.to_owned());
    out.line("\n[roster]");
    out.bare("format", FORMAT);
    out.text("server", Some(server));
    out.list("manages", manages.iter().map(|part| part.as_str().to_owned()).collect());
    for part in Part::ALL.into_iter().filter(|part| manages.contains(part)) {
        match part {
            Part::Pools => roster.pools.iter().for_each(|pool| out.pool(pool)),
            Part::Machines => roster.machines.iter().for_each(|machine| out.machine(machine)),
            Part::Employees => roster.employees.iter().for_each(|employee| out.employee(employee)),
            Part::Grants => roster.grants.iter().for_each(|grant| out.grant(grant)),
            Part::Keys => roster.keys.iter().for_each(|key| out.key(key)),
        }
    }
    out.line("\n# Shows that nothing of the file is missing: nothing may follow it.\n[end]");
    out.0
}

/// A moment as the file has it: RFC 3339 in UTC, exact to the microsecond.
pub fn moment(time: Time) -> String {
    jiff::Timestamp::from_microsecond(time.micros())
        .map_or_else(|_| time.to_string(), |time| time.to_string())
}

/// The text of a host key: the whole key, or its fingerprint if only that is known.
pub fn host_key(key: &HostKey) -> String {
    key.line.clone().unwrap_or_else(|| key.fingerprint.to_string())
}

struct Out(String);

impl Out {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn bare(&mut self, key: &str, value: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.bare(key, toml::Value::from(value));
        }
    }

    fn list(&mut self, key: &str, values: Vec<String>) {
        if !values.is_empty() {
            self.bare(key, toml::Value::from(values));
        }
    }

    fn pool(&mut self, pool: &Pool) {
        self.line("\n[[pool]]");
        self.text("name", Some(pool.name.as_str()));
        self.text("label", pool.label.as_ref().map(SafeText::as_str));
    }

    fn machine(&mut self, machine: &Machine) {
        self.line("\n[[machine]]");
        self.text("name", Some(machine.name.as_str()));
        self.text("address", machine.address.as_ref().map(ToString::to_string).as_deref());
        if let Some(port) = machine.port.filter(|port| *port != SSH_PORT) {
            self.bare("port", port);
        }
        self.list("pools", machine.pools.iter().map(ToString::to_string).collect());
        self.list("host_keys", machine.host_keys.iter().map(host_key).collect());
    }

    fn employee(&mut self, employee: &Employee) {
        self.line("\n[[employee]]");
        self.text("email", Some(employee.email.as_str()));
        self.text("name", Some(employee.name.as_str()));
        self.text("unix_name", Some(employee.unix_name.as_str()));
        if let Some(uid) = employee.uid {
            self.bare("uid", uid);
        }
        self.text("keybase_name", employee.keybase_name.as_ref().map(KeybaseName::as_str));
        if employee.state != State::Active {
            self.text("state", Some(employee.state.as_str()));
        }
    }

    fn grant(&mut self, grant: &Grant) {
        self.line("\n[[grant]]");
        self.text("employee", Some(grant.email.as_str()));
        self.text("pool", Some(grant.pool.as_str()));
        self.text("sudo", grant.sudo.as_ref().map(SudoProfile::as_str));
        self.text("until", grant.until.map(moment).as_deref());
    }

    fn key(&mut self, key: &Key) {
        self.line("\n[[key]]");
        self.text("employee", Some(key.email.as_str()));
        self.text("device", Some(key.device.as_str()));
        self.text("key", Some(&key.line));
    }
}
