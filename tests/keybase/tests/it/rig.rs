//! One cloud for one test, in a directory of its own, with the programs that use it. All of it ends with the
//! test.

use keybase_double::{Cloud, Role, User};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

use crate::programs::{Api, Listener, Service};

/// Longest time for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A cloud with the users `sudobot`, `alice` and `bob`, the team `acme` and its channel `#sudo`.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) cloud: Cloud,
    pub(crate) bot: User,
    /// The id of `acme#sudo`.
    pub(crate) sudo: String,
    process: Child,
    dir: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kd").tempdir_in("/tmp").unwrap();
        symlink(env!("CARGO_BIN_EXE_keybase"), dir.path().join("keybase")).unwrap();
        let mut process = Command::new(dir.path().join("keybase"))
            .args(["double", "cloud"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = BufReader::new(process.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        assert!(line.starts_with("cloud ready"), "{line}");
        let cloud = Cloud::at(&dir.path().join("cloud.sock"));
        let bot = cloud.add_user("sudobot").unwrap();
        for user in ["alice", "bob"] {
            cloud.add_user(user).unwrap();
        }
        cloud.add_team("acme", "alice").unwrap();
        cloud.set_member("acme", "bob", Role::Reader).unwrap();
        cloud.set_member("acme", "sudobot", Role::Bot).unwrap();
        let sudo = cloud.add_channel("acme", "sudo").unwrap();
        Self { cloud, bot, sudo, process, dir }
    }

    /// A rig with a service that is logged in.
    pub(crate) fn logged_in() -> (Self, Service) {
        let rig = Self::new();
        let service = rig.service();
        (rig, service)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("h")
    }

    /// The program with its home and this command line, as a careful client starts it.
    pub(crate) fn keybase(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare();
        command.env("KEYBASE_NO_AUTO_FORK", "1").arg("--home").arg(self.home()).args(arguments);
        command
    }

    /// The program without arguments and home.
    pub(crate) fn bare(&self) -> Command {
        let mut command = Command::new(self.dir.path().join("keybase"));
        command.env_clear().env("KEYBASE_ALLOW_ROOT", "1").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.keybase(arguments).output().unwrap()
    }

    /// Starts a service that logs the bot in, and waits until it has.
    pub(crate) fn service(&self) -> Service {
        let mut child = self
            .keybase(&["service", "--oneshot-username", "sudobot"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", self.bot.paper_key).unwrap();
        let waited = self.run(&["ctl", "wait"]);
        assert_eq!(waited.status.code(), Some(0), "{}", text(&waited.stderr));
        Service(child)
    }

    pub(crate) fn chat(&self) -> Api {
        Api::spawn(&mut self.keybase(&["chat", "api"]))
    }

    pub(crate) fn team(&self) -> Api {
        Api::spawn(&mut self.keybase(&["team", "api"]))
    }

    /// Starts `chat api-listen`, and waits until it receives events.
    pub(crate) fn listen(&self, flags: &[&str]) -> Listener {
        let mut command = self.keybase(&[&["chat", "api-listen"], flags].concat());
        Listener::spawn(&mut command)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().ok();
    }
}

/// `acme#sudo` as a channel, named as a careful client names it.
pub(crate) fn channel() -> Value {
    json!({"name": "acme", "members_type": "team", "topic_type": "chat", "topic_name": "sudo"})
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
