//! A server in its own process and directory, with machines that have joined.

use kbmfa_proto::names::MachineName;
use kbmfa_server::audit::Actor;
use kbmfa_server::db::Db;
use kbmfa_server::secret::SecretHash;
use kbmfa_server::usecases::{self, machines};
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Number of machines among which the logins are spread.
pub(crate) const MACHINES: usize = 2_000;

/// Longest time until a process listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with a configuration, a database, a CA and machines. What uses it is started separately.
pub(crate) struct Bed {
    pub(crate) config: PathBuf,
    pub(crate) state_dir: PathBuf,
    status: u16,
    port: u16,
    dir: TempDir,
}

/// A process of this bench, killed when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-wire-").tempdir().unwrap();
        let (config, state_dir) = (dir.path().join("server.toml"), dir.path().join("state"));
        let bed = Self { config, state_dir, status: free_port(), port: free_port(), dir };
        let mut init = shipped_server(&["init", "--name", "localhost"]);
        init.arg("--config").arg(&bed.config).arg("--state-dir").arg(&bed.state_dir);
        let init = init.stdout(Stdio::null()).status().unwrap();
        assert!(init.success(), "init failed");
        fs::write(&bed.config, bed.settings()).unwrap();
        bed.add_machines();
        bed
    }

    /// The default configuration, except for limits: here a few machines do what thousands do elsewhere.
    fn settings(&self) -> String {
        let (state_dir, status, port) = (self.state_dir.display(), self.status, self.port);
        format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\nstatus_listen = \"127.0.0.1:{status}\"\nstate_dir = \"{state_dir}\"\n\
             names = [\"localhost\"]\nconnections = 1000000\nconnections_per_address = 1000000\nunproven_connections = 1000000\nunproven_per_address = 1000000\n\
             requests_per_machine = 1000000\n[login]\nwindow = \"900s\"\npoll_grace = \"300s\"\npending_per_user = 1000000\n\
             pending_per_machine = 1000000\nasks_per_user = 1000000\nasks_per_machine = 1000000\n"
        )
    }

    fn add_machines(&self) {
        let db = Db::open(&self.state_dir).unwrap();
        let added = db.write_blocking("bench", |tx| {
            (0..MACHINES).try_for_each(|n| {
                let (actor, name) = (Actor::new("bench"), name(n));
                machines::add(tx, &actor, &name, &[])?;
                let token = machines::make_join_token(tx, &actor, &name, machines::JOIN_TOKEN_LIFE)?;
                machines::join(tx, &token.hash(), &SecretHash::of(&credential(n)), "bench")?;
                Ok::<_, usecases::Error>(())
            })
        });
        added.unwrap();
        db.close();
    }

    /// Starts the server that ships.
    pub(crate) fn serve(&self) -> Running {
        let mut command = shipped_server(&["serve", "--config"]);
        let log = fs::File::create(self.dir.path().join("server.log")).unwrap();
        Running::start(command.arg(&self.config).stderr(log), self.port)
    }

    /// Starts a handler that does nothing, behind the same accept loop and with the same certificate.
    pub(crate) fn serve_bare(&self) -> Running {
        let port = free_port();
        Running::start(this_program(&["bare"]).arg(&self.config).arg(port.to_string()), port)
    }

    /// One of the server's metrics.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.status)).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{answer}")).parse().unwrap()
    }

    /// Path for a socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("asks.sock")
    }
}

impl Running {
    fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "nothing listens");
            thread::sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// This program, with arguments that select another part.
pub(crate) fn this_program(arguments: &[&str]) -> Command {
    command(&env::current_exe().unwrap(), arguments)
}

/// The server as `make bench-wire` builds it: the file that ships.
fn shipped_server(arguments: &[&str]) -> Command {
    let target = env::var_os("KBMFA_TARGET").expect("run this by `make bench-wire`");
    command(&Path::new(&target).join("release/kbmfa-server"), arguments)
}

fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Path of the server's CA.
pub(crate) fn ca(state_dir: &Path) -> PathBuf {
    state_dir.join("ca/signs/ca.pem")
}

fn name(n: usize) -> MachineName {
    format!("web{n}").parse().unwrap()
}

/// The credential of the nth machine.
pub(crate) fn credential(n: usize) -> String {
    format!("kbmfa_bench_{}", n % MACHINES)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
