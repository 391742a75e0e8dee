//! The configuration file: gathers what each module owns, checks what concerns several, and reports all
//! faults at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Time;
use crate::http;
use crate::logins::Rules;
use crate::logins::state::Grace;
use crate::policy::{self, Approvers};
use crate::settings::{Faults, File, Section};

/// Where the file is unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/kbmfa/server.toml";

/// A module spends up to this long on each of its servers before it tries the next (docs/protocol.md).
const MODULE_SERVER_TIMEOUT: Duration = Duration::from_secs(5);

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// Listeners, names and limits.
    pub http: http::Settings,
    /// Who may enter.
    pub policy: policy::Settings,
    /// How long a silent machine is waited for.
    pub poll_grace: Duration,
    /// Where asks go.
    pub relay: RelayKind,
}

/// The relays that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayKind {
    /// The embedded one.
    Console,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file is wrong.
    #[error("{0}")]
    Faulty(Faults),
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`Error`], with every fault in the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text =
            fs::read_to_string(path).map_err(|cause| Error::Unreadable { path: path.to_owned(), cause })?;
        Self::parse(path, &text).map_err(Error::Faulty)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Faults> {
        let file = File::new(path, text);
        let config = gather(&file);
        file.finish()?;
        Ok(config)
    }

    /// The rules for logins, with somebody listening since then, or nobody.
    pub fn rules(&self, listening_since: Option<Time>) -> Rules {
        let destination = match self.relay {
            RelayKind::Console => ("console".to_owned(), "console".to_owned()),
        };
        let grace = Grace { length: self.poll_grace, listening_since };
        Rules { policy: self.policy.clone(), destination, grace }
    }
}

fn gather<'a>(file: &'a File<'a>) -> Config {
    let server = file.section("server");
    let state_dir: PathBuf = server.parsed("state_dir", PathBuf::from("/var/lib/kbmfa"));
    let http = http::Settings::read(&server, &state_dir);
    server.finish();

    let login = file.section("login");
    let seconds = Duration::from_secs;
    let window = login.duration("window", seconds(60), (seconds(7), seconds(900)));
    let poll_grace = login.duration("poll_grace", seconds(15), (seconds(6), seconds(300)));
    nest(&login, poll_grace, window);
    let pending_per_user = login.number("pending_per_user", 3, (1, 1_000));
    let pending_per_machine = login.number("pending_per_machine", 100, (1, 100_000));
    login.finish();

    let policy = file.section("policy");
    let approvers = approvers(&policy);
    policy.finish();

    let relay = file.section("relay");
    let kind = relay.parsed("kind", "console".to_owned());
    if kind != "console" {
        relay.fault("kind", "the only relay of this version is \"console\"");
    }
    relay.finish();

    let policy = policy::Settings { approvers, window, pending_per_user, pending_per_machine };
    Config { state_dir, http, policy, poll_grace, relay: RelayKind::Console }
}

/// Time-outs nest, or a module that fails over is taken for gone.
fn nest(login: &Section<'_>, poll_grace: Duration, window: Duration) {
    if poll_grace <= MODULE_SERVER_TIMEOUT {
        login.fault("poll_grace", "must be longer than the 5 s that a module spends on one server");
    }
    if poll_grace >= window {
        login.fault("poll_grace", &format!("must be shorter than the window ({window:?})"));
    }
}

fn approvers(policy: &Section<'_>) -> Approvers {
    let Some(names) = policy.list("approvers") else { return Approvers::Anyone };
    match names.as_slice() {
        [one] if one == "anyone" => Approvers::Anyone,
        [one] if one == "not-self" => {
            policy.fault("approvers", "\"not-self\" needs employees, which this version does not have");
            Approvers::List(Vec::new())
        }
        [] => {
            policy
                .fault("approvers", "an empty list lets nobody approve; name somebody, or write \"anyone\"");
            Approvers::List(Vec::new())
        }
        names => {
            let people = names.iter().filter_map(|name| {
                name.parse().map_err(|e: policy::BadApprover| policy.fault("approvers", &e.to_string())).ok()
            });
            Approvers::List(people.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("server.toml"), text).map_err(|faults| faults.to_string())
    }

    #[test]
    fn an_empty_file_has_every_default() {
        let config = parse("").unwrap();
        assert_eq!(config.policy.window, Duration::from_secs(60));
        assert_eq!(config.policy.approvers, Approvers::Anyone);
        assert_eq!(config.state_dir, Path::new("/var/lib/kbmfa"));
    }

    #[test]
    fn all_faults_are_reported_at_once_with_file_line_and_key() {
        let text = "[server]\nlisten = \"nowhere\"\ncolour = 3\n\n[login]\nwindow = \"1y\"\npoll_grace = 15\n\
                    [policy]\napprovers = [\"root\", \"console:root\"]\n[relay]\nkind = \"pigeon\"\n[what]\n";
        insta::assert_snapshot!(parse(text).unwrap_err(), @r#"
        server.toml:2: server.listen: invalid socket address syntax
        server.toml:3: unknown key "colour" in [server]; known: connections, connections_per_address, listen, names, state_dir, status_listen, tls_cert, tls_key
        server.toml:6: login.window: write a duration from 7s to 900s, such as "60s"
        server.toml:7: login.poll_grace: write a text in quotes
        server.toml:9: policy.approvers: "root" names no approver: write relay:name with a relay of a-z, such as console:root
        server.toml:11: relay.kind: the only relay of this version is "console"
        server.toml:12: unknown section or key "what"
        "#);
    }

    #[test]
    fn the_packaged_example_names_every_key_and_its_default() {
        let example = include_str!("../../packaging/etc/server.toml");
        let parsed = parse(example).unwrap();
        let defaults = parse("[server]\nnames = [\"kbmfa.example\"]").unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{defaults:?}"));
        let known = parse("[server]\nx = 1\n[login]\nx = 1\n[policy]\nx = 1\n[relay]\nx = 1").unwrap_err();
        let keys = known.lines().flat_map(|line| line.rsplit("known: ").next().unwrap().split(", "));
        for key in keys {
            assert!(example.contains(&format!("{key} = ")), "the example lacks {key}");
        }
    }

    #[test]
    fn time_outs_must_nest() {
        let nested =
            |grace, window| parse(&format!("[login]\npoll_grace = \"{grace}\"\nwindow = \"{window}\""));
        assert!(nested("6s", "7s").is_ok());
        assert!(nested("60s", "60s").unwrap_err().contains("shorter than the window"));
        assert!(nested("5s", "60s").is_err());
    }

    #[test]
    fn an_empty_list_of_approvers_does_not_mean_anyone() {
        assert!(parse("[policy]\napprovers = []").is_err());
        assert!(parse("[policy]\napprovers = [\"anyone\", \"console:root\"]").is_err());
        let config = parse("[policy]\napprovers = \"console:root\"").unwrap();
        assert_eq!(config.policy.approvers.to_string(), "console:root");
    }
}
