//! The operator at the server's console. Runs the verbs of `kbmfa-server` and parses their JSON.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::NamedTempFile;

use crate::built;
use crate::clock::FakeClock;
use crate::process::{brief, program, run};
use crate::terminal::Terminal;
use crate::wait::{PATIENCE, until, until_within};

/// Somebody with a shell on the server.
#[derive(Debug)]
pub struct Admin {
    config: PathBuf,
    /// The clock of the server's host, if that is not the real time.
    pub clock: Option<FakeClock>,
    /// Number of logins seen by [`Admin::until_opened_at_least`].
    opened: AtomicUsize,
}

/// One event of the audit log.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened, such as `login.opened`.
    pub kind: String,
    /// The login that it is about.
    pub login: Option<String>,
    /// The whole event.
    pub entry: Value,
}

impl Admin {
    /// For the server with this configuration, whether it runs or not.
    pub fn new(config: PathBuf) -> Self {
        Self { config, clock: None, opened: AtomicUsize::default() }
    }

    /// Waits until exactly one login is pending, and returns its id.
    pub fn pending(&self) -> String {
        self.pending_logins(1).remove(0).0
    }

    /// Waits until there is exactly one login, in whatever state, and returns its id.
    pub fn only_login(&self) -> String {
        until("one login", || <[_; 1]>::try_from(self.logins(&[])).ok().map(|[(id, _)]| id))
    }

    /// Waits until `count` logins are pending and asked about. Returns their ids and users.
    pub fn pending_logins(&self, count: usize) -> Vec<(String, String)> {
        until(&format!("{count} pending logins"), || {
            let list = self.logins(&["--state", "pending"]);
            if list.len() != count {
                return None;
            }
            let posted = self.events(&["--kind", "ask.posted", "--limit", "1000000"]);
            let is_posted = |id: &str| posted.iter().any(|event| event.login.as_deref() == Some(id));
            list.iter().all(|(id, _)| is_posted(id)).then_some(list)
        })
    }

    /// Waits until, since the last call, at least this many new logins are pending or refused.
    pub fn until_opened_at_least(&self, more: usize) {
        let before = self.opened.load(Ordering::Relaxed);
        until(&format!("{more} more logins"), || (self.count_opened() >= before + more).then_some(()));
        self.opened.store(self.count_opened(), Ordering::Relaxed);
    }

    fn count_opened(&self) -> usize {
        self.json(&["audit", "search", "--kind", "login.opened", "--limit", "1000000"])
            .as_array()
            .unwrap()
            .len()
    }

    /// Ids and users of all logins that the server knows.
    pub fn logins(&self, filter: &[&str]) -> Vec<(String, String)> {
        let list = self.json(&[&["login", "list"], filter].concat());
        let logins = list.as_array().expect("an array of logins");
        logins.iter().map(|login| (text(&login["id"]), text(&login["user"]))).collect()
    }

    /// Approves a login.
    pub fn approve(&self, id: &str) {
        run(&mut self.verb(&["login", "approve", id]));
    }

    /// Denies a login.
    pub fn deny(&self, id: &str) {
        run(&mut self.verb(&["login", "deny", id]));
    }

    /// Denies a login with a reason.
    pub fn deny_because(&self, id: &str, reason: &str) {
        run(&mut self.verb(&["login", "deny", id, "--reason", reason]));
    }

    /// All details of one login.
    pub fn login(&self, id: &str) -> Value {
        self.json(&["login", "show", id])
    }

    /// The state of one login.
    pub fn state(&self, id: &str) -> String {
        text(&self.login(id)["state"])
    }

    /// Waits until a login is in `state`.
    pub fn wait_for_state(&self, id: &str, state: &str) {
        until(&format!("login {id} to be {state}"), || (self.state(id) == state).then_some(()));
    }

    /// How often each of these kinds is in the audit log.
    pub fn count<const N: usize>(&self, kinds: [&str; N]) -> [usize; N] {
        let audit = self.audit();
        kinds.map(|kind| audit.iter().filter(|event| event.kind == kind).count())
    }

    /// All events of the audit log, oldest first.
    pub fn audit(&self) -> Vec<Event> {
        self.events(&[])
    }

    /// The kinds of one login's events, in order.
    pub fn story(&self, id: &str) -> Vec<String> {
        self.events(&["--login", id]).into_iter().map(|event| event.kind).collect()
    }

    /// Waits until the audit log has exactly these events of a login, and checks that the chain is intact.
    pub fn assert_story(&self, id: &str, kinds: &[&str]) {
        let told = until_within(PATIENCE, || (self.story(id) == kinds).then_some(()));
        assert!(told.is_some(), "login {id}: {:?}, not {kinds:?}", self.story(id));
        self.audit_verify();
    }

    /// Checks that the chain of the audit log is intact.
    pub fn audit_verify(&self) {
        run(&mut self.verb(&["audit", "verify"]));
    }

    /// Adds a machine and returns the token with which it can join.
    pub fn add_machine(&self, name: &str) -> String {
        run(&mut self.verb(&["machine", "add", name]));
        run(&mut self.verb(&["machine", "join-token", name])).trim().to_owned()
    }

    /// Runs a verb, and returns what it printed as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = run(self.verb(arguments).arg("--json"));
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{printed}"))
    }

    /// Runs a verb, and returns what it printed for people.
    pub fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.verb(arguments))
    }

    /// Runs a verb without `--yes`, so that it changes nothing and prints what would change.
    pub fn dry_run(&self, arguments: &[&str]) -> String {
        let output = self.verb(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a verb that may be refused. The error is its message, followed by what it has printed before.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.verb(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr) + &text(output.stdout))
        }
    }

    /// Runs a verb that is refused, and returns its JSON output.
    pub fn json_of_failure(&self, arguments: &[&str]) -> Value {
        let output = self.verb(arguments).arg("--json").output().unwrap();
        assert!(!output.status.success(), "{arguments:?} found no fault");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// All findings of `doctor --quick`, as JSON.
    pub fn doctor(&self) -> String {
        let output = self.verb(&["doctor", "--quick", "--json"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts `login watch`.
    pub fn watch(&self) -> Watch {
        let file = NamedTempFile::new().unwrap();
        let mut command = program(built::server());
        command.args(["login", "watch", "--config"]).arg(&self.config);
        command.stdout(file.reopen().unwrap());
        Watch { child: command.spawn().unwrap(), file }
    }

    /// Runs a verb at a terminal.
    pub fn at_terminal(&self, arguments: &[&str]) -> Terminal {
        Terminal::start(self.verb(arguments))
    }

    /// The command of a verb, not started.
    pub fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = brief(built::server());
        command.args(arguments).arg("--config").arg(&self.config);
        command.envs(self.clock.iter().map(|clock| ("LD_PRELOAD", &clock.library)));
        command
    }

    fn events(&self, filter: &[&str]) -> Vec<Event> {
        let list = self.json(&[&["audit", "search"], filter].concat());
        let mut entries = list.as_array().expect("an array of events").clone();
        entries.sort_by_key(|entry| entry["seq"].as_u64());
        let event = |entry: Value| Event {
            kind: text(&entry["kind"]),
            login: entry["login"].as_str().map(str::to_owned),
            entry,
        };
        entries.into_iter().map(event).collect()
    }
}

/// A `login watch` that runs until it is dropped.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    file: NamedTempFile,
}

impl Watch {
    /// What it has printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.file.path()).unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}
