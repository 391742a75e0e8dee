//! The thief of an enrolled key, who talks to the server without our program.

use kbmfa_tests::chat::{ChatWorld, ROOM};
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::server::Server;
use kbmfa_tests::wait::PATIENCE;
use kbmfa_tests::wire;
use kbmfa_tests::world::World;
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{ALICE, give_key};

/// The name by which the thief reaches the server.
const SERVER: &str = "localhost";

/// The body of the server's answer.
fn call(server: &Server, method: &str, path: &str, body: &str) -> Value {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {SERVER}\r\nKbmfa-Version: 1\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = wire::send(server, &request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {head}\n{body}"))
}

/// The signature of a key over the fields of a request, as docs/protocol.md has it.
fn sign(key: &Path, purpose: &str, fields: &[(&str, &str)]) -> String {
    let mut text = format!("kbmfa-enroll 1 {purpose}\n");
    for (name, value) in fields {
        text.extend([name, " ", &value.len().to_string(), " ", value, "\n"]);
    }
    let file = key.with_extension("text");
    fs::write(&file, text).unwrap();
    let mut command = brief("ssh-keygen");
    command.args(["-q", "-Y", "sign", "-n", "kbmfa-enroll", "-f"]).arg(key);
    run(command.stdin(File::open(file).unwrap()))
}

/// Asks in the name of an enrolled key.
fn request(server: &Server, (key, fingerprint): (&Path, &str), what: impl Fn(&str) -> Value) -> Value {
    let challenge = call(server, "GET", "/v1/enrolments/challenge", "");
    let nonce = challenge["nonce"].as_str().unwrap();
    let request = what(nonce).to_string();
    let fields = [("server", SERVER), ("nonce", nonce), ("key", fingerprint), ("request", &request)];
    let signature = sign(key, "request", &fields);
    let body = json!({
        "key": fingerprint, "server": SERVER, "nonce": nonce, "request": request, "signature": signature,
    });
    call(server, "POST", "/v1/me", &body.to_string())
}

/// A new key of the thief: its file, its line and its fingerprint.
fn make_key(dir: &Path) -> (PathBuf, String, String) {
    let file = dir.join("thiefs_key");
    run(brief("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file));
    let printed = run(brief("ssh-keygen").arg("-lf").arg(&file));
    let line = fs::read_to_string(file.with_extension("pub")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    (file, words[..2].join(" "), printed.split(' ').nth(1).unwrap().to_owned())
}

#[test]
fn a_stolen_enrolled_key_cannot_make_a_second_one_unseen() {
    let world = ChatWorld::new();
    let machine = world.machine().phase(Phase::Auth).start();
    world.admin.run(&[&ALICE[..], &["--keybase-name", "alice"]].concat());
    let first = give_key(&world, &machine, "alice@example.com", "laptop");
    let stolen = machine.local_file("id_ed25519");
    let (file, line, second) = make_key(world.dir());
    let add = |nonce: &str| {
        let fields = [("server", SERVER), ("nonce", nonce), ("vouching", &first), ("key", &second)];
        json!({ "do": "add", "key": line, "device": "phone", "proof": sign(&file, "possession", &fields) })
    };
    let answer = request(&world.server, (&stolen, &first), add);
    assert_eq!(answer["key"]["state"], "pending", "{answer}");

    // People are told where they are, and the operator where they look.
    for room in [ROOM, "alice,sshbot"] {
        let message = world.chat.wait_message(room, &second, PATIENCE).unwrap();
        let told = world.chat.messages(room).unwrap().into_iter().find(|found| found.id == message).unwrap();
        assert!(told.body.contains(&first) && told.body.contains("phone"), "{}", told.body);
    }
    let pending = world.admin.json(&["key", "list", "--pending"]);
    assert_eq!((&pending[0]["fingerprint"], &pending[0]["vouched_by"]), (&json!(second), &json!(first)));
    world.admin.run(&["pool", "add", "web", "--machine", "web1", "--employee", "alice@example.com"]);
    assert!(world.admin.run(&["access", "of", "alice@example.com"]).contains("laptop; pending: phone"));

    // The machine lets the key in, and the server does not.
    let keys = machine.path("/home/alice/.ssh/authorized_keys");
    writeln!(OpenOptions::new().append(true).open(keys).unwrap(), "{line}").unwrap();
    let login = || machine.ssh_with("alice", &["-i", &file.display().to_string()], &["echo", "in"]);
    let reason = || world.admin.login(&world.admin.logins(&["--state", "denied"])[0].0)["reason"].clone();
    assert_eq!(login().wait().stdout, "");
    assert_eq!(reason(), "pending-key");

    // It vouches for no other key either.
    let by_second = request(&world.server, (&file, &second), |_| json!({ "do": "status" }));
    assert!(by_second["person"].is_null(), "{by_second}");

    let preview = world.admin.dry_run(&["key", "revoke", &first, "--lost"]);
    assert!(preview.contains(&second), "{preview}");
    assert_eq!(world.admin.json(&["key", "list"]).as_array().unwrap().len(), 2, "a preview");
    world.admin.run(&["key", "revoke", &first, "--lost", "--yes"]);
    assert_eq!(world.admin.json(&["key", "list"]), json!([]));
    assert_eq!(login().wait().stdout, "");
    assert_eq!(reason(), "revoked-key");
    let approved = world.admin.try_run(&["key", "approve", &second]).unwrap_err();
    assert!(approved.contains("is revoked: only a pending key"), "{approved}");
    machine.assert_nothing_left();
}

#[test]
fn a_key_that_a_person_added_counts_from_its_approval_and_takes_the_place_of_the_other() {
    let world = World::new();
    let machine = world.machine().phase(Phase::Auth).start();
    world.admin.run(&ALICE);
    let first = give_key(&world, &machine, "alice@example.com", "laptop");
    let (file, line, second) = make_key(world.dir());
    let add = |nonce: &str| {
        let fields = [("server", SERVER), ("nonce", nonce), ("vouching", &first), ("key", &second)];
        let proof = sign(&file, "possession", &fields);
        json!({ "do": "add", "key": line, "device": "laptop", "replaces": first, "proof": proof })
    };
    request(&world.server, (&machine.local_file("id_ed25519"), &first), add);
    let shown = world.admin.run(&["key", "show", &second]);
    for part in
        [format!("added by key {first}"), format!("takes the place of key {first} when it is approved")]
    {
        assert!(shown.contains(&part), "{shown}");
    }
    assert!(world.admin.run(&["key", "show", &first]).contains(&format!("has added key {second}")));
    let said = world.admin.run(&["key", "approve", &second]);
    assert!(said.contains(&first) && said.contains("is revoked"), "{said}");
    let revoked = world.admin.json(&["key", "list", "--revoked"]);
    assert_eq!((&revoked[0]["fingerprint"], &revoked[0]["reason"]), (&json!(first), &json!("replaced")));
    let keys = machine.path("/home/alice/.ssh/authorized_keys");
    writeln!(OpenOptions::new().append(true).open(keys).unwrap(), "{line}").unwrap();
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "", "the old key");
    let login = machine.ssh_with("alice", &["-i", &file.display().to_string()], &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
    assert_eq!(world.admin.count(["key.added", "key.approved", "key.revoked"]), [2, 1, 1]);
}
