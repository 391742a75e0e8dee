//! A server that is started with only the old tool's variables, as people do who move from that tool.
//!
//! Whether Keybase can be reached does not matter here.

use insta::assert_snapshot;
use kbmfa_tests::built;
use kbmfa_tests::files::{put, set_mode};
use kbmfa_tests::ports::Port;
use kbmfa_tests::process::{brief, program, signal};
use kbmfa_tests::wait::until;
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command};
use tempfile::TempDir;

const TEAM: [(&str, &str); 3] = [("KB_TYPE", "team"), ("KB_TEAM", "acme"), ("KEYBASE_USERNAME", "sshbot")];
const PAPERKEY: (&str, &str) = ("KEYBASE_PAPERKEY", "wave arrow hidden lunar");
const TOKEN: (&str, &str) = ("AUTH_TOKEN", "an-old-token-of-all-hosts");
const RANGES: (&str, &str) = ("KBMFA_AUTH_TOKEN_FROM", "127.0.0.0/8");

/// An empty working directory for the server.
struct Place {
    dir: TempDir,
    port: Port,
    status: Port,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-moved-").tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        Self { dir, port: Port::reserve(), status: Port::reserve() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The command `serve` in this directory, with these variables and those that separate it from other
    /// tests.
    fn command(&self, mut command: Command, vars: &[&[(&str, &str)]]) -> Command {
        command.arg("serve").arg("--config").arg(self.path("server.toml")).current_dir(self.dir.path());
        command.env("KBMFA_STATE_DIR", self.path("state")).env("KBMFA_NAMES", "localhost");
        command.env("KBMFA_LISTEN", format!("127.0.0.1:{}", self.port.number));
        command.env("KBMFA_STATUS_LISTEN", format!("127.0.0.1:{}", self.status.number));
        command.envs(vars.concat());
        command
    }

    /// Starts the server and waits until it is alive.
    fn serve(&self, vars: &[&[(&str, &str)]]) -> Serving {
        let log = File::create(self.path("log")).unwrap();
        let mut command = self.command(program(built::server()), vars);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        until("the server to be alive", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {ended:?}\n{}", self.read("log"));
            self.is_alive().then_some(())
        });
        Serving { child }
    }

    /// The error of a server that refuses to start.
    fn complaint(&self, vars: &[&[(&str, &str)]]) -> String {
        let output = self.command(brief(built::server()), vars).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap().replace(self.dir.path().to_str().unwrap(), "<dir>")
    }

    fn is_alive(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.status.number))?;
            write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    fn log_lines_with(&self, text: &str) -> Vec<String> {
        self.read("log").lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Checks that the directory has only the test's own files.
    fn assert_nothing_made(&self) {
        assert!(!self.path("server.toml").exists() && !self.path("state").exists());
    }
}

/// A running server. It is killed when this is dropped.
struct Serving {
    child: Child,
}

impl Serving {
    /// Names of our variables in its environment.
    fn variables(&self) -> Vec<String> {
        let environ = fs::read(format!("/proc/{}/environ", self.child.id())).unwrap();
        let environ = String::from_utf8(environ).unwrap();
        let names = environ.split('\0').filter_map(|var| var.split('=').next());
        let mut names: Vec<_> = names.filter(|name| !["", "LC_ALL", "PATH"].contains(name)).collect();
        names.sort_unstable();
        names.into_iter().map(str::to_owned).collect()
    }

    fn stop(mut self) {
        signal(&self.child, Signal::TERM);
        assert!(until("the server to stop", || self.child.try_wait().unwrap()).success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_first_start_makes_what_init_makes_prints_the_pin_and_keeps_no_secret_in_its_environment() {
    let place = Place::new();
    let more = [PAPERKEY, TOKEN, RANGES, ("FLASK_ENV", "development")];
    let serving = place.serve(&[&TEAM, &more]);
    assert_eq!(serving.variables(), ["FLASK_ENV", "KBMFA_VARIABLES_TAKEN"]);
    let name = fs::read_to_string(format!("/proc/{}/comm", serving.child.id())).unwrap();
    assert_eq!(name, "kbmfa-server\n");
    let config = place.read("server.toml").replace(place.dir.path().to_str().unwrap(), "<dir>");
    let ports = [(&place.port, "<port>"), (&place.status, "<status>")];
    let config = ports.iter().fold(config, |text, (port, name)| text.replace(&port.number.to_string(), name));
    assert_snapshot!(config, @r#"
    # kbmfa-server's configuration. `kbmfa-server check` reads it; SIGHUP makes the server read it again.

    [server]
    listen = "127.0.0.1:<port>"
    status_listen = "127.0.0.1:<status>"
    state_dir = "<dir>/state"
    names = ["localhost"]
    auth_token_file = "<dir>/state/auth_token"
    auth_token_from = ["127.0.0.0/8"]

    [login]
    window = "60s"
    poll_grace = "15s"

    [policy]
    approvers = "anyone"

    [relay]
    kind = "keybase"

    [relay.keybase]
    username = "sshbot"
    type = "team"
    team = "acme"
    channel = "general"
    paperkey_file = "<dir>/state/paperkey"
    "#);
    for (file, content) in [("state/paperkey", PAPERKEY.1), ("state/auth_token", TOKEN.1)] {
        assert_eq!(place.read(file), format!("{content}\n"));
        assert_eq!(fs::metadata(place.path(file)).unwrap().mode() & 0o7777, 0o600, "{file}");
    }
    let pin = &place.log_lines_with("pin            sha256:")[0];
    let join = place.log_lines_with("kbmfa-host join --server https://localhost:");
    assert!(join[0].contains(pin.trim_start_matches("pin").trim()), "{join:?}");
    assert_eq!(place.log_lines_with("the AUTH_TOKEN is accepted").len(), 1);
    assert!(place.log_lines_with("which are ignored").is_empty());
    for secret in [PAPERKEY.1, TOKEN.1] {
        assert!(place.log_lines_with(secret).is_empty());
    }
}

#[test]
fn flask_env_says_whether_there_are_debug_lines() {
    let place = Place::new();
    let talk_nonsense =
        || TcpStream::connect(("127.0.0.1", place.port.number)).unwrap().write_all(b"x\n\n").unwrap();
    let serving = place.serve(&[&TEAM, &[PAPERKEY, ("FLASK_ENV", "production")]]);
    talk_nonsense();
    serving.stop();
    assert!(place.log_lines_with("<7>").is_empty());
    let _serving = place.serve(&[&[PAPERKEY, ("FLASK_ENV", "development")]]);
    talk_nonsense();
    until("a debug line", || place.log_lines_with("<7>kbmfa_server::http::listen: connection").pop());
}

#[test]
fn the_second_start_uses_the_file_and_names_the_ignored_variables() {
    let place = Place::new();
    place.serve(&[&TEAM, &[PAPERKEY]]).stop();
    let (config, paperkey) = (place.read("server.toml"), place.read("state/paperkey"));
    let serving = place.serve(&[&[("KB_TYPE", "pigeon"), ("KEYBASE_PAPERKEY", "other"), TOKEN]]);
    assert_eq!(serving.variables(), ["KBMFA_VARIABLES_TAKEN"]);
    let warnings = place.log_lines_with("which are ignored");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let names = "which are ignored: AUTH_TOKEN, KBMFA_LISTEN, KBMFA_NAMES, KBMFA_STATE_DIR, KBMFA_STATUS_LISTEN, \
                 KB_TYPE, KEYBASE_PAPERKEY";
    assert!(warnings[0].starts_with("<4>") && warnings[0].ends_with(names), "{warnings:?}");
    assert_eq!((place.read("server.toml"), place.read("state/paperkey")), (config, paperkey));
    assert!(!place.path("state/auth_token").exists());
}

#[test]
fn all_faults_are_reported_at_once_and_nothing_is_created() {
    let place = Place::new();
    let vars = [("KB_TYPE", "team"), ("KBMFA_NAMES", ""), ("AUTH_TOKEN_FILE", "/nowhere/token"), RANGES];
    assert_snapshot!(place.complaint(&[&vars]), @r#"
    kbmfa-server: error: KBMFA_NAMES: missing: name the DNS names or addresses at which machines reach this server, such as kbmfa.example,192.0.2.1
    kbmfa-server: error: KB_TEAM: missing: name the team that the bot asks in
    kbmfa-server: error: KEYBASE_USERNAME: missing: name the bot, a Keybase account that no approver uses
    kbmfa-server: error: KEYBASE_PAPERKEY: missing: the bot logs in with its paper key; set this, or better KEYBASE_PAPERKEY_FILE
    kbmfa-server: error: AUTH_TOKEN_FILE: cannot read /nowhere/token: No such file or directory (os error 2)
    hint: nothing was created; docs/operations.md has the table of the variables
    "#);
    place.assert_nothing_made();
    assert_snapshot!(place.complaint(&[&[PAPERKEY]]), @r#"
    kbmfa-server: error: cannot read <dir>/server.toml: No such file or directory (os error 2)
    hint: `kbmfa-server init` makes it; or `serve`, from the old tool's variables: KB_TYPE and so on, and KBMFA_NAMES
    "#);
    place.assert_nothing_made();
}

#[test]
fn a_dotenv_file_says_the_same_and_the_environment_wins() {
    let place = Place::new();
    let lines = "# the old tool's\nexport KB_TYPE=team\nKB_TEAM=other # not ours\nKEYBASE_USERNAME='sshbot'\n\
                 KEYBASE_PAPERKEY=\"wave arrow hidden lunar\"\n";
    put(&place.path(".env"), 0o600, lines);
    let serving = place.serve(&[&[("KB_TEAM", "acme")]]);
    assert_eq!(serving.variables(), ["KBMFA_VARIABLES_TAKEN"]);
    assert!(place.read("server.toml").contains("team = \"acme\"\nchannel = \"general\"\n"));
    assert_eq!(place.read("state/paperkey"), "wave arrow hidden lunar\n");
    assert!(place.log_lines_with("which are ignored").is_empty());
}

#[test]
fn a_dotenv_file_that_others_can_write_names_no_approvers() {
    let place = Place::new();
    put(&place.path(".env"), 0o666, "KB_TYPE=private\nKB_USER=mallory\n");
    let check = || {
        let complaint = place.complaint(&[&[("KEYBASE_USERNAME", "sshbot"), PAPERKEY]]);
        assert!(
            complaint.contains(".env in this directory is not read: others can write to it"),
            "{complaint}"
        );
        assert!(complaint.contains("cannot read <dir>/server.toml"), "{complaint}");
    };
    check();
    set_mode(&place.path(".env"), 0o600);
    chown(place.path(".env"), Some(12345), None).unwrap();
    check();
    place.assert_nothing_made();
}

#[test]
fn secrets_in_files_stay_there_and_need_no_second_process() {
    let place = Place::new();
    put(&place.path("paperkey"), 0o600, PAPERKEY.1);
    put(&place.path("token"), 0o600, TOKEN.1);
    let (paperkey, token) = (place.path("paperkey"), place.path("token"));
    let files =
        [("KEYBASE_PAPERKEY_FILE", paperkey.to_str().unwrap()), ("AUTH_TOKEN_FILE", token.to_str().unwrap())];
    let serving = place.serve(&[&TEAM, &files, &[RANGES]]);
    assert!(serving.variables().contains(&"KB_TYPE".to_owned()), "it had no reason to start over");
    let config = place.read("server.toml");
    for line in [format!("paperkey_file = {paperkey:?}"), format!("auth_token_file = {token:?}")] {
        assert!(config.contains(&line), "{config}");
    }
    assert!(!place.path("state/paperkey").exists() && !place.path("state/auth_token").exists());
}

#[test]
fn a_weak_token_is_ignored_and_the_server_starts() {
    let check = |vars: &[(&str, &str)], why: &str| {
        let place = Place::new();
        let serving = place.serve(&[&TEAM, &[PAPERKEY], vars]);
        let warnings = place.log_lines_with("AUTH_TOKEN is not accepted");
        assert!(warnings.len() == 1 && warnings[0].contains(why), "{warnings:?}");
        assert!(
            !place.read("server.toml").contains("auth_token") && !place.path("state/auth_token").exists()
        );
        serving.stop();
    };
    check(&[TOKEN], "KBMFA_AUTH_TOKEN_FROM names none");
    check(&[("AUTH_TOKEN", "short"), RANGES], "16 to 256 visible characters");
    check(&[("AUTH_TOKEN_FILE", "/etc/hostname"), RANGES], "lets everybody read it");
}

#[test]
fn what_is_made_belongs_to_the_owner_of_the_state_directory_and_so_does_the_server() {
    built::assert_root();
    let place = Place::new();
    fs::create_dir(place.path("state")).unwrap();
    chown(place.path("state"), Some(12345), Some(12346)).unwrap();
    let serving = place.serve(&[&TEAM, &[PAPERKEY, TOKEN, RANGES]]);
    for file in ["paperkey", "auth_token", "kbmfa.db", "ca", "tls"] {
        let found = fs::metadata(place.path("state").join(file)).unwrap();
        assert_eq!((found.uid(), found.gid()), (12345, 12346), "{file}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", serving.child.id())).unwrap();
    assert!(status.contains("Uid:\t12345\t12345\t12345\t12345\n"), "{status}");
}
