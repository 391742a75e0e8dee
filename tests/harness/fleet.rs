//! Many machines at once: a real sshd, sudo and accounts in each, on one shared root file system. None of them runs the
//! module.

use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

use crate::builder::{Beginning, MachineBuilder};
use crate::delivery::{KEYS, Kit, REVOKED, Sudo};
use crate::files::put;
use crate::machine::Machine;
use crate::process::{brief, run};
use crate::recipe::FREE;
use crate::wait::until_within;
use crate::world::World;

/// Machines of the pool `web`, called `m1`, `m2` and so on.
#[derive(Debug)]
pub struct Fleet {
    /// The machines, in the order of their numbers.
    pub machines: Vec<Machine>,
    sudo: Sudo,
    _layers: Layers,
}

/// Files that all machines share, on a file system of their own.
#[derive(Debug)]
struct Layers(TempDir);

impl Layers {
    fn make() -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-layers-").tempdir().unwrap();
        run(brief("mount").args(["-t", "tmpfs", "-o", "mode=755,size=64m", "kbmfa-layers"]).arg(dir.path()));
        let layers = Self(dir);
        MachineBuilder::make_layers(layers.0.path());
        layers
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        brief("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

impl Fleet {
    /// Starts them, and adds them to the roster with the host keys that they have. Nothing is delivered to them yet.
    pub fn start(world: &World, count: usize, sudo: Sudo) -> Self {
        let (layers, kit) = (Layers::make(), Kit::of(world, sudo));
        let begin = |number: usize| {
            let builder =
                MachineBuilder::new(&format!("m{number}")).pam_stack(FREE).on_layers(layers.0.path());
            let builder = builder.sshd_lines(&format!("{KEYS}{REVOKED}"));
            kit.prepared(builder).begin()
        };
        let beginning: Vec<Beginning> = (1..=count).map(begin).collect();
        let machines: Vec<Machine> = beginning.into_iter().map(Beginning::ready).collect();
        let mut sheet = "name,pools,address,port,host_keys\n".to_owned();
        for (number, machine) in (1..).zip(&machines) {
            kit.install(machine);
            let fingerprint = fingerprint(&machine.path("/etc/ssh/ssh_host_ed25519_key.pub"));
            writeln!(sheet, "m{number},web,127.0.0.1,{},{fingerprint}", machine.port.number).unwrap();
        }
        let path = world.dir().join("machines.csv");
        put(&path, 0o644, sheet);
        world.admin.run(&["machine", "add", "--from", path.to_str().unwrap()]);
        Self { machines, sudo, _layers: layers }
    }

    /// Lets the server deliver to all of them, and waits for nothing.
    pub fn enable(&self, world: &World) {
        let by_helper = (self.sudo == Sudo::HelperOnly).then_some("--by-helper");
        for number in 1..=self.machines.len() {
            let name = format!("m{number}");
            let words = ["provision", "enable", &name, "--keys", "system"];
            world.admin.run(&words.into_iter().chain(by_helper).collect::<Vec<_>>());
        }
    }
}

/// Waits until the server says that every machine has what it should have.
pub fn until_confirmed(world: &World, limit: Duration) {
    let mut last = Value::Null;
    let confirmed = until_within(limit, || {
        last = world.admin.json(&["provision", "status"]);
        let machines = last["machines"].as_array().unwrap();
        machines.iter().all(|machine| machine["state"] == "confirmed").then_some(())
    });
    assert!(confirmed.is_some(), "not all are confirmed after {limit:?}: {last}");
}

/// The fingerprint of a public key.
fn fingerprint(key: &Path) -> String {
    let mut command: Command = brief("ssh-keygen");
    run(command.arg("-lf").arg(key)).split(' ').nth(1).unwrap().to_owned()
}
