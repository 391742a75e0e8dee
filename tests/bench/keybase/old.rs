//! Logins through the old tool, re-created in `tests/bench/old`: `pam_exec` in the session phase, bash and
//! curl, Flask, and a `keybase` process for each call.

use kbmfa_tests::builder::MachineBuilder;
use kbmfa_tests::built;
use kbmfa_tests::chat::{BOT, Chat};
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::ports::Port;
use kbmfa_tests::process::{program, run};
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::{PATIENCE, until};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

use crate::login::Way;
use kbmfa_tests::group::Group;

const STACK: &str = "auth required pam_deny.so\naccount required pam_unix.so\nsession required pam_unix.so\n\
    session required pam_exec.so seteuid /usr/bin/kb_pam_client.sh\n";
const CLIENT: &str = include_str!("../old/client.sh");
const TOKEN: &str = "a-token-for-the-bench";

/// Number of round trips, of which the median counts.
const ROUNDS: usize = 20;

/// Ticks per second of the clock in which Linux reports CPU time.
const TICKS: f64 = 100.0;

/// The old tool's server, and a machine with its script.
pub(crate) struct Old {
    machine: Machine,
    python: Child,
    service: Child,
    chat: Chat,
    on_machine: Group,
    server: Group,
    double: Group,
    dir: TempDir,
    _port: Port,
}

impl Old {
    pub(crate) fn start() -> Self {
        let chat = Chat::start().unjudged();
        let dir = tempfile::Builder::new().prefix("kbmfa-old-").tempdir().unwrap();
        let (on_machine, server, double) =
            (Group::new("old-machine"), Group::new("old-server"), Group::new("old-double"));
        double.adopt(chat.pid());
        let paper_key = fs::read_to_string(chat.paperkey_file()).unwrap();
        let mut service = keybase(&chat, dir.path());
        service.args(["service", "--oneshot-username", BOT]).env("KEYBASE_PAPERKEY", paper_key.trim());
        let service = service.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        chat.wait_logins(1, PATIENCE).unwrap();
        double.adopt(chat.services().unwrap()[0].pid);
        let port = Port::reserve();
        let mut python = serve(&chat, dir.path(), port.number);
        server.adopt(python.id());
        until("the old tool's server to listen", || {
            let ended = python.try_wait().unwrap();
            assert!(ended.is_none(), "it ended\n{}", log(dir.path()));
            TcpStream::connect(("127.0.0.1", port.number)).ok()
        });
        let machine = machine(port.number);
        machine.processes().into_iter().for_each(|pid| on_machine.adopt(pid));
        Self { machine, python, service, chat, on_machine, server, double, dir, _port: port }
    }

    /// Milliseconds until `chat api` replies: with a process that is kept, and with a new process for each
    /// request.
    pub(crate) fn round_trips(&self) -> (Vec<f64>, Vec<f64>) {
        let mut command = keybase(&self.chat, self.dir.path());
        command.args(["chat", "api"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut stays = command.spawn().unwrap();
        let (mut requests, mut replies) =
            (stays.stdin.take().unwrap(), BufReader::new(stays.stdout.take().unwrap()));
        let stream = (1..=ROUNDS).map(|id| {
            timed(|| {
                writeln!(requests, "{}", read_one(id)).unwrap();
                replies.read_line(&mut String::new()).unwrap();
            })
        });
        let stream = stream.collect();
        drop(requests);
        stays.wait().unwrap();
        let process = (1..=ROUNDS).map(|id| {
            let mut command = keybase(&self.chat, self.dir.path());
            command.args(["chat", "api", "-m", &read_one(id).to_string()]);
            timed(|| drop(run(&mut command)))
        });
        (stream, process.collect())
    }

    /// Number of the double's complaints about it.
    pub(crate) fn complaints(&self) -> usize {
        self.chat.complaints().unwrap().len()
    }
}

/// `keybase`, run as the account that runs the server.
fn keybase(chat: &Chat, home: &Path) -> Command {
    // Not by `program`, because its own three programs would be timed, too.
    let mut command = Command::new(chat.program());
    command.env_clear().env("HOME", home).env("KEYBASE_ALLOW_ROOT", "1").stdin(Stdio::null());
    command
}

fn read_one(id: usize) -> Value {
    let channel = json!({"name": "acme", "members_type": "team", "topic_name": "sudo"});
    let options = json!({"channel": channel, "pagination": {"num": 1}});
    json!({"jsonrpc": "2.0", "id": id, "method": "read", "params": {"version": 1, "options": options}})
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e3
}

/// Starts the old server by `python server.py`.
fn serve(chat: &Chat, dir: &Path, port: u16) -> Child {
    let python = built::workspace().join(".cache/bench/python/bin/python");
    assert!(python.exists(), "{} is not there: run `make bench`", python.display());
    let log = File::create(dir.join("server.log")).unwrap();
    let mut command = program(python);
    command.arg(built::workspace().join("tests/bench/old/server.py")).current_dir(dir);
    command.env("PATH", format!("{}:/usr/bin:/bin", chat.program().parent().unwrap().display()));
    // If the double is found through PATH, it does not know where its cloud is.
    command.env("KEYBASE_DOUBLE_CLOUD", chat.program().with_file_name("cloud.sock"));
    command.env("HOME", dir).env("KEYBASE_ALLOW_ROOT", "1").env("PORT", port.to_string());
    command.env("KB_TEAM", "acme").env("KB_CHANNEL", "sudo").env("AUTH_TOKEN", TOKEN);
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// A machine whose owner has filled in the script and the line of PAM.
fn machine(port: u16) -> Machine {
    let machine = MachineBuilder::new("web1").phase(Phase::Session).pam_stack(STACK).start();
    let script = CLIENT.replace("@URL@", &format!("http://127.0.0.1:{port}"));
    let script = script.replace("@TOKEN@", TOKEN).replace("@NAME@", "web1");
    put(&machine.path("/usr/bin/kb_pam_client.sh"), 0o755, script);
    machine
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("server.log")).unwrap()
}

impl Way for Old {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn chat(&self) -> Option<(&Chat, &'static str)> {
        Some((&self.chat, "is requesting access"))
    }

    /// Nothing to wait for: it posts its decision before it lets anybody in.
    fn settle(&self, _: u64) {}

    fn machine_ms(&self) -> f64 {
        self.on_machine.cpu_ms()
    }

    fn server_ms(&self) -> f64 {
        self.server.cpu_ms()
    }

    /// CPU time of the server's children that have ended.
    fn clients_ms(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.python.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[13..15].iter().map(|field| field.parse::<f64>().unwrap()).sum();
        ticks * 1e3 / TICKS
    }

    fn double_ms(&self) -> f64 {
        self.double.cpu_ms()
    }

    /// Flask's own server logs one line for each request.
    fn http_requests(&self) -> u64 {
        log(self.dir.path()).lines().filter(|line| line.contains(" HTTP/1.1\" ")).count() as u64
    }

    fn learned_us(&self) -> Option<i64> {
        None
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        for child in [&mut self.python, &mut self.service] {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
