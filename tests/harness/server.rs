//! One real `kbmfa-server` on a fixed port, which a test starts, stops, kills and restarts.

use rustix::process::Signal;
use serde_json::Value;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;

use crate::clock::FakeClock;
use crate::ports::Port;
use crate::process::{brief, program, run, signal};
use crate::wait::{PATIENCE, until};
use crate::{built, files};

/// A server with its own database, CA and configuration.
#[derive(Debug)]
pub struct Server {
    /// The port that machines talk to.
    pub port: u16,
    /// The configuration file.
    pub config: PathBuf,
    /// Directory of the database and the keys.
    pub state_dir: PathBuf,
    /// The pin of its CA.
    pub pin: String,
    /// Its clock, if that is not the host's.
    pub clock: Option<FakeClock>,
    log: PathBuf,
    status: Port,
    /// The port of a second server, which is reserved while that is down.
    _port: Option<Port>,
    running: RefCell<Option<Child>>,
    variables: RefCell<Vec<(String, String)>>,
}

impl Server {
    /// Runs `kbmfa-server init` in `dir` for this owner. The server does not run yet.
    pub fn init(dir: &Path, port: u16, owner: Option<&str>) -> Self {
        let (config, state_dir, status) = (dir.join("server.toml"), dir.join("state"), Port::reserve());
        let mut command = brief(built::server());
        command.args(["init", "--json", "--name", "localhost", "--name", "127.0.0.1"]);
        command.arg("--config").arg(&config).arg("--state-dir").arg(&state_dir);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--status-listen", &format!("127.0.0.1:{}", status.number)]);
        command.args(owner.iter().flat_map(|owner| ["--owner", owner]));
        let report: Value = serde_json::from_str(&run(&mut command)).expect("JSON from init");
        let pin = report["pin"].as_str().expect("a pin from init").to_owned();
        let (log, running, variables) = (dir.join("server.log"), RefCell::default(), RefCell::default());
        Self { port, config, state_dir, pin, clock: None, log, status, running, variables, _port: None }
    }

    /// A second server on the same state, with ports of its own. It does not run yet.
    #[must_use]
    pub fn twin(&self) -> Self {
        let (port, status) = (Port::reserve(), Port::reserve());
        let (config, log) = (self.config.with_extension("twin.toml"), self.log.with_extension("twin.log"));
        fs::copy(&self.config, &config).unwrap();
        files::set_key(&config, "server", "listen", &format!("\"127.0.0.1:{}\"", port.number));
        files::set_key(&config, "server", "status_listen", &format!("\"127.0.0.1:{}\"", status.number));
        let (state_dir, pin) = (self.state_dir.clone(), self.pin.clone());
        let (number, running, variables) = (port.number, RefCell::default(), RefCell::default());
        let clock = self.clock.clone();
        Self {
            port: number,
            config,
            state_dir,
            pin,
            clock,
            log,
            status,
            running,
            variables,
            _port: Some(port),
        }
    }

    /// Reloads its configuration.
    pub fn reload(&self) {
        signal(self.running.borrow().as_ref().expect("a running server"), Signal::HUP);
    }

    /// Reloads its configuration and waits for the outcome: its note, or why it failed.
    pub fn try_reload(&self) -> Result<String, String> {
        let mut command = brief(built::server());
        command.arg("reload").arg("--config").arg(&self.config);
        let output = command.args(["--pid", &self.pid().to_string()]).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Sets an environment variable, from its next start on.
    pub fn set_variable(&self, name: &str, value: &str) {
        self.variables.borrow_mut().push((name.to_owned(), value.to_owned()));
    }

    /// Changes a key of the configuration, from its next start on.
    pub fn set(&self, section: &str, key: &str, value: &str) {
        files::set_key(&self.config, section, key, value);
    }

    /// Adds lines to the end of the configuration, from its next start on.
    pub fn append(&self, lines: &str) {
        let config = fs::read_to_string(&self.config).unwrap();
        fs::write(&self.config, format!("{config}\n{lines}")).unwrap();
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) {
        self.start_until("HTTP/1.1 200");
    }

    /// Starts it, and waits until `/readyz` answers with this.
    pub fn start_until(&self, status: &str) {
        assert!(self.running.borrow().is_none(), "the server runs already");
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = program(built::server());
        command.arg("serve").arg("--config").arg(&self.config);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.envs(self.variables.borrow().iter().map(|(name, value)| (name, value)));
        command.envs(self.clock.iter().map(|clock| ("LD_PRELOAD", &clock.library)));
        *self.running.borrow_mut() = Some(command.spawn().unwrap());
        until("the server to be ready", || self.answers(status).then_some(()));
    }

    /// Starts it although it must refuse to start. Returns its error.
    pub fn start_in_vain(&self) -> String {
        let mut command = program("timeout");
        command.arg("60").arg(built::server()).arg("serve").arg("--config").arg(&self.config);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "it started");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Waits until it has logged this.
    pub fn wait_for_log(&self, what: &str) {
        until(&format!("the log to say {what:?}"), || self.log().contains(what).then_some(()));
    }

    /// Waits until the loopback listener answers with this.
    pub fn wait_for_status(&self, path: &str, what: &str) {
        until(&format!("{path} to say {what:?}"), || {
            self.status(path).filter(|answer| answer.contains(what)).map(drop)
        });
    }

    /// Stops it with SIGTERM. It must end successfully.
    pub fn stop(&self) {
        let mut child = self.running.take().expect("a running server");
        signal(&child, Signal::TERM);
        let status = until("the server to stop", || child.try_wait().unwrap());
        assert!(status.success(), "SIGTERM ended the server with {status}\n{}", self.log());
    }

    /// Waits until it has ended by itself, and returns its exit code.
    pub fn wait_for_end(&self) -> Option<i32> {
        let mut child = self.running.take().expect("a running server");
        until("the server to end by itself", || child.try_wait().unwrap()).code()
    }

    /// Kills it without warning.
    pub fn kill(&self) {
        let mut child = self.running.take().expect("a running server");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops its process (SIGSTOP), until [`Server::go_on`].
    pub fn hang(&self) {
        signal(self.running.borrow().as_ref().expect("a running server"), Signal::STOP);
    }

    /// Ends [`Server::hang`].
    pub fn go_on(&self) {
        signal(self.running.borrow().as_ref().expect("a running server"), Signal::CONT);
    }

    /// Stops and starts it.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.borrow().as_ref().expect("a running server").id()
    }

    /// Its whole log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn answers(&self, status: &str) -> bool {
        if let Some(status) = self.running.borrow_mut().as_mut().unwrap().try_wait().unwrap() {
            panic!("the server ended with {status} before it was ready\n{}", self.log());
        }
        self.status("/readyz").is_some_and(|answer| answer.starts_with(status))
    }

    /// The port of its loopback listener.
    pub fn status_port(&self) -> u16 {
        self.status.number
    }

    /// The answer of its loopback listener, with the head; `None` if nothing listens.
    pub fn status(&self, path: &str) -> Option<String> {
        status_at(self.status.number, path)
    }
}

/// The answer of the loopback listener at this port, with the head; `None` if nothing listens.
pub fn status_at(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- server log\n{}", self.log());
        }
        if let Some(mut child) = self.running.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
