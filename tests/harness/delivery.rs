//! Machines to which the server delivers accounts and keys: a real sshd, a real sudo and real accounts.

use serde_json::Value;
use std::fs;
use std::time::Duration;

use crate::files::put;
use crate::login::Finished;
use crate::machine::Machine;
use crate::recipe::FREE;
use crate::wait::{PATIENCE, until_within};
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
    let machine = world.machine().pam_stack(FREE).sudo("").sshd_lines(sshd_lines);
    let ready = "mkdir -p /etc/ssh/kbmfa/keys; : >/etc/ssh/kbmfa/revoked; rm -f /etc/machine-id; \
                 cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id; umask 022";
    let machine = machine.before_sshd(ready).start();
    put(&machine.path("/etc/pam.d/sudo"), 0o644, SUDO_STACK);
    put(&machine.path("/etc/sudoers"), 0o440, format!("{}\n", sudo.line()));
    put(&machine.path(HELPER), 0o755, world.admin.run(&["provision", "helper"]));
    if sudo == Sudo::HelperOnly {
        put(&machine.path(SIGNERS), 0o644, world.admin.run(&["provision", "signers"]));
    }
    sh(
        &machine,
        "useradd -m -s /bin/sh ssh-admin; install -d -m 700 -o ssh-admin -g ssh-admin /home/ssh-admin/.ssh",
    );
    let line = world.admin.run(&["provision", "key"]);
    put(&machine.path("/home/ssh-admin/.ssh/authorized_keys"), 0o644, line);
    let port = machine.port.number.to_string();
    world.admin.run(&["machine", "set", &name(&machine), "--address", "127.0.0.1", "--port", &port]);
    machine
}

/// Runs lines of shell on the machine, as root, and returns their output.
pub fn sh(machine: &Machine, lines: &str) -> String {
    machine.exec(&["sh", "-ec", lines])
}

/// The machine's name at the server.
pub fn name(machine: &Machine) -> String {
    machine.exec(&["hostname"]).trim().to_owned()
}

/// dora, with the test's key and a grant to the pool `web` of these machines. Returns the key's fingerprint.
pub fn dora(world: &World, machines: &[&Machine]) -> String {
    world.admin.run(&["employee", "add", "dora@example.com", "--name", "Dora", "--unix-name", "dora"]);
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
