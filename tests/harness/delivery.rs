//! Machines to which the server delivers accounts and keys: a real sshd, a real sudo and real accounts.

use serde_json::Value;
use std::fs;
use std::time::Duration;

use crate::builder::MachineBuilder;
use crate::files::put;
use crate::login::Finished;
use crate::machine::Machine;
use crate::recipe::FREE;
use crate::wait::{PATIENCE, until, until_within};
use crate::world::World;

/// Lines for sshd: keys where root alone writes, and those that people add to their homes.
pub const KEYS: &str = "AuthorizedKeysFile /etc/ssh/kbmfa/keys/%u .ssh/authorized_keys\n";

/// The line for sshd by which a lost key opens no account.
pub const REVOKED: &str = "RevokedKeys /etc/ssh/kbmfa/revoked\n";

/// The PAM stack of sudo, without kbmfa.
const SUDO_STACK: &str =
    "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";

/// Where the helper is on a machine.
pub const HELPER: &str = "/usr/local/libexec/kbmfa-helper";

/// The file of those whose signed orders a machine takes.
pub const SIGNERS: &str = "/etc/ssh/kbmfa/signers";

/// What ssh-admin may do as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sudo {
    /// Everything.
    Free,
    /// Everything, with a password.
    WithPassword,
    /// The helper alone, without arguments; and the machine takes only signed orders.
    HelperOnly,
}

impl Sudo {
    fn line(self) -> &'static str {
        match self {
            Self::Free => "ssh-admin ALL=(ALL) NOPASSWD: ALL",
            Self::WithPassword => "ssh-admin ALL=(ALL) ALL",
            Self::HelperOnly => "ssh-admin ALL=(root) NOPASSWD: /usr/local/libexec/kbmfa-helper \"\"",
        }
    }
}

/// A machine of this world that is ready: ssh-admin with the server's key, and sudo. Its module asks nobody.
pub fn machine(world: &World, sudo: Sudo, sshd_lines: &str) -> Machine {
    machine_from(world, world.machine().pam_stack(FREE).sshd_lines(sshd_lines), sudo)
}

/// The same, of a machine with its own lines for sshd and PAM.
pub fn machine_from(world: &World, builder: MachineBuilder, sudo: Sudo) -> Machine {
    let kit = Kit::of(world, sudo);
    let machine = kit.prepared(builder).start();
    kit.install(&machine);
    let port = machine.port.number.to_string();
    world.admin.run(&["machine", "set", &name(&machine), "--address", "127.0.0.1", "--port", &port]);
    machine
}

/// What a machine needs to be served.
pub(crate) struct Kit {
    sudo: Sudo,
    key: String,
    helper: String,
    signers: Option<String>,
}

impl Kit {
    /// As this server prints it.
    pub(crate) fn of(world: &World, sudo: Sudo) -> Self {
        let printed = |what: &str| world.admin.run(&["provision", what]);
        let signers = (sudo == Sudo::HelperOnly).then(|| printed("signers"));
        Self { sudo, key: printed("key"), helper: printed("helper"), signers }
    }

    /// A machine that will have ssh-admin with the server's key, the files that sshd must find, and an id of its own.
    pub(crate) fn prepared(&self, builder: MachineBuilder) -> MachineBuilder {
        let id = "cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id";
        let files = "mkdir -p /etc/ssh/kbmfa/keys; : >/etc/ssh/kbmfa/revoked; rm -f /etc/machine-id";
        let admin = "useradd -m -s /bin/sh ssh-admin; mkdir -m 755 /home/ssh-admin/.ssh";
        let key = format!("echo '{}' >/home/ssh-admin/.ssh/authorized_keys", self.key.trim());
        builder.sudo("").before_sshd(&format!("umask 022; {files}; {id}; {admin}; {key}\n"))
    }

    /// Sets what ssh-admin may do as root, without kbmfa in sudo's own PAM stack.
    pub(crate) fn install(&self, machine: &Machine) {
        put(&machine.path("/etc/pam.d/sudo"), 0o644, SUDO_STACK);
        put(&machine.path(HELPER), 0o755, &self.helper);
        if let Some(signers) = &self.signers {
            put(&machine.path(SIGNERS), 0o644, signers);
        }
        put(&machine.path("/etc/sudoers"), 0o440, format!("{}\n", self.sudo.line()));
    }
}

/// Runs lines of shell on the machine, as root, and returns their output.
pub fn sh(machine: &Machine, lines: &str) -> String {
    machine.exec(&["sh", "-ec", lines])
}

/// The machine's name at the server.
pub fn name(machine: &Machine) -> String {
    machine.exec(&["hostname"]).trim().to_owned()
}

/// dora, with one key for all these machines and a grant to their pool `web`. Returns the key's fingerprint.
pub fn dora(world: &World, machines: &[&Machine]) -> String {
    world.admin.run(&["employee", "add", "dora@example.com", "--name", "Dora", "--unix-name", "dora"]);
    for machine in &machines[1..] {
        // ssh offers the public half that lies beside a key.
        for file in ["id_ed25519", "id_ed25519.pub"] {
            put(&machine.local_file(file), 0o600, fs::read(machines[0].local_file(file)).unwrap());
        }
    }
    let file = world.server.config.with_file_name("dora.pub");
    put(&file, 0o644, fs::read(machines[0].local_file("id_ed25519.pub")).unwrap());
    let file = file.display().to_string();
    let added = world.admin.json(&["key", "add", "dora@example.com", &file, "--device", "laptop"]);
    let names: Vec<_> = machines.iter().map(|machine| name(machine)).collect();
    let members = names.iter().flat_map(|name| ["--machine", name]);
    let words = ["pool", "add", "web", "--employee", "dora@example.com"];
    world.admin.run(&words.into_iter().chain(members).collect::<Vec<_>>());
    added["fingerprint"].as_str().unwrap().to_owned()
}

/// Lets the server deliver to these machines, `system` or `home`, and waits until they have everything.
pub fn deliver(world: &World, machines: &[&Machine], place: &str) {
    let names: Vec<_> = machines.iter().map(|machine| name(machine)).collect();
    for (machine, name) in machines.iter().zip(&names) {
        let by_helper = machine.path(SIGNERS).exists().then_some("--by-helper");
        let words = ["provision", "enable", name, "--keys", place];
        world.admin.run(&words.into_iter().chain(by_helper).collect::<Vec<_>>());
    }
    for name in &names {
        until_state(world, name, "confirmed");
    }
}

/// Runs a pass now. If the server works on the machine by itself at this moment, it waits for that first.
pub fn run_now(world: &World, name: &str) -> Result<String, String> {
    until("the machine to be free", || {
        let ran = world.admin.try_run(&["provision", "run", name]);
        let is_busy = ran.as_ref().is_err_and(|error| error.contains("works on the machine already"));
        (!is_busy).then_some(ran)
    })
}

/// What `provision status` says of the machine; nothing if it is not served.
pub fn status(world: &World, name: &str) -> Value {
    let status = world.admin.json(&["provision", "status"]);
    let machines = status["machines"].as_array().unwrap();
    machines.iter().find(|machine| machine["machine"] == name).cloned().unwrap_or_default()
}

/// Waits until the machine is in this state, and returns its row.
pub fn until_state(world: &World, name: &str, state: &str) -> Value {
    until_row(world, name, PATIENCE, state, |row| row["state"] == state)
}

/// Waits until the row of the machine is as it should be, and returns it.
pub fn until_row(
    world: &World,
    name: &str,
    limit: Duration,
    what: &str,
    is_right: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    let found = until_within(limit, || {
        last = status(world, name);
        is_right(&last).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("{name} is not {what} after {limit:?}: {last}"))
}

/// dora logs in with the key of the test.
pub fn gets_in(machine: &Machine) {
    let finished = machine.ssh("dora", &["id", "-un"]).wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("dora\n", 0), "{}", finished.stderr);
}

/// dora is refused with the key of the test.
pub fn is_refused(machine: &Machine) -> Finished {
    let finished = machine.ssh("dora", &["id", "-un"]).wait();
    assert!(finished.stdout.is_empty() && finished.code == 255, "{finished:?}");
    finished
}
