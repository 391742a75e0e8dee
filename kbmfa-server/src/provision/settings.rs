//! `[provision]` in `server.toml`.

use kbmfa_proto::names::{MachineName, UserName};
use std::collections::BTreeMap;
use std::time::Duration;

use super::guard::Limit;
use crate::deliveries;
use crate::employees::account::SSH_ADMIN;
use crate::grants::SudoProfile;
use crate::settings::Section;
use crate::source::Address;

/// From one minute, so that a check-up does not begin before the last one can have ended, to a day.
const CHECK_UP: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));

/// Bounds of the number of machines that are worked on at once. Each takes a thread.
const WORKERS: (u64, u64) = (1, 512);

/// How keys get to machines.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The account by which machines are reached.
    pub admin: UserName,
    /// Shell of new accounts.
    pub shell: String,
    /// Number of machines that are worked on at once.
    pub workers: usize,
    /// Time between two check-ups of a machine.
    pub check_up: Duration,
    /// True if the sessions of a person are ended on a machine that no grant of theirs names any more. Those of somebody
    /// who is suspended or removed, or whose key was lost, are ended in any case.
    pub end_sessions: bool,
    /// How much one pass may take away unasked.
    pub limit: Limit,
    /// What each sudo profile allows: lines of sudoers(5) without the account.
    pub profiles: BTreeMap<SudoProfile, String>,
    /// The addresses that a machine behind NAT sees in place of this server's.
    pub nat: BTreeMap<MachineName, Vec<Address>>,
}

impl Settings {
    /// The defaults.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let file = crate::settings::File::new(std::path::Path::new("server.toml"), "");
        Self::read(&file.section("provision"))
    }

    /// Reads the section.
    pub(crate) fn read(section: &Section<'_>) -> Self {
        let admin: UserName = section.parsed("admin", ssh_admin());
        let shell: String = section.parsed("shell", "/bin/bash".to_owned());
        if !is_path(&shell) {
            section.fault("shell", "write the path of a shell, such as \"/bin/bash\"");
        }
        let workers = section.number("workers", 64, WORKERS);
        let check_up = section.duration("check_up", deliveries::CHECK_UP, CHECK_UP);
        let end_sessions = section.flag("end_sessions", true);
        let count = section.number("removals", 5, (0, 100_000));
        let percent = section.number("removals_percent", 50, (0, 100));
        let limit = Limit { count: to_usize(count), percent: to_usize(percent) };
        Self {
            admin,
            shell,
            workers: to_usize(workers),
            check_up,
            end_sessions,
            limit,
            profiles: profiles(section),
            nat: nat(section),
        }
    }
}

/// `[[provision.sudo]]`: what each profile allows.
fn profiles(section: &Section<'_>) -> BTreeMap<SudoProfile, String> {
    let mut profiles = BTreeMap::new();
    for table in section.tables("sudo", "provision.sudo") {
        let name = table.parsed_or_none::<SudoProfile>("name");
        let rules = table.list("rules").unwrap_or_default();
        if name.is_none() {
            table.fault("name", "write the name of the profile");
        }
        if rules.is_empty() || rules.iter().any(|rule| rule.is_empty() || rule.chars().any(char::is_control))
        {
            table.fault(
                "rules",
                "write what it allows, as in sudoers(5) after the account, such as [\"ALL=(ALL) ALL\"]",
            );
        }
        table.finish();
        if let Some(name) = name {
            profiles.insert(name, rules.iter().fold(String::new(), |text, rule| text + rule + "\n"));
        }
    }
    profiles
}

/// `[[provision.nat]]`: what machines behind NAT see in place of the server's address.
fn nat(section: &Section<'_>) -> BTreeMap<MachineName, Vec<Address>> {
    let mut nat: BTreeMap<MachineName, Vec<Address>> = BTreeMap::new();
    for table in section.tables("nat", "provision.nat") {
        let machines: Vec<MachineName> = table.parsed_list("machines").unwrap_or_default();
        if machines.is_empty() {
            table.fault("machines", "write the names of the machines, such as [\"web1\"]");
        }
        let from: Vec<Address> = table.parsed_list("from").unwrap_or_default();
        if from.is_empty() {
            table.fault("from", "write the address that these machines see, such as [\"192.0.2.7\"]");
        }
        table.finish();
        for machine in machines {
            nat.entry(machine).or_default().extend(&from);
        }
    }
    nat
}

fn ssh_admin() -> UserName {
    SSH_ADMIN.parse().unwrap_or_else(|error| unreachable!("{error}"))
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What `remote.sh` accepts as a shell.
fn is_path(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    text.starts_with('/') && text.len() <= 200 && text.bytes().all(is_plain)
}
