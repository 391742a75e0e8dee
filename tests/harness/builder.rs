//! Builds a machine from a description: writes its files and starts it.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Child;

use crate::built;
use crate::clock::FakeClock;
use crate::files::{make_dir, put, set_mode};
use crate::leftovers::Baseline;
use crate::machine::Machine;
use crate::ports::Port;
use crate::process::{brief, program, run};
use crate::recipe::{self, Phase, USERS};
use crate::syslog::Syslog;
use crate::watcher::Watcher;

const MACHINE_SH: &str = include_str!("machine.sh");

/// Which Debian a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Debian 12: the host's own files and OpenSSH 9.2.
    Debian12,
    /// Debian 13: OpenSSH 10.0, in which each connection is served by `sshd-session`.
    Debian13,
    /// Debian 14, which is not released yet: OpenSSH 10.3 or newer. Only `make test-matrix` uses it.
    Debian14,
}

/// What a machine needs to join a server.
#[derive(Debug)]
pub struct Enrolment {
    /// The one-time token.
    pub token: String,
    /// The server's address, as a URL.
    pub server: String,
    /// The pin of the server's CA.
    pub pin: String,
    /// The server's port: no connection to it may be left behind.
    pub port: u16,
}

/// The description of a machine.
#[derive(Debug)]
#[must_use]
pub struct MachineBuilder {
    name: String,
    root: Root,
    phase: Phase,
    arguments: String,
    stack: Option<String>,
    reporting: bool,
    sudoers: Option<String>,
    sshd_lines: String,
    own_clock: bool,
    folding_names: bool,
    before_sshd: String,
    layers: Option<PathBuf>,
    module: Module,
    watcher: Option<Watcher>,
    enrolment: Option<Enrolment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Module {
    Shipped,
    Faulty,
    Absent,
}

impl MachineBuilder {
    /// A machine without kbmfa: set its PAM stack with [`MachineBuilder::pam_stack`].
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            root: Root::Debian12,
            phase: Phase::Account,
            arguments: String::new(),
            stack: None,
            reporting: false,
            sudoers: None,
            sshd_lines: String::new(),
            own_clock: false,
            folding_names: false,
            before_sshd: String::new(),
            layers: None,
            module: Module::Absent,
            watcher: None,
            enrolment: None,
        }
    }

    /// Installs the module, and joins this server when it starts.
    pub fn enrolled(self, enrolment: Enrolment) -> Self {
        Self { enrolment: Some(enrolment), module: Module::Shipped, ..self }
    }

    /// Joins through this address, and uses no other.
    pub fn by_way_of(self, server: String) -> Self {
        let enrolment = self.enrolment.map(|enrolment| Enrolment { server, ..enrolment });
        Self { enrolment, ..self }
    }

    /// The Debian version; 12 by default.
    pub fn root(self, root: Root) -> Self {
        Self { root, ..self }
    }

    /// The module's phase; account by default.
    pub fn phase(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    /// Arguments on the module's line.
    pub fn pam_args(self, arguments: &str) -> Self {
        Self { arguments: arguments.to_owned(), ..self }
    }

    /// Sets `/etc/pam.d/sshd`, in place of the phase's recipe.
    pub fn pam_stack(self, stack: &str) -> Self {
        Self { stack: Some(stack.to_owned()), ..self }
    }

    /// Adds the packaged line that reports sessions.
    pub fn reporting(self) -> Self {
        Self { reporting: true, ..self }
    }

    /// Installs sudo with the packaged lines for PAM and with these lines of `sudoers`. Everybody may use it,
    /// with a password and an approval. Not on Debian 14.
    pub fn sudo(self, lines: &str) -> Self {
        Self { sudoers: Some(format!("{lines}\nALL ALL=(ALL) ALL\n")), ..self }
    }

    /// Adds lines to `sshd_config`, which override the recipe's.
    pub fn sshd_lines(self, lines: &str) -> Self {
        Self { sshd_lines: lines.to_owned(), ..self }
    }

    /// Installs a name service that finds an account in any case and with a domain. On Debian 12 only.
    pub fn folding_names(self) -> Self {
        Self { folding_names: true, ..self }
    }

    /// Gives it a wall clock of its own, which [`Machine::set_clock`] sets.
    pub fn own_clock(self) -> Self {
        Self { own_clock: true, ..self }
    }

    /// Shell lines that the machine's first process runs before it executes sshd, which inherits their
    /// changes of environment, limits and signals.
    pub fn before_sshd(self, lines: &str) -> Self {
        Self { before_sshd: lines.to_owned(), ..self }
    }

    /// Installs the test build of the module, which can fail on purpose.
    pub fn faulty_module(self) -> Self {
        Self { module: Module::Faulty, ..self }
    }

    /// Runs sshd under a memory checker. For AddressSanitizer it installs a build of the module for that. On
    /// Debian 12 only.
    pub fn watched_by(self, watcher: Watcher) -> Self {
        Self { watcher: Some(watcher), ..self }
    }

    /// Has a directory that [`MachineBuilder::make_layers`] has filled below it, and copies nothing of its own.
    pub(crate) fn on_layers(self, layers: &Path) -> Self {
        Self { layers: Some(layers.to_owned()), ..self }
    }

    /// Copies what every machine with sudo has beside the host's files. The directory must be of another file
    /// system than the host's root, or the kernel refuses to stack the two.
    pub(crate) fn make_layers(directory: &Path) {
        for layer in [built::sshd_9_2(), built::sudo()] {
            let from = layer.join(".");
            run(brief("cp").args(["-dR", "--preserve=mode,ownership"]).arg(from).arg(directory));
        }
    }

    /// Starts it, lets it join, and waits until sshd listens.
    pub fn start(self) -> Machine {
        self.begin().ready()
    }

    /// Starts it, and waits for nothing: several can begin at the same time.
    pub(crate) fn begin(self) -> Beginning {
        built::assert_root();
        let dir = tempfile::Builder::new().prefix("kbmfa-machine-").tempdir().unwrap();
        let port = Port::reserve();
        self.seed(dir.path(), &port);
        let syslog = Syslog::listen(&dir.path().join("syslog"));
        let child = self.spawn(dir.path());
        let machine = Machine {
            child,
            pid: 0,
            baseline: Baseline::default(),
            phase: self.phase,
            port,
            server_port: self.enrolment.as_ref().map(|enrolment| enrolment.port),
            syslog,
            logins: Cell::default(),
            dir,
        };
        Beginning { machine, enrolment: self.enrolment }
    }

    /// Writes the files that differ from those of the root file system, and the keys of the people who log
    /// in.
    fn seed(&self, dir: &Path, port: &Port) {
        let seed = dir.join("seed");
        make_dir(&dir.join("mnt"));
        put(&dir.join("machine.sh"), 0o755, MACHINE_SH);
        put(&dir.join("before-sshd"), 0o644, &self.before_sshd);
        for (path, mode, content) in recipe::accounts() {
            put(&seed.join(path), mode, content);
        }
        let mut stack = self.stack.clone().unwrap_or_else(|| recipe::pam_stack(self.phase, &self.arguments));
        if self.reporting {
            stack += recipe::REPORTING;
        }
        put(&seed.join("etc/pam.d/sshd"), 0o644, stack);
        let config = recipe::sshd_config(self.phase, port.number, &self.sshd_lines);
        put(&seed.join("etc/ssh/sshd_config"), 0o644, config);
        put(&seed.join("etc/hostname"), 0o644, format!("{}\n", self.name));
        put(&seed.join("etc/hosts"), 0o644, format!("127.0.0.1 localhost {}\n", self.name));
        let names = if self.folding_names { "files fold" } else { "files" };
        let services = format!("passwd: {names}\ngroup: files\nshadow: {names}\nhosts: files\n");
        put(&seed.join("etc/nsswitch.conf"), 0o644, services);
        if self.folding_names {
            seed_name_service(&seed);
        }
        if let Some(sudoers) = &self.sudoers {
            put(&seed.join("etc/sudoers"), 0o440, sudoers);
            put(&seed.join("etc/pam.d/sudo"), 0o644, recipe::SUDO);
        }
        if self.own_clock {
            FakeClock::make(&seed.join("etc"), Path::new("/etc"));
            put(&seed.join("etc/ld.so.preload"), 0o644, "/etc/clock.so\n");
        }
        if self.watcher.is_some() {
            Watcher::seed(&seed);
        }
        seed_keys(dir, &seed, port);
        self.seed_module(&seed);
    }

    fn seed_module(&self, seed: &Path) {
        let library = match self.module {
            Module::Shipped | Module::Faulty if self.watcher == Some(Watcher::AddressSanitizer) => {
                built::sanitized_module()
            }
            Module::Shipped => built::module(),
            Module::Faulty => built::faulty_module(),
            Module::Absent => return,
        };
        // The directory in which libpam of Debian 12 to 14 finds a bare name.
        let place = format!("usr/lib/{}-linux-gnu/security/pam_kbmfa.so", std::env::consts::ARCH);
        put(&seed.join(&place), 0o644, fs::read(library).unwrap());
        if self.watcher == Some(Watcher::Valgrind) {
            // Only names are needed. Line numbers would be read for each process.
            run(brief("strip").arg("--strip-debug").arg(seed.join(place)));
        }
    }

    fn spawn(&self, dir: &Path) -> Child {
        let mut layers = Vec::new();
        let lower = match (&self.layers, self.root) {
            (Some(shared), _) => PathBuf::from(format!("{}:/", shared.display())),
            (None, Root::Debian12) => {
                layers.push(built::sshd_9_2());
                PathBuf::from("/")
            }
            (None, Root::Debian13) => built::trixie(),
            (None, Root::Debian14) => built::forky(),
        };
        if self.sudoers.is_some() && self.layers.is_none() {
            layers.push(built::sudo());
        }
        layers.push(dir.join("seed"));
        let host = if self.enrolment.is_some() { built::host() } else { PathBuf::from("none") };
        let log = File::create(dir.join("sshd.log")).unwrap();
        let mut command = program("unshare");
        command.args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "sh"]);
        command.arg(dir.join("machine.sh")).arg(dir).arg(lower).arg(host).args(layers);
        let under = self.watcher.map(|watcher| watcher.command(self.module != Module::Shipped));
        command.env("KBMFA_UNDER", under.unwrap_or_default());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }
}

/// A machine that is starting.
#[derive(Debug)]
pub(crate) struct Beginning {
    machine: Machine,
    enrolment: Option<Enrolment>,
}

impl Beginning {
    /// Lets it join, and waits until sshd listens.
    pub(crate) fn ready(mut self) -> Machine {
        self.machine.wait_for_sshd();
        if let Some(enrolment) = &self.enrolment {
            self.machine.join(enrolment);
        }
        self.machine
    }
}

/// Compiles the name service `fold`.
fn seed_name_service(seed: &Path) {
    let (source, library) = (seed.join("etc/nss_fold.c"), "libnss_fold.so.2");
    put(&source, 0o644, include_str!("nss_fold.c"));
    let place = seed.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH)).join(library);
    make_dir(place.parent().unwrap());
    run(brief("gcc").args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&place).arg(&source));
    set_mode(&place, 0o644);
}

/// Makes a key for the host and one for the people, and the files by which each side knows the other's key.
fn seed_keys(dir: &Path, seed: &Path, port: &Port) {
    let (host, person) = (seed.join("etc/ssh/ssh_host_ed25519_key"), dir.join("id_ed25519"));
    for key in [&host, &person] {
        run(brief("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(key));
    }
    let public = |key: &Path| fs::read_to_string(key.with_extension("pub")).unwrap();
    fs::write(dir.join("known_hosts"), format!("[127.0.0.1]:{} {}", port.number, public(&host))).unwrap();
    for (name, id) in USERS {
        let home = seed.join("home").join(name);
        put(&home.join(".ssh/authorized_keys"), 0o600, public(&person));
        for path in [".ssh/authorized_keys", ".ssh", "."] {
            chown(home.join(path), Some(id), Some(id)).unwrap();
        }
    }
}
