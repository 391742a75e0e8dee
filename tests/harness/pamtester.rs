//! The module without sshd and without root: `pamtester` as user nobody, with `pam_wrapper` in place of
//! /etc/pam.d.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

use crate::built;
use crate::files::{self, make_dir, put, set_mode};
use crate::login::Login;
use crate::process::{brief, run};
use crate::world::World;

const NOBODY: u32 = 65534;
const SERVICE: &str = "kbmfa";

/// A directory of nobody's, with the module, a PAM service and the credential of a machine.
#[derive(Debug)]
pub struct Unprivileged {
    dir: TempDir,
}

impl Unprivileged {
    /// Joins `world` as the machine `name`. In `stack` the word `MODULE` is replaced by the module and its
    /// configuration.
    pub fn new(world: &World, name: &str, stack: &str) -> Self {
        Self::with_module(world, name, stack, &built::module())
    }

    /// As [`Self::new`], with another build of the module.
    pub fn with_module(world: &World, name: &str, stack: &str, library: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-pamtester-").tempdir().unwrap();
        let this = Self { dir };
        set_mode(this.dir.path(), 0o755);
        this.join(world, name);
        put(&this.file("pam_kbmfa.so"), 0o644, fs::read(library).unwrap());
        let module = format!("{} config={}", this.text("pam_kbmfa.so"), this.text("kbmfa/pam.toml"));
        put(&this.file("pam.d").join(SERVICE), 0o644, stack.replace("MODULE", &module));
        put(&this.file("pam.d/other"), 0o644, "auth required pam_deny.so\naccount required pam_deny.so\n");
        this
    }

    /// Starts the given PAM operations for a user.
    pub fn pamtester(&self, user: &str, operations: &[&str]) -> Login {
        self.pamtester_with(&[], user, operations)
    }

    /// As [`Self::pamtester`], with these PAM items set before, each as `name=value`.
    pub fn pamtester_with(&self, items: &[&str], user: &str, operations: &[&str]) -> Login {
        let mut command = as_nobody();
        // For pamtester only, because each program that loads pam_wrapper creates a directory.
        command.args(["env", "LD_PRELOAD=libpam_wrapper.so", "PAM_WRAPPER=1"]);
        command.arg(format!("PAM_WRAPPER_SERVICE_DIR={}", self.text("pam.d")));
        command.arg("pamtester").args(items.iter().flat_map(|item| ["-I", item]));
        command.args([SERVICE, user]).args(operations);
        Login::start(&mut command, &self.file("pamtester"))
    }

    /// Changes a key of its `pam.toml`.
    pub fn set(&self, key: &str, value: &str) {
        files::set_key(&self.file("kbmfa/pam.toml"), "", key, value);
    }

    fn join(&self, world: &World, name: &str) {
        let token = world.admin.add_machine(name);
        put(&self.file("token"), 0o600, token);
        make_dir(&self.file("kbmfa"));
        let mut join = brief(built::host());
        join.args(["join", "--server", &format!("https://127.0.0.1:{}", world.server.port)]);
        join.args(["--pin", &world.server.pin, "--token-file"]).arg(self.file("token"));
        run(join.arg("--dir").arg(self.file("kbmfa")));
        for entry in fs::read_dir(self.file("kbmfa")).unwrap() {
            chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(self.file("kbmfa"), Some(NOBODY), Some(NOBODY)).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }
}

/// A command that runs, as nobody, the program that is appended to it.
pub(crate) fn as_nobody() -> Command {
    let mut command = brief("setpriv");
    command.args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string(), "--clear-groups"]);
    command
}
