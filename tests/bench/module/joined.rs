//! A directory in place of /etc/kbmfa and /etc/pam.d: a machine that has joined, and PAM services with and
//! without the module.

use kbmfa_tests::built;
use kbmfa_tests::files::{make_dir, put, set_key};
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::world::World;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

use crate::fresh;

/// The directory of a machine that has joined.
pub(crate) struct Joined(TempDir);

impl Joined {
    /// Joins as the machine `name`.
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let this = Self(tempfile::Builder::new().prefix("kbmfa-joined-").tempdir().unwrap());
        put(&this.path("token"), 0o600, world.admin.add_machine(name));
        make_dir(&this.path("kbmfa"));
        let mut join = brief(built::host());
        join.args(["join", "--server", &format!("https://127.0.0.1:{}", world.server.port)]);
        join.args(["--pin", &world.server.pin, "--token-file"]).arg(this.path("token"));
        run(join.arg("--dir").arg(this.path("kbmfa")));
        let (module, config) = (built::module(), this.path("kbmfa/pam.toml"));
        let line = format!("{} config={} first_factor=stack", module.display(), config.display());
        this.service("kbmfa", &format!("account required {line}\n"));
        this.service("unix", "account required pam_unix.so\n");
        this
    }

    /// Adds a PAM service.
    pub(crate) fn service(&self, name: &str, stack: &str) {
        put(&self.path("pam.d").join(name), 0o644, stack);
    }

    /// Uses the server at another port from now on.
    pub(crate) fn call(&self, port: u16) {
        let server = format!("[\"https://127.0.0.1:{port}\"]");
        set_key(&self.path("kbmfa/pam.toml"), "", "servers", &server);
    }

    /// Starts a login through this service, in a process that has done nothing else. The login may have to
    /// wait.
    pub(crate) fn log_in(&self, service: &str) -> fresh::Process {
        let services = self.path("pam.d");
        fresh::Process::start(&["login", services.to_str().unwrap(), service, "root"])
    }

    /// Path of a file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.0.path()).join(name)
    }
}
