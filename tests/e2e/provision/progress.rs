//! The employee's own program shows how far a key has got on the machines.

use kbmfa_tests::delivery::{self, KEYS, Sudo, deliver, name, until_row};
use kbmfa_tests::files::put;
use kbmfa_tests::laptop::Laptop;
use kbmfa_tests::transcript::normalised;
use kbmfa_tests::wait::PATIENCE;
use kbmfa_tests::wire;
use kbmfa_tests::world::World;
use serde_json::Value;

const EMAIL: &str = "dora@example.com";

/// A machine at a port that nobody listens at.
fn down(world: &World) {
    let host_key = format!("SHA256:{}", "A".repeat(43));
    let place = ["--address", "127.0.0.1", "--port", "9", "--host-key", &host_key, "--pool", "web"];
    world.admin.run(&[&["machine", "add", "down"][..], &place].concat());
    world.admin.run(&["provision", "enable", "down", "--keys", "system"]);
    until_row(world, "down", PATIENCE, "unreachable", |row| row["failure"] == "unreachable");
}

/// What the person's program says of this machine.
fn placed(status: &Value, name: &str) -> Value {
    let machines = status["person"]["machines"].as_array().unwrap();
    machines.iter().find(|machine| machine["name"] == name).unwrap()["placed"].clone()
}

#[test]
fn the_program_shows_when_a_new_key_is_on_the_machines_and_names_those_that_are_down() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    let up = name(&machine);
    world.admin.run(&["pool", "add", "web", "--machine", &up]);
    deliver(&world, &[&machine], "system");
    down(&world);
    for (email, unix_name) in [(EMAIL, "dora"), ("ella@example.com", "ella")] {
        let words =
            ["employee", "add", email, "--name", unix_name, "--unix-name", unix_name, "--pool", "web"];
        world.admin.run(&words);
    }
    let laptop = Laptop::of(&world);
    let invite = world.admin.json(&["employee", "invite", EMAIL])["invite"].as_str().unwrap().to_owned();
    put(&laptop.path("invite"), 0o600, invite);
    let (file, key) = (laptop.path("invite"), laptop.make_key("id", ""));
    let options =
        ["--email", EMAIL, "--yes", "--invite-file", file.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let (code, screen) = laptop.at_terminal(&[&laptop.server()[..], &options].concat()).end();
    assert_eq!(code, Some(0), "{screen}");
    let screen = normalised(&screen);
    assert!(
        screen.contains("1 of 2 machines have your keys as they are now.\n  down: cannot be reached since"),
        "{screen}"
    );
    assert!(screen.contains("`kbmfa-enroll status --watch` shows it"), "{screen}");
    let keys = machine.exec(&["cat", "/etc/ssh/kbmfa/keys/dora"]);
    assert!(keys.contains(laptop.read("id.pub").split(' ').nth(1).unwrap()), "{keys}");

    let status = laptop.json(&["status"]);
    assert_eq!(
        (&placed(&status, &up)["state"], &placed(&status, "down")["state"]),
        (&"confirmed".into(), &"unreachable".into())
    );
    assert!(!status.to_string().contains("ella"), "{status}");
    let ready = world.server.status("/readyz").unwrap();
    assert!(ready.contains("1 of 2 machines have not confirmed their accounts and keys"), "{ready}");
    let watched = laptop.enroll(&["status", "--watch"]);
    let watched = String::from_utf8(watched.stdout).unwrap();
    assert!(watched.contains(&format!("machine  {up}: has your keys\n")), "{watched}");
    assert!(watched.ends_with("`kbmfa-enroll status --watch` shows it.\n"), "{watched}");
}

#[test]
fn who_followed_a_key_sees_nothing_more_once_it_is_revoked() {
    let world = World::new();
    world.admin.run(&["pool", "add", "web"]);
    down(&world);
    world.admin.run(&["employee", "add", EMAIL, "--name", "Dora", "--unix-name", "dora", "--pool", "web"]);
    let laptop = Laptop::of(&world);
    let invite = world.admin.json(&["employee", "invite", EMAIL])["invite"].as_str().unwrap().to_owned();
    put(&laptop.path("invite"), 0o600, invite);
    let (file, key) = (laptop.path("invite"), laptop.make_key("id", ""));
    let options =
        ["--email", EMAIL, "--yes", "--invite-file", file.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let follow =
        laptop.json(&[&laptop.server()[..], &options].concat())["follow"].as_str().unwrap().to_owned();
    let ask = |follow: &str| {
        let body = serde_json::json!({ "follow": follow }).to_string();
        let head = format!("Host: localhost\r\nKbmfa-Version: 1\r\nContent-Length: {}", body.len());
        wire::send(&world.server, &format!("POST /v1/me/progress HTTP/1.1\r\n{head}\r\n\r\n{body}"))
    };
    let answer = ask(&follow);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("down"), "{answer}");
    assert!(ask("AAAA").starts_with("HTTP/1.1 409 "));
    world.admin.run(&["key", "revoke", &laptop.fingerprint("id"), "--yes"]);
    let answer = ask(&follow);
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("signer-refused"), "{answer}");
    assert!(!answer.contains("down"), "{answer}");
}
