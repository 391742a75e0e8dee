//! What `export` writes is what the tools that read it need: sshd and ssh, ssh-keygen, Ansible.

use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::{program, run};
use kbmfa_tests::recipe::FREE;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;

/// A machine that the server can reach, to which it delivers nothing, and dora, who has a grant to it.
fn prepared(world: &World) -> Machine {
    let machine = world.machine().pam_stack(FREE).start();
    let port = machine.port.number.to_string();
    world.admin.run(&["machine", "set", "web1", "--address", "127.0.0.1", "--port", &port]);
    let add = ["employee", "add", "dora@example.com", "--name", "Dora {{ 7 * 7 }}", "--unix-name", "dora"];
    world.admin.run(&add);
    let file = world.server.config.with_file_name("dora.pub");
    put(&file, 0o644, fs::read(machine.local_file("id_ed25519.pub")).unwrap());
    let device = "laptop {{ 6 * 7 }}";
    world.admin.run(&["key", "add", "dora@example.com", &file.display().to_string(), "--device", device]);
    world.admin.run(&["pool", "add", "web-1", "--employee", "dora@example.com", "--machine", "web1"]);
    machine
}

#[test]
fn exported_files_let_people_in_without_this_server() {
    let world = World::new();
    let machine = prepared(&world);
    let dir = machine.local_file("export");
    world.admin.run(&["export", "authorized_keys", "--directory", &dir.display().to_string()]);
    let keys = dir.join("web1/dora");
    let fingerprint = |path: String| {
        run(program("ssh-keygen").args(["-l", "-f", &path])).split(' ').nth(1).unwrap().to_owned()
    };
    let own = fingerprint(machine.local_file("id_ed25519.pub").display().to_string());
    assert_eq!(fingerprint(keys.display().to_string()), own);
    let refused =
        world.admin.try_run(&["export", "authorized_keys", "--directory", &dir.display().to_string()]);
    assert!(refused.unwrap_err().contains("exists already"));
    let rows = world.admin.json(&["export", "authorized_keys", "--pool", "web-1"]);
    assert_eq!((&rows[0]["machine"], &rows[0]["account"]), (&"web1".into(), &"dora".into()));
    assert_eq!(rows[0]["authorized_keys"], fs::read_to_string(&keys).unwrap());

    machine.exec(&["useradd", "-m", "-s", "/bin/sh", "-p", "*", "dora"]);
    machine.exec(&["install", "-d", "-m", "700", "-o", "dora", "/home/dora/.ssh"]);
    fs::copy(&keys, machine.path("/home/dora/.ssh/authorized_keys")).unwrap();
    machine.exec(&["chown", "dora", "/home/dora/.ssh/authorized_keys"]);
    let (config, known) = (machine.local_file("exported_config"), machine.local_file("exported_known_hosts"));
    fs::write(&config, world.admin.run(&["export", "ssh_config", "--employee", "dora@example.com"])).unwrap();
    fs::write(&known, world.admin.run(&["export", "known_hosts", "--machine", "web1"])).unwrap();
    let (config, known) = (config.display().to_string(), known.display().to_string());
    let read = run(program("ssh").args(["-G", "-F", &config, "web1"]));
    let port = machine.port.number.to_string();
    for line in ["user dora", "hostname 127.0.0.1", &format!("port {port}"), "stricthostkeychecking true"] {
        assert!(read.lines().any(|found| found == line), "no {line:?} in {read}");
    }
    let found = run(program("ssh-keygen").args(["-F", &format!("[127.0.0.1]:{port}"), "-f", &known]));
    assert!(found.contains("ssh-ed25519 "), "{found}");
    let identity = machine.local_file("id_ed25519").display().to_string();
    let options = [
        format!("UserKnownHostsFile={known}"),
        format!("IdentityFile={identity}"),
        "IdentitiesOnly=yes".into(),
    ];
    let options = options.iter().flat_map(|option| ["-o", option]);
    let said = run(program("ssh").args(["-F", &config]).args(options).args(["web1", "id", "-un"]));
    assert_eq!(said, "dora\n");
}

#[test]
fn an_exported_playbook_has_the_accounts_and_keys_and_no_text_that_ansible_would_evaluate() {
    let world = World::new();
    let machine = prepared(&world);
    let dir = machine.local_file("ansible");
    world.admin.run(&["export", "ansible", "--directory", &dir.display().to_string()]);
    let inventory = dir.join("inventory.json").display().to_string();
    let listed: Value = serde_json::from_str(&run(program("ansible-inventory")
        .env("HOME", &dir)
        .args(["-i", &inventory, "--list"])))
    .unwrap();
    assert_eq!(listed["pool_web_1"]["hosts"], serde_json::json!(["web1"]));
    let host = &listed["_meta"]["hostvars"]["web1"];
    assert_eq!(host["kbmfa_accounts"][0]["name"], "dora");
    let keys = host["kbmfa_keys"][host["kbmfa_accounts"][0]["key_set"].as_str().unwrap()].as_str().unwrap();
    let rows = world.admin.json(&["export", "authorized_keys"]);
    assert_eq!(rows[0]["authorized_keys"], keys);
    assert_eq!(host["kbmfa_accounts"][0]["uid"], rows[0]["uid"]);
    for file in ["inventory.json", "group_vars/all.json"] {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        assert!(!text.contains("{{") && !text.contains("{%") && !text.contains("Dora"), "{file}: {text}");
    }
    // The playbook is YAML, and its accounts are what Ansible's own module is given.
    let read = "import sys, json, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let play =
        run(program("/usr/bin/python3").args(["-c", read, &dir.join("playbook.yml").display().to_string()]));
    let play: Value = serde_json::from_str(&play).unwrap();
    let modules: Vec<_> = play[0]["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|task| task.as_object().unwrap().keys())
        .collect();
    assert!(modules.iter().any(|name| *name == "ansible.builtin.user"), "{modules:?}");
    assert!(modules.iter().any(|name| *name == "ansible.posix.authorized_key"), "{modules:?}");
    let accounts = [
        "-i",
        &inventory,
        "all",
        "-c",
        "local",
        "-m",
        "debug",
        "-a",
        "msg={{ kbmfa_keys[kbmfa_accounts[0].key_set] }}",
    ];
    let said = run(program("ansible").env("HOME", &dir).args(accounts));
    assert!(said.contains("kbmfa:") && said.contains("ssh-ed25519 AAAA"), "{said}");
}
