//! The host keys of machines: who pins them, and what happens when a machine reports others.

use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;

use crate::credentials::gets_in;

const KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// The fingerprint of the machine's host key, as the machine itself prints it.
fn fingerprint(machine: &Machine) -> String {
    let printed = machine.exec(&["ssh-keygen", "-l", "-f", &format!("{KEY}.pub")]);
    printed.split(' ').nth(1).unwrap().to_owned()
}

/// The fingerprints in this field of `machine show`.
fn shown(world: &World, name: &str, field: &str) -> Vec<String> {
    let machine = world.admin.json(&["machine", "show", name]);
    let keys = machine[field].as_array().unwrap().iter();
    keys.map(|key| key["fingerprint"].as_str().unwrap().to_owned()).collect()
}

/// Gives the machine another host key. sshd serves it from the next connection on, because it reads it anew.
fn new_key(machine: &Machine) -> String {
    machine.exec(&["rm", KEY, &format!("{KEY}.pub")]);
    machine.exec(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", KEY]);
    fingerprint(machine)
}

#[test]
fn the_first_report_of_a_machine_pins_what_its_sshd_serves_and_ssh_knows_it_by_that() {
    let world = World::new();
    // A key that lies about and is not served.
    let rsa = "/etc/ssh/ssh_host_rsa_key";
    let machine = world
        .machine()
        .before_sshd(&format!("rm -f {rsa} {rsa}.pub; ssh-keygen -q -t rsa -b 3072 -N '' -f {rsa}"))
        .start();
    assert_eq!(shown(&world, "web1", "host_keys"), [fingerprint(&machine)]);
    let port = machine.port.number.to_string();
    assert_eq!(world.admin.run(&["machine", "known-hosts"]).trim(), "", "it has no address yet");
    world.admin.run(&["machine", "set", "web1", "--address", "127.0.0.1", "--port", &port]);
    let known = world.admin.run(&["machine", "known-hosts", "web1"]);
    let expected = fs::read_to_string(machine.path(&format!("{KEY}.pub"))).unwrap();
    assert_eq!(known, format!("[127.0.0.1]:{port} {}\n", expected.trim_end()));
    fs::write(machine.local_file("known_hosts"), known).unwrap();
    gets_in(&world, &machine);
    let pinned = world.admin.audit().into_iter().filter(|event| event.kind == "machine.changed");
    let actors: Vec<_> = pinned.map(|event| event.entry["actor"]["who"].clone()).collect();
    assert_eq!(actors, ["machine:web1", "console:root"]);
}

#[test]
fn a_machine_with_new_host_keys_is_in_quarantine_until_a_person_pins_them() {
    let world = World::new();
    let machine = world.machine().start();
    let old = fingerprint(&machine);
    machine.exec(&["kbmfa-host", "refresh"]);
    assert_eq!(world.admin.count(["machine.quarantined"]), [0]);

    let new = new_key(&machine);
    for _ in 0..2 {
        machine.exec(&["kbmfa-host", "refresh"]);
    }
    assert_eq!(world.admin.count(["machine.quarantined"]), [1], "told once");
    assert_eq!(shown(&world, "web1", "host_keys"), [old.as_str()], "a report replaces no pin");
    assert_eq!(shown(&world, "web1", "reported_host_keys"), [new.as_str()]);
    let list = world.admin.run(&["machine", "list"]);
    assert!(list.contains(" quarantined "), "{list}");
    let doctor = world.admin.doctor();
    assert!(doctor.contains("1 machine in quarantine") && doctor.contains("web1"), "{doctor}");
    let metrics = world.server.status("/metrics").unwrap();
    assert!(metrics.contains("\nkbmfa_machines_quarantined 1\n"), "{metrics}");
    let log = world.server.log();
    assert!(log.contains("machine web1 reports other host keys than its own"), "{log}");
    let show = world.admin.run(&["machine", "show", "web1"]);
    assert!(show.contains(&format!("machine set web1 --host-key {new} --yes")), "{show}");

    let set = ["machine", "set", "web1", "--host-key", &new];
    let would = world.admin.dry_run(&set);
    for part in [format!("old: {old}"), format!("new: {new}"), format!("reported by the machine: {new}")] {
        assert!(would.contains(&part), "{part}: {would}");
    }
    assert!(would.contains("end its quarantine"), "{would}");
    assert_eq!(shown(&world, "web1", "host_keys"), [old]);
    world.admin.run(&[&set[..], &["--yes"]].concat());
    assert_eq!(shown(&world, "web1", "host_keys"), [new]);
    assert!(world.admin.json(&["machine", "show", "web1"])["host_keys"][0]["line"].is_string());
    machine.exec(&["kbmfa-host", "refresh"]);
    assert!(world.admin.json(&["machine", "show", "web1"])["quarantined"].is_null());
    world.admin.audit_verify();
}

#[test]
fn another_sshd_is_asked_for_its_host_keys_if_its_configuration_is_named() {
    let world = World::new();
    let machine = world.machine().start();
    let (usual, other, config) = (fingerprint(&machine), "/etc/ssh/other_key", "/etc/ssh/other_config");
    machine.exec(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other]);
    put(&machine.path(config), 0o644, format!("HostKey {other}\n"));
    machine.exec(&["kbmfa-host", "refresh", "--sshd-config", config]);
    let printed = machine.exec(&["ssh-keygen", "-l", "-f", &format!("{other}.pub")]);
    assert_eq!(shown(&world, "web1", "reported_host_keys"), [printed.split(' ').nth(1).unwrap()]);
    assert_eq!(shown(&world, "web1", "host_keys"), [usual], "the pinned key stays");
}

#[test]
fn the_host_key_of_another_machine_is_refused_and_told() {
    let world = World::new();
    let first = world.machine().start();
    let copy = |file: &str| fs::read_to_string(first.path(file)).unwrap();
    let (private, public) = (copy(KEY), copy(&format!("{KEY}.pub")));
    let write = format!("cat > {KEY} <<'X'\n{private}X\ncat > {KEY}.pub <<'X'\n{public}X\n");
    let second = world.machine().before_sshd(&write).start();
    assert_eq!(fingerprint(&first), fingerprint(&second));
    assert_eq!(shown(&world, "web1", "host_keys"), [fingerprint(&first)]);
    assert_eq!(shown(&world, "web2", "host_keys"), Vec::<String>::new());
    assert_eq!(shown(&world, "web2", "reported_host_keys"), [fingerprint(&first)]);
    let event = world.admin.audit().into_iter().find(|event| event.kind == "machine.quarantined").unwrap();
    let event = &event.entry;
    assert_eq!(
        (&event["actor"]["who"], &event["detail"]["key-of"]),
        (&"machine:web2".into(), &"web1".into())
    );
    let set = ["machine", "set", "web2", "--host-key", &fingerprint(&first), "--yes"];
    let refused = world.admin.try_run(&set).unwrap_err();
    assert!(refused.contains("is the host key of machine web1"), "{refused}");

    let new = new_key(&second);
    second.exec(&["kbmfa-host", "refresh"]);
    assert_eq!(shown(&world, "web2", "host_keys"), Vec::<String>::new(), "a person has to look");
    world.admin.run(&["machine", "set", "web2", "--host-key", &new, "--yes"]);
    assert_eq!(shown(&world, "web2", "host_keys"), [new]);
}

#[test]
fn a_fingerprint_that_was_named_before_the_machine_joined_is_the_one_that_counts() {
    let world = World::new();
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let machine = world.machine();
    world.admin.run(&["machine", "set", "web1", "--address", "web1.example.com", "--host-key", other]);
    let machine = machine.start();
    assert_eq!(shown(&world, "web1", "host_keys"), [other]);
    assert_eq!(shown(&world, "web1", "reported_host_keys"), [fingerprint(&machine)]);
    world.admin.run(&["machine", "set", "web1", "--host-key", &fingerprint(&machine), "--yes"]);
    world.admin.run(&["pool", "add", "web", "--machine", "web1"]);
    let known = world.admin.run(&["machine", "known-hosts", "--pool", "web"]);
    assert!(known.starts_with("web1.example.com ssh-ed25519 "), "{known}");
}

#[test]
fn machines_come_from_a_file_with_their_addresses_and_host_keys_or_none_does() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let (file, known) = (dir.path().join("machines.csv"), dir.path().join("known_hosts"));
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7AyLu6ZzqWyNQyAEMqjtgkMzPpc8Jhoyz4eZ7CS3qi";
    put(&known, 0o600, format!("[192.0.2.7]:2222 {key}\n"));
    let (path, known) = (file.display().to_string(), known.display().to_string());
    let named = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let head = "name,pools,address,port,host_keys\n";
    let add = ["machine", "add", "--from", &path, "--known-hosts", &known];
    let bad = format!(
        "{head}web1,web,192.0.2.7,2222,\nweb2,,a_b,,\nweb3,,web3,99999,\nweb4,,web4,,\nweb5,,web5,,MD5:00\n"
    );
    put(&file, 0o600, bad);
    let said = world.admin.try_run(&add).unwrap_err();
    for part in [":3: ", ":4: the port", ":5: the file has no key for web4", ":6: ", "nothing was added"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let same = format!(
        "{head}web1,web,192.0.2.7,2222,\nweb2,web,192.0.2.7,2222,{named}\nweb3,,web3,,{named}\nweb4,,web4,,{named}\n"
    );
    put(&file, 0o600, same);
    for more in [&["--dry-run"][..], &[]] {
        let said = world.admin.try_run(&[&add[..], more].concat()).unwrap_err();
        assert!(said.contains(":3: [192.0.2.7]:2222 is the address of machine web1"), "{said}");
        assert!(said.contains(":5: ") && said.contains("is the host key of machine web3"), "{said}");
        assert_eq!(world.admin.json(&["machine", "list"]).as_array().unwrap().len(), 0);
    }
    put(&file, 0o600, format!("{head}web1,web,192.0.2.7,2222,\nweb2,web,web2.example.com,,{named}\n"));
    let would = world.admin.dry_run(&[&add[..], &["--dry-run"]].concat());
    assert!(would.contains("add 2 machines: web1, web2") && would.contains("without --dry-run"), "{would}");
    world.admin.run(&add);
    let web1 = world.admin.json(&["machine", "show", "web1"]);
    assert_eq!((&web1["address"], &web1["port"]), (&Value::from("192.0.2.7"), &Value::from(2222)));
    let known = world.admin.run(&["machine", "known-hosts"]);
    let comment = format!("# web2 (web2.example.com): only the fingerprint {named} is known\n");
    assert_eq!(known, format!("[192.0.2.7]:2222 {key}\n{comment}"));
}
