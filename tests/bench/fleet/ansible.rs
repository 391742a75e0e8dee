//! Ansible: a playbook with `user` and `authorized_key`, 20 forks, pipelining and lasting connections, and no facts.

use kbmfa_tests::built;
use kbmfa_tests::files::put;
use kbmfa_tests::fleet::Fleet;
use kbmfa_tests::group::Group;
use kbmfa_tests::process::{program, run};
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::{Cost, PEOPLE};

const PLAYBOOK: &str = "- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.user:
        name: '{{ item.name }}'
        uid: '{{ item.uid }}'
        shell: /bin/bash
      loop: '{{ people }}'
      loop_control: {label: '{{ item.name }}'}
    - ansible.posix.authorized_key:
        user: '{{ item.name }}'
        key: '{{ item.keys_text }}'
        exclusive: true
      loop: '{{ people }}'
      loop_control: {label: '{{ item.name }}'}
";

const FORKS: usize = 20;

/// A control node with an inventory of the fleet.
pub(crate) struct Ansible {
    dir: PathBuf,
    group: Group,
}

impl Ansible {
    /// Writes its configuration. It connects as the server does, with the server's key and the machines' pinned ones.
    pub(crate) fn prepare(world: &World, fleet: &Fleet) -> Self {
        let dir = world.dir().join("ansible");
        let key = world.server.state_dir.join("ssh_admin_key");
        let mut inventory = String::new();
        let mut known = String::new();
        for (number, machine) in (1..).zip(&fleet.machines) {
            let port = machine.port.number;
            writeln!(inventory, "m{number} ansible_host=127.0.0.1 ansible_port={port}").unwrap();
            known += &fs::read_to_string(machine.local_file("known_hosts")).unwrap();
        }
        inventory += "[all:vars]\nansible_user=ssh-admin\nansible_become=true\n\
                      ansible_python_interpreter=/usr/bin/python3\n";
        writeln!(inventory, "ansible_ssh_private_key_file={}", key.display()).unwrap();
        let collections = built::workspace().join(".cache/bench/ansible/collections");
        let config = format!(
            "[defaults]\nforks = {FORKS}\ninventory = {0}/hosts\ncollections_path = {1}\nretry_files_enabled = false\n\
             [ssh_connection]\npipelining = true\n\
             ssh_args = -F none -o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={0}/known_hosts\n",
            dir.display(),
            collections.display(),
        );
        put(&dir.join("hosts"), 0o600, inventory);
        put(&dir.join("known_hosts"), 0o600, known);
        put(&dir.join("ansible.cfg"), 0o600, config);
        put(&dir.join("site.yml"), 0o600, PLAYBOOK);
        Self { dir, group: Group::new("ansible") }
    }

    /// Gives every machine these keys.
    pub(crate) fn run(&self, keys: &BTreeMap<&'static str, Vec<String>>) -> Cost {
        let people: Vec<_> = PEOPLE
            .iter()
            .map(|(name, uid)| json!({ "name": name, "uid": uid, "keys_text": keys[name].join("\n") }))
            .collect();
        put(&self.dir.join("people.json"), 0o600, json!({ "people": people }).to_string());
        let mut playbook = program(built::workspace().join(".cache/bench/ansible/bin/ansible-playbook"));
        playbook.current_dir(&self.dir).args(["site.yml", "--extra-vars", "@people.json"]);
        playbook.env("HOME", &self.dir).env("ANSIBLE_CONFIG", self.dir.join("ansible.cfg"));
        playbook.stdout(Stdio::piped());
        let before = self.group.cpu_ms();
        let (output, took) = timed(|| {
            let child = playbook.spawn().unwrap();
            self.group.adopt(child.id());
            child.wait_with_output().unwrap()
        });
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !said.contains("failed=1"), "{said}");
        // Its connections stay for a while; the next run is to begin as the first did.
        let cpu_ms = self.group.cpu_ms() - before;
        let sockets = self.dir.join(".ansible/cp");
        for socket in fs::read_dir(sockets).into_iter().flatten().flatten() {
            let path = format!("ControlPath={}", socket.path().display());
            run(program("ssh").args(["-F", "none", "-O", "exit", "-o", &path, "x"]).stderr(Stdio::null()));
        }
        Cost { seconds: took.as_secs_f64(), cpu_ms }
    }
}
