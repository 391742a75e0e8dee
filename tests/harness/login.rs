//! The ssh user: runs real ssh, scp, sftp and rsync, and reads their output.

use rustix::process::Signal;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::files::put;
use crate::machine::Machine;
use crate::process::{program, signal};
use crate::recipe::{Phase, USERS};
use crate::transcript;
use crate::wait::until_within;

/// Longer than any wait of the module or sshd.
const LONGEST_LOGIN: Duration = Duration::from_secs(100);

/// A running client.
#[derive(Debug)]
pub struct Login {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// A client that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; 128 + signal if it was killed.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Machine {
    /// Starts `ssh user@machine command`.
    pub fn ssh(&self, user: &str, command: &[&str]) -> Login {
        self.ssh_with(user, &[], command)
    }

    /// Starts `ssh` with additional options, which override the usual ones.
    pub fn ssh_with(&self, user: &str, options: &[&str], command: &[&str]) -> Login {
        let mut ssh = program("ssh");
        ssh.args(options).args(self.options()).args(["-p", &self.port.number.to_string()]);
        ssh.arg(format!("{user}@127.0.0.1")).args(command);
        self.client(ssh)
    }

    /// Starts `ssh -tt user@machine command`, with a terminal on the machine. [`Login::types`] types into it.
    pub fn ssh_at_terminal(&self, user: &str, command: &[&str]) -> Login {
        let mut ssh = program("ssh");
        ssh.arg("-tt").args(self.options()).args(["-p", &self.port.number.to_string()]);
        ssh.arg(format!("{user}@127.0.0.1")).args(command).stdin(Stdio::piped());
        self.client_of(&mut ssh)
    }

    /// Starts a command of this user in a terminal of the machine itself, like its console. script(1) holds
    /// the other end.
    pub fn console(&self, user: &str, command: &str) -> Login {
        self.entered(user, &["script", "--quiet", "--return", "--command", command, "/dev/null"])
    }

    /// Starts a command of this user as `docker exec` does: the leader of its session is outside the
    /// machine's pid namespace.
    pub fn entered(&self, user: &str, command: &[&str]) -> Login {
        let id = USERS.iter().find(|(name, _)| *name == user).expect("a user of the machine").1.to_string();
        let pid = self.pid.to_string();
        let mut entered = program("nsenter");
        entered.args(["--target", &pid, "--mount", "--pid", "--uts", "--ipc", "--root", "--"]);
        entered.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]).args(command);
        self.client_of(entered.stdin(Stdio::piped()))
    }

    /// The command `ssh user@machine command`, not started, for tests that read its output themselves.
    pub fn ssh_unstarted(&self, user: &str, command: &[&str]) -> Command {
        let mut ssh = program("ssh");
        ssh.args(self.options()).args(["-p", &self.port.number.to_string()]);
        ssh.arg(format!("{user}@127.0.0.1")).args(command).env("HOME", self.dir.path());
        ssh
    }

    /// Starts `ssh user@machine command`, which gives this password each time it is asked for one.
    pub fn ssh_with_password(&self, user: &str, password: &str, command: &[&str]) -> Login {
        let askpass = self.dir.path().join("askpass");
        put(&askpass, 0o755, format!("#!/bin/sh\necho '{password}'\n"));
        let mut ssh = program("ssh");
        ssh.args(["-o", "PreferredAuthentications=keyboard-interactive"]).args(self.options());
        ssh.args(["-p", &self.port.number.to_string()]).arg(format!("{user}@127.0.0.1")).args(command);
        ssh.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force");
        self.client(ssh)
    }

    /// Starts `ssh` with any user name. ssh accepts some names, such as `$(id)`, only from a file, and in a
    /// file a name cannot contain a newline.
    pub fn ssh_under_the_name(&self, name: &OsStr) -> Login {
        let config = self.dir.path().join(format!("config-{}", self.logins.get()));
        let mut ssh = program("ssh");
        ssh.args(self.options()).arg("-F").arg(&config).args(["-p", &self.port.number.to_string()]);
        let escaped = name.as_bytes().iter().flat_map(|byte| match byte {
            b'"' | b'\\' => vec![b'\\', *byte],
            _ => vec![*byte],
        });
        if name.as_bytes().contains(&b'\n') {
            put(&config, 0o600, "");
            ssh.arg("-l").arg(name);
        } else {
            put(&config, 0o600, [b"User \"".to_vec(), escaped.collect(), b"\"\n".to_vec()].concat());
        }
        ssh.args(["127.0.0.1", "echo", "in"]);
        self.client(ssh)
    }

    /// Starts `scp from to`, where `:path` is a path on the machine, as this user.
    pub fn scp(&self, user: &str, from: &str, to: &str) -> Login {
        let mut scp = program("scp");
        scp.args(self.options()).args(["-P", &self.port.number.to_string()]);
        for path in [from, to] {
            scp.arg(
                path.strip_prefix(':').map_or(path.to_owned(), |path| format!("{user}@127.0.0.1:{path}")),
            );
        }
        self.client(scp)
    }

    /// Starts `sftp` with a batch of commands.
    pub fn sftp(&self, user: &str, batch: &str) -> Login {
        let file = self.dir.path().join(format!("batch-{}", self.logins.get()));
        fs::write(&file, batch).unwrap();
        let mut sftp = program("sftp");
        sftp.args(self.options()).args(["-P", &self.port.number.to_string()]).arg("-b").arg(&file);
        self.client_of(sftp.arg(format!("{user}@127.0.0.1")))
    }

    /// Starts `rsync from to`, where `:path` is a path on the machine, as this user.
    pub fn rsync(&self, user: &str, from: &str, to: &str) -> Login {
        let ssh = format!("ssh -p {} {}", self.port.number, self.options().join(" "));
        let mut rsync = program("rsync");
        rsync.args(["--archive", "--rsh", &ssh]);
        for path in [from, to] {
            rsync.arg(
                path.strip_prefix(':').map_or(path.to_owned(), |path| format!("{user}@127.0.0.1:{path}")),
            );
        }
        self.client(rsync)
    }

    /// Options that use nothing of the host's ssh configuration, no agent, only the test's key, and never ask
    /// at a terminal.
    fn options(&self) -> Vec<String> {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let methods = match self.phase {
            Phase::Account | Phase::Session => "BatchMode=yes",
            Phase::Auth => "PreferredAuthentications=publickey,keyboard-interactive",
        };
        let known = format!("UserKnownHostsFile={}", file("known_hosts"));
        let key = file("id_ed25519");
        let fixed =
            ["IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes", &known, methods];
        let fixed = fixed.into_iter().flat_map(|option| ["-o", option]);
        ["-F", "none", "-i", &key].into_iter().chain(fixed).map(str::to_owned).collect()
    }

    /// Starts another client than OpenSSH's, such as a program that uses paramiko.
    pub fn other_client(&self, command: Command) -> Login {
        self.client(command)
    }

    fn client(&self, mut command: Command) -> Login {
        self.client_of(&mut command)
    }

    fn client_of(&self, command: &mut Command) -> Login {
        let number = self.logins.get();
        self.logins.set(number + 1);
        Login::start(command.env("HOME", self.dir.path()), &self.dir.path().join(format!("login-{number}")))
    }

    /// The command that a person would type to log in here.
    pub fn ssh_command(&self, user: &str) -> String {
        format!("ssh {} -p {} {user}@127.0.0.1", self.options().join(" "), self.port.number)
    }

    /// The path of one of the person's files, outside the machine.
    pub fn local_file(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join(Path::new(&name))
    }
}

impl Login {
    /// Starts a client that writes into files whose names begin with `stem`.
    pub(crate) fn start(command: &mut Command, stem: &Path) -> Self {
        let (out, err) = (stem.with_extension("out"), stem.with_extension("err"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: command.spawn().unwrap(), out, err }
    }

    /// Waits until the client ends. Kills it and panics if that takes too long.
    pub fn wait(mut self) -> Finished {
        let Some(status) = until_within(LONGEST_LOGIN, || self.child.try_wait().unwrap()) else {
            panic!("the client still runs after {LONGEST_LOGIN:?}");
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        Finished { code, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Types into the login's terminal.
    pub fn types(&mut self, text: &str) {
        let terminal = self.child.stdin.as_mut().expect("a login at a terminal");
        terminal.write_all(text.as_bytes()).unwrap();
        terminal.flush().unwrap();
    }

    /// Whether the client still runs.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        signal(&self.child, Signal::INT);
    }

    /// Kills the client, similar to a crash of its computer.
    pub fn kill(&self) {
        signal(&self.child, Signal::KILL);
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap_or_default()).into_owned()
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap_or_default()).into_owned()
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("---- client\n{}{}", self.stdout(), self.stderr());
        }
    }
}

impl Finished {
    /// Everything that the person saw, with placeholders, and the exit code.
    pub fn transcript(&self) -> String {
        let seen = transcript::normalised(&format!("{}{}", self.stdout, self.stderr));
        format!("{seen}exit {}\n", self.code)
    }
}
