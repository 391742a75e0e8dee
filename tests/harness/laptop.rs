//! An employee's computer: a home directory in which the real `kbmfa-enroll` runs, perhaps with an ssh agent.

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

use crate::built;
use crate::process::{brief, interactive, program, run};
use crate::terminal::Terminal;
use crate::wait::until;
use crate::world::World;

/// A computer without any key.
#[derive(Debug)]
pub struct Laptop {
    home: TempDir,
    server: String,
    pin: String,
    agent: Option<Agent>,
}

/// A running ssh agent.
#[derive(Debug)]
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Laptop {
    /// The computer of somebody who was invited to this server.
    pub fn of(world: &World) -> Self {
        let home = tempfile::Builder::new().prefix("kbmfa-laptop-").tempdir().unwrap();
        let server = format!("https://127.0.0.1:{}", world.server.port);
        Self { home, server, pin: world.server.pin.clone(), agent: None }
    }

    /// Somebody else's pin.
    #[must_use]
    pub fn with_pin(self, pin: &str) -> Self {
        Self { pin: pin.to_owned(), ..self }
    }

    /// Starts an agent without keys.
    #[must_use]
    pub fn with_agent(self) -> Self {
        let socket = self.path("agent");
        let child =
            program("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        until("the agent to listen", || socket.exists().then_some(()));
        Self { agent: Some(Agent { child, socket }), ..self }
    }

    /// A path in the home directory.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.home.path().join(inside)
    }

    /// The text of a file in the home directory.
    pub fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
    }

    /// Makes a key with real `ssh-keygen`. Its comment is the path.
    pub fn make_key(&self, inside: &str, passphrase: &str) -> PathBuf {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut command = brief("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", passphrase, "-C", inside, "-f"]).arg(&path);
        run(&mut command);
        path
    }

    /// Gives a key without a passphrase to the agent.
    pub fn give_to_agent(&self, key: &Path) {
        run(self.here(brief("ssh-add")).arg("-q").arg(key));
    }

    /// The fingerprint of a key, as `ssh-keygen` prints it.
    pub fn fingerprint(&self, inside: &str) -> String {
        let printed = run(brief("ssh-keygen").arg("-lf").arg(self.path(inside)));
        printed.split(' ').nth(1).unwrap().to_owned()
    }

    /// The arguments that name the server.
    pub fn server(&self) -> [&str; 4] {
        ["--server", &self.server, "--pin", &self.pin]
    }

    /// Runs `kbmfa-enroll` without a terminal.
    pub fn enroll(&self, arguments: &[impl AsRef<OsStr>]) -> Output {
        self.here(brief(built::enroll())).args(arguments).output().unwrap()
    }

    /// The same, which must succeed, with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = run(self.here(brief(built::enroll())).args(arguments).arg("--json"));
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{printed}"))
    }

    /// Starts `kbmfa-enroll` at a terminal of its own.
    pub fn at_terminal(&self, arguments: &[&str]) -> Terminal {
        let mut command = self.here(interactive(built::enroll()));
        command.args(arguments);
        Terminal::start(command)
    }

    /// A command with this home directory and agent.
    pub fn here(&self, mut command: Command) -> Command {
        command.env("HOME", self.home.path());
        command.envs(self.agent.iter().map(|agent| ("SSH_AUTH_SOCK", &agent.socket)));
        command
    }
}
