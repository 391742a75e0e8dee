//! The configuration file. Collects each module's settings, checks those that depend on each other, and
//! reports all faults at once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin_socket;
use crate::channels::Post;
use crate::channels::keybase::{self, members::Role};
use crate::clock::Time;
use crate::db::{self, Tx};
use crate::employees::ledger::Uids;
use crate::http;
use crate::keys::AddedKeys;
use crate::logins::Rules;
use crate::logins::state::Grace;
use crate::machines::caller::AuthToken;
use crate::machines::store;
use crate::policy::{self, Approvers, Channel, Known, RequireGrant, Says, Terms};
use crate::pools;
use crate::provision;
use crate::settings::{Faults, File, Section};
use auth_token::auth_token;
use rules::{WINDOW, approvers, limits, nest, rule};

mod auth_token;
mod channels;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod own_files;
mod rules;

pub use auth_token::{auth_token_hash, read_auth_token};

/// Default path of the file.
pub const DEFAULT_PATH: &str = "/etc/kbmfa/server.toml";

/// Shortest and longest poll grace.
const POLL_GRACE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(300));
/// Shortest and longest cool-down.
const COOL_DOWN: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));

/// Shortest and longest time that ended logins are kept, in days. A week is far longer than any look-back.
const KEEP_DAYS: (u64, u64) = (7, 36_500);

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory for the database, keys and certificates.
    pub state_dir: PathBuf,
    /// Listeners, names and limits.
    pub http: http::Settings,
    /// Who may log in, and who may approve.
    pub policy: policy::Settings,
    /// How long a machine may be silent before its login ends.
    pub poll_grace: Duration,
    /// How long after a denial the same user from the same address is refused on the same machine.
    pub cool_down: Duration,
    /// How long ended logins and closed sessions are kept.
    pub keep: Duration,
    /// The uids that employees are given.
    pub uids: Uids,
    /// What happens to a key that an enrolled key adds.
    pub added_keys: AddedKeys,
    /// The chat in which people are asked, if there is one.
    pub chat: Option<Box<keybase::Settings>>,
    /// The old tool's `AUTH_TOKEN`, if it is accepted.
    pub auth_token: Option<AuthToken>,
    /// The file of that token.
    pub auth_token_file: Option<PathBuf>,
    /// How keys get to machines.
    pub provision: provision::settings::Settings,
    /// Who may see and answer logins without being root.
    pub admin: admin_socket::Settings,
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
    /// The file has faults.
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

    /// Checks the text of the file at `path`.
    ///
    /// # Errors
    /// Every fault in it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Faults> {
        let file = File::new(path, text);
        let config = gather(&file);
        file.finish()?;
        Ok(config)
    }

    /// Faults of a policy with valid keys, checked against the existing machines and pools.
    pub fn policy_faults(&self, tx: &Tx<'_>) -> Result<Vec<String>, db::Error> {
        let known = Known {
            machines: store::machines(tx)?.into_iter().map(|machine| machine.name).collect(),
            pools: pools::store::all(tx)?.into_iter().map(|pool| pool.name).collect(),
        };
        Ok(policy::lint(&self.policy, &known))
    }

    /// The destinations of asks in the chat: the default one, and that of each rule.
    pub fn destinations(&self) -> Vec<String> {
        let all: BTreeSet<String> = self.terms().map(|terms| terms.destination.clone()).collect();
        all.into_iter().collect()
    }

    /// True if rules distinguish approvers at the console. Then an answer there without a login uid does not
    /// count.
    pub fn tells_console_approvers_apart(&self) -> bool {
        self.terms().any(|terms| match &terms.approvers {
            Approvers::Anyone => false,
            Approvers::NotSelf => terms.channels.contains(&Channel::Console),
            Approvers::List(people) => people.iter().any(|person| person.is_in(Channel::Console)),
        })
    }

    /// The terms of each rule that asks, and the default.
    fn terms(&self) -> impl Iterator<Item = &Terms> {
        let ruled = self.policy.rules.iter().filter_map(|rule| match &rule.says {
            Says::Ask(terms) => Some(terms),
            Says::Exempt => None,
        });
        ruled.chain([&self.policy.default])
    }

    /// The rules for logins. `listening_since` is the start of the server; `None` in the command line, which
    /// hears no machine.
    pub fn rules(&self, listening_since: Option<Time>) -> Rules {
        let grace = Grace { length: self.poll_grace, listening_since };
        let (policy, auth_token) = (self.policy.clone(), self.auth_token.clone());
        Rules {
            policy,
            chat: self.chat.as_ref().map(|_| Channel::Keybase),
            cool_down: self.cool_down,
            grace,
            auth_token,
            post: self.chat.as_ref().map_or_else(Post::default, |keybase| keybase.post),
            keep: self.keep,
            uids: self.uids,
            added_keys: self.added_keys,
        }
    }
}

/// The directory whose files employees may download.
fn downloads(file: &File<'_>) -> Option<PathBuf> {
    let enrolment = file.section("enrolment");
    let directory = enrolment.parsed_or_none::<PathBuf>("directory");
    if directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
        enrolment.fault("directory", "write an absolute path");
    }
    enrolment.finish();
    directory
}

fn gather<'a>(file: &'a File<'a>) -> Config {
    let server = file.section("server");
    let state_dir: PathBuf = server.parsed("state_dir", PathBuf::from("/var/lib/kbmfa"));
    let mut http = http::Settings::read(&server, &state_dir);
    let auth_token_file = server.parsed_or_none::<PathBuf>("auth_token_file");
    let auth_token = auth_token(&server, auth_token_file.as_deref());
    server.finish();

    http.downloads = downloads(file);

    let section = file.section("admin");
    let admin = admin_socket::Settings::read(&section, &state_dir);
    section.finish();

    let login = file.section("login");
    let window = login.duration("window", Duration::from_secs(60), WINDOW);
    let poll_grace = login.duration("poll_grace", Duration::from_secs(15), POLL_GRACE);
    nest(&login, "poll_grace", poll_grace, window);
    let cool_down = login.duration("cool_down", Duration::from_secs(30), COOL_DOWN);
    let limits = limits(&login);
    let keep = login.days("keep", 400, KEEP_DAYS);
    login.finish();

    let policy = file.section("policy");
    let min_role = policy.parsed("min_role", Role::Writer);
    let chat = channels::chat(file, &state_dir, min_role);
    let own_channel = chat.as_ref().map_or(Channel::Console, |_| Channel::Keybase);
    let named = approvers(&policy, &chat);
    let default = Terms {
        channels: channels::channels(&policy, &chat, named.as_ref(), &[own_channel]),
        channels_when_down: channels::channels_when_down(&policy, &[]),
        approvers: named.unwrap_or(Approvers::Anyone),
        window,
        destination: channels::default_destination(&chat),
    };
    let require_member = policy.flag("require_member", false);
    let require_grant = require_grant(&policy);
    if chat.is_none() && require_member {
        policy.fault("require_member", "there are members only where kind in [relay] is \"keybase\"");
    }
    let rules = policy.tables("rule", "policy.rule");
    let rules = rules.into_iter().map(|section| rule(section, &default, &chat, poll_grace)).collect();
    policy.finish();

    let roster = file.section("roster");
    let uids = roster.parsed("uids", Uids::default());
    let added_keys = roster.parsed("added_keys", AddedKeys::default());
    roster.finish();

    let policy = policy::Settings { rules, default, limits, require_member, require_grant };
    Config {
        state_dir,
        http,
        policy,
        poll_grace,
        cool_down,
        keep,
        uids,
        added_keys,
        chat,
        auth_token,
        auth_token_file,
        provision: provision(file),
        admin,
    }
}

fn require_grant(policy: &Section<'_>) -> RequireGrant {
    match (policy.has("require_grant"), policy.flag("require_grant", false)) {
        (false, _) => RequireGrant::default(),
        (true, true) => RequireGrant::Everywhere,
        (true, false) => RequireGrant::Nowhere,
    }
}

fn provision<'a>(file: &'a File<'a>) -> provision::settings::Settings {
    let section = file.section("provision");
    let settings = provision::settings::Settings::read(&section);
    section.finish();
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretHash;
    use std::os::unix::fs::PermissionsExt;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("server.toml"), text).map_err(|faults| faults.to_string())
    }

    #[test]
    fn an_empty_file_has_every_default() {
        let config = parse("").unwrap();
        assert_eq!(config.policy.default.window, Duration::from_secs(60));
        assert_eq!(config.policy.default.approvers, Approvers::Anyone);
        assert_eq!(config.state_dir, Path::new("/var/lib/kbmfa"));
    }

    #[test]
    fn all_faults_are_reported_at_once_with_file_line_and_key() {
        let text = "[server]\nlisten = \"nowhere\"\ncolour = 3\n\n[login]\nwindow = \"1y\"\npoll_grace = 15\n\
                    [policy]\napprovers = [\"root\", \"console:root\"]\n[relay]\nkind = \"pigeon\"\n[what]\n";
        insta::assert_snapshot!(parse(text).unwrap_err(), @r#"
        server.toml:2: server.listen: invalid socket address syntax
        server.toml:3: unknown key "colour" in [server]; known: auth_token_file, auth_token_from, connections, connections_per_address, listen, names, requests_per_machine, state_dir, status_listen, tls_cert, tls_key, unproven_connections, unproven_per_address
        server.toml:6: login.window: write a duration from 7s to 900s, such as "60s"
        server.toml:7: login.poll_grace: write a string in quotes
        server.toml:9: policy.approvers: "root" names no approver: write channel:name with a channel of a-z, such as console:root
        server.toml:11: relay.kind: write "console" or "keybase"
        server.toml:12: unknown section or key "what"
        "#);
    }

    #[test]
    fn the_bound_for_all_machines_is_well_above_what_one_can_use_up() {
        let everywhere = |text: &str| parse(text).map(|config| config.policy.limits.asks_per_user_everywhere);
        assert_eq!(everywhere("[login]\nasks_per_user = 50").unwrap(), 500);
        assert_eq!(everywhere("[login]\nasks_per_user = 5\nasks_per_user_everywhere = 20").unwrap(), 20);
        let faults = everywhere("[login]\nasks_per_user = 5\nasks_per_user_everywhere = 19").unwrap_err();
        assert!(faults.contains("write at least 20") && faults.contains("every other machine"), "{faults}");
    }

    #[test]
    fn the_packaged_example_names_every_key_and_its_default() {
        let example = include_str!("../../packaging/etc/server.toml");
        let parsed = parse(example).unwrap();
        let defaults = parse("[server]\nnames = [\"kbmfa.example\"]").unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{defaults:?}"));
        let known = "[server]\nx = 1\n[login]\nx = 1\n[policy]\nx = 1\n[[policy.rule]]\nx = 1\n[relay]\nx = 1\n[relay.keybase]\nx = 1\n[provision]\nx = 1";
        let faults = parse(known).unwrap_err();
        let lists = faults.lines().filter_map(|line| line.rsplit_once("known: "));
        let keys = lists.flat_map(|(_, keys)| keys.split(", "));
        for key in keys.filter(|key| !["rule", "keybase", "nat", "sudo"].contains(key)) {
            assert!(example.contains(&format!("{key} = ")), "the example lacks {key}");
        }
        let whole = example.replace("#~", "").replace("kind = \"console\"", "kind = \"keybase\"");
        let config = parse(&whole.replace("destination = \"console\"", "destination = \"ops\"")).unwrap();
        assert_eq!((config.policy.rules.len(), &config.policy.rules[0].says), (2, &Says::Exempt));
        let Says::Ask(terms) = &config.policy.rules[1].says else { panic!("{:?}", config.policy.rules) };
        let channels = [Channel::Console, Channel::Keybase];
        assert_eq!(
            (terms.destination.as_str(), terms.channels.as_slice()),
            ("acme#ops", channels.as_slice())
        );
    }

    #[test]
    fn a_rule_overrides_its_own_keys_only() {
        let config = parse(
            "[policy]\napprovers = \"not-self\"\n[[policy.rule]]\nusers = \"root\"\nwindow = \"2m\"\n\
             [[policy.rule]]\nfrom = [\"10.0.0.0/8\", \"192.0.2.7\"]\npools = [\"ci\"]\nexempt = true",
        );
        let policy = config.unwrap().policy;
        assert_eq!((policy.rules[0].line, policy.rules[1].line), (3, 6));
        let Says::Ask(terms) = &policy.rules[0].says else { panic!("{:?}", policy.rules[0]) };
        assert_eq!((&terms.approvers, terms.window.as_secs()), (&Approvers::NotSelf, 120));
        assert_eq!(policy.rules[1].scope.from.len(), 2);
        assert_eq!(policy.longest_window(), Duration::from_secs(120));
    }

    #[test]
    fn faults_in_rules_are_reported_with_their_lines() {
        let text = "[policy]\n[[policy.rule]]\nexempt = true\nwindow = \"60s\"\n[[policy.rule]]\nfrom = [\"here\"]\n\
                    users = []\ncolour = 1\n[[policy.rule]]\ndestination = \"#ops\"\nwindow = \"10s\"\n";
        insta::assert_snapshot!(parse(text).unwrap_err(), @r#"
        server.toml:3: policy.rule.exempt: an exemption needs a source range (from), and machines or pools
        server.toml:4: policy.rule.window: an exemption asks nobody
        server.toml:6: policy.rule.from: "here" is not an address or range such as 192.0.2.0/24
        server.toml:7: policy.rule.users: an empty list matches nothing; leave the key out, or name something
        server.toml:8: unknown key "colour" in [policy.rule]; known: approvers, channels, channels_when_down, destination, exempt, from, machines, pools, services, users, window
        server.toml:10: policy.rule.destination: without a chat there is only "console"
        server.toml:11: policy.rule.window: poll_grace (15s) must be shorter than the window (10s)
        "#);
    }

    #[test]
    fn an_auth_token_needs_a_source_range_and_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let read = |token: &str, mode, more: &str| {
            fs::write(&path, token).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            parse(&format!("[server]\nauth_token_file = {path:?}\n{more}"))
                .map(|config| config.auth_token.unwrap())
        };
        let from = "auth_token_from = \"10.0.0.0/8\"";
        let token = read("0123456789abcdef\n", 0o640, from).unwrap();
        assert_eq!((token.hash, token.from.len()), (SecretHash::of("0123456789abcdef"), 1));
        let check = |token: &str, mode, more: &str, expected: &str| {
            let faults = read(token, mode, more).unwrap_err();
            assert!(faults.contains(expected), "{faults}");
        };
        check("0123456789abcdef", 0o640, "", "name the source ranges");
        check("0123456789abcdef", 0o644, from, "its mode 644 lets everybody read it");
        check("0123456789abcde", 0o640, from, "16 to 256 visible characters");
        check("0123456789 abcdef", 0o640, from, "without a blank");
        assert!(parse(&format!("[server]\n{from}")).unwrap_err().contains("goes with auth_token_file"));
        assert!(parse("[server]\nauth_token_file = \"/nowhere\"").unwrap_err().contains("No such file"));
    }

    fn keybase(lines: &str) -> Result<Config, String> {
        let known = "[relay.keybase]\nusername = \"sshbot\"\npaperkey_file = \"/etc/kbmfa/paperkey\"\n";
        let (above, below) = lines.split_once("--\n").unwrap_or(("", lines));
        parse(&format!("{above}[relay]\nkind = \"keybase\"\n{known}{below}"))
    }

    #[test]
    fn keybase_needs_a_bot_that_nobody_approves_with_and_a_place_to_ask() {
        let config = keybase("team = \"acme\"").unwrap();
        let default = &config.policy.default;
        assert_eq!(default.destination, "acme#general");
        assert_eq!(
            keybase("type = \"private\"\nuser = \"alice\"").unwrap().policy.default.destination,
            "@alice"
        );
        let check = |lines: &str, expected: &str| {
            let faults = keybase(lines).unwrap_err();
            assert!(faults.contains(expected), "{faults}");
        };
        check("", "type \"team\" needs team");
        check("type = \"private\"\nuser = \"sshbot\"", "the bot would approve its own asks");
        check("[policy]\napprovers = \"keybase:sshbot\"\n--\nteam = \"acme\"", "keybase:sshbot is the bot");
        check("[[policy.rule]]\ndestination = \"@sshbot\"\n--\nteam = \"acme\"", "the bot would approve");
        check("team = \"acme\"\nuser = \"alice\"", "type \"team\" needs team");
        check("team = \"acme\"\npost = \"all\"", "neither \"refusals\" nor \"sessions\"");
        check(&format!("team = \"acme\"\nhome = \"/{}\"", "x".repeat(77)), "77 bytes at most");
        assert!(parse("[policy]\nrequire_member = true").unwrap_err().contains("only where kind in [relay]"));
    }

    #[test]
    fn no_rule_is_about_a_claimed_machine() {
        let fault = parse("[[policy.rule]]\nmachines = \"claimed:web1\"").unwrap_err();
        assert!(fault.contains("policy.rule.machines: a rule cannot name claimed machines"), "{fault}");
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
        assert_eq!(config.policy.default.approvers.to_string(), "console:root");
    }
}
