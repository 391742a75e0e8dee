//! Enrolment as an employee's computer sees it: real TLS, signatures by real `ssh-keygen`, and the texts as
//! `docs/protocol.md` describes them.

use kbmfa_tests::process::{brief, run};
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::timed;
use kbmfa_tests::wire::Client;
use kbmfa_tests::world::World;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

const ALICE: &str = "alice@example.com";

/// Somebody with a computer, some keys, and a network.
#[derive(Clone)]
struct Computer {
    dir: PathBuf,
    client: Client,
}

impl Computer {
    fn new(world: &World) -> Self {
        Self { dir: world.dir().to_owned(), client: Client::of(&world.server) }
    }

    /// Makes a key. Returns its fingerprint.
    fn make(&self, name: &str) -> String {
        run(brief("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.dir.join(name)));
        let line = run(brief("ssh-keygen").arg("-lf").arg(self.dir.join(name)));
        line.split(' ').nth(1).unwrap().to_owned()
    }

    /// `algorithm base64`.
    fn line(&self, name: &str) -> String {
        let text = fs::read_to_string(self.dir.join(format!("{name}.pub"))).unwrap();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    fn sign(&self, name: &str, purpose: &str, fields: &[(&str, &str)]) -> String {
        let mut text = format!("kbmfa-enroll 1 {purpose}\n");
        for (field, value) in fields {
            text.extend([field, " ", &value.len().to_string(), " ", value, "\n"]);
        }
        let message = self.dir.join(format!("{name}.message"));
        let signature = self.dir.join(format!("{name}.message.sig"));
        let _ = fs::remove_file(&signature);
        fs::write(&message, text).unwrap();
        let mut command = brief("ssh-keygen");
        command.args(["-q", "-Y", "sign", "-n", "kbmfa-enroll", "-f"]).arg(self.dir.join(name)).arg(&message);
        run(&mut command);
        fs::read_to_string(signature).unwrap()
    }

    /// Status and body of an answer.
    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let answer = self.client.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nKbmfa-Version: 1\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn nonce(&self) -> String {
        let (status, challenge) = self.call("GET", "/v1/enrolments/challenge", &Value::Null);
        assert_eq!((status, &challenge["expires_in_s"]), (200, &json!(300)));
        challenge["nonce"].as_str().unwrap().to_owned()
    }

    fn lookup(&self, invite: &Value) -> (u16, Value) {
        self.call("POST", "/v1/enrolments/lookup", &json!({ "invite": invite }))
    }

    /// A signed request to enrol this key.
    fn enrolment(&self, invite: &Value, name: &str, (server, device): (&str, &str)) -> Value {
        let (nonce, fingerprint) = (self.nonce(), fingerprint(self, name));
        let text = |field: &str| invite[field].as_str().unwrap();
        let fields = [
            ("server", server),
            ("nonce", &nonce),
            ("invite", text("id")),
            ("email", text("email")),
            ("key", &fingerprint),
            ("replaces", "-"),
            ("device", device),
            ("password", "-"),
        ];
        let signature = self.sign(name, "enrol", &fields);
        json!({
            "invite": invite, "server": server, "nonce": nonce, "key": self.line(name), "device": device,
            "signature": signature,
        })
    }

    fn enrol(&self, invite: &Value, name: &str) -> (u16, Value) {
        self.call("POST", "/v1/enrolments", &self.enrolment(invite, name, ("localhost", name)))
    }

    /// A request that this key signs.
    fn me(&self, name: &str, nonce: &str, request: &Value) -> (u16, Value) {
        let (fingerprint, request) = (fingerprint(self, name), request.to_string());
        let fields =
            [("server", "localhost"), ("nonce", nonce), ("key", &fingerprint), ("request", &request)];
        let signature = self.sign(name, "request", &fields);
        self.call(
            "POST",
            "/v1/me",
            &json!({ "key": fingerprint, "server": "localhost", "nonce": nonce, "request": request, "signature": signature }),
        )
    }

    /// A request of one key to add another one.
    fn add(&self, by: &str, new: &str) -> (u16, Value) {
        let nonce = self.nonce();
        let (vouching, added) = (fingerprint(self, by), fingerprint(self, new));
        let fields = [("server", "localhost"), ("nonce", &nonce), ("vouching", &vouching), ("key", &added)];
        let proof = self.sign(new, "possession", &fields);
        self.me(by, &nonce, &json!({ "do": "add", "key": self.line(new), "device": new, "proof": proof }))
    }
}

fn fingerprint(computer: &Computer, name: &str) -> String {
    let line = run(brief("ssh-keygen").arg("-lf").arg(computer.dir.join(format!("{name}.pub"))));
    line.split(' ').nth(1).unwrap().to_owned()
}

fn invite(world: &World, email: &str) -> Value {
    let made = world.admin.json(&["employee", "invite", email]);
    let (id, secret) = made["invite"].as_str().unwrap().split_once('.').unwrap();
    json!({ "id": id, "secret": secret, "email": email })
}

fn world_with_alice() -> World {
    let world = World::new();
    world.admin.run(&["employee", "add", ALICE, "--name", "Alice Liddell", "--unix-name", "alice"]);
    world
}

/// States of a person's keys, by device.
fn states(person: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = person["keys"].as_array().unwrap();
    keys.iter().map(|key| (text(&key["device"]), text(&key["state"]))).collect()
}

#[test]
fn a_person_enrols_a_key_repeats_a_lost_reply_and_uses_the_invite_up() {
    let world = world_with_alice();
    world.admin.run(&["machine", "add", "web1"]);
    world.admin.run(&["machine", "set", "web1", "--address", "192.0.2.7", "--port", "2222"]);
    world.admin.run(&["pool", "add", "web", "--machine", "web1", "--employee", ALICE]);
    let computer = Computer::new(&world);
    computer.make("laptop");
    computer.make("other");
    let printed = world.admin.run(&["employee", "invite", ALICE]);
    let url = format!("https://localhost:{}", world.server.port);
    let command = format!("kbmfa-enroll --server {url} --pin {} --email {ALICE}", world.server.pin);
    assert!(printed.contains(&command), "{printed}");
    let invite = invite(&world, ALICE);
    let (status, invited) = computer.lookup(&invite);
    assert_eq!((status, &invited["person"]["unix_name"]), (200, &json!("alice")), "{invited}");
    let machine = &invited["person"]["machines"][0];
    assert_eq!(
        (&machine["name"], &machine["address"], &machine["port"]),
        (&json!("web1"), &json!("192.0.2.7"), &json!(2222))
    );

    let wrong = computer.enrolment(&invite, "laptop", ("elsewhere.example", "laptop"));
    let (status, problem) = computer.call("POST", "/v1/enrolments", &wrong);
    assert_eq!((status, &problem["code"]), (421, &json!("other-server")));
    let mut stolen = computer.enrolment(&invite, "laptop", ("localhost", "laptop"));
    stolen["key"] = json!(computer.line("other"));
    let (status, problem) = computer.call("POST", "/v1/enrolments", &stolen);
    assert_eq!((status, &problem["code"]), (422, &json!("key-refused")), "another key signed");

    let request = computer.enrolment(&invite, "laptop", ("localhost", "laptop"));
    let (status, enrolled) = computer.call("POST", "/v1/enrolments", &request);
    assert_eq!((status, &enrolled["key"]["state"]), (200, &json!("active")), "{enrolled}");
    let (status, repeated) = computer.call("POST", "/v1/enrolments", &request);
    assert_eq!((status, &repeated), (200, &enrolled), "the reply was lost");
    let (status, problem) = computer.enrol(&invite, "other");
    assert_eq!((status, &problem["code"]), (403, &json!("invite-refused")));
    assert_eq!(world.admin.count(["key.added", "employee.invited"]), [1, 2]);
    let shown = world.admin.json(&["employee", "show", ALICE]);
    assert!(shown["invite"].is_null() && shown["keys"].as_array().unwrap().len() == 1, "{shown}");
}

#[test]
fn whatever_is_wrong_with_an_invite_it_is_refused_in_the_same_words_and_not_earlier_than_half_a_second() {
    let world = world_with_alice();
    world.admin.run(&["employee", "add", "bob@example.com", "--name", "Bob", "--unix-name", "bob"]);
    let computer = Computer::new(&world);
    computer.make("laptop");
    let (good, suspended) = (invite(&world, ALICE), invite(&world, "bob@example.com"));
    world.admin.run(&["employee", "suspend", "bob@example.com"]);
    let with = |field: &str, value: &str| {
        let mut changed = good.clone();
        changed[field] = json!(value);
        changed
    };
    let bad = [
        with("id", "00112233445566778899"),
        with("email", "bob@example.com"),
        with("email", "nobody@example.com"),
        with("email", "no address"),
        with("secret", "0011223344556677889900112233445566778899"),
        suspended,
    ];
    let mut answers = Vec::new();
    for invite in &bad {
        for enrols in [false, true] {
            let request = enrols.then(|| computer.enrolment(invite, "laptop", ("localhost", "laptop")));
            let (answer, took) = timed(|| match request {
                Some(request) => computer.call("POST", "/v1/enrolments", &request),
                None => computer.lookup(invite),
            });
            answers.push(answer);
            assert!(took >= Duration::from_millis(500), "{invite}: {took:?}");
        }
    }
    assert_eq!((answers[0].0, &answers[0].1["code"]), (403, &json!("invite-refused")));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(computer.lookup(&good).0, 200, "one wrong secret of each kind does not end it");
}

#[test]
fn guessing_an_invite_stops_at_its_limit_also_at_the_same_moment() {
    let world = world_with_alice();
    let computer = Computer::new(&world);
    let good = invite(&world, ALICE);
    let guesses: Vec<_> = (0..12)
        .map(|n| {
            let (computer, mut guess) = (computer.clone(), good.clone());
            guess["secret"] = json!(format!("{n:040}"));
            thread::spawn(move || computer.lookup(&guess).0)
        })
        .collect();
    for guess in guesses {
        assert_eq!(guess.join().unwrap(), 403);
    }
    assert_eq!(computer.lookup(&good).0, 403, "the right one is refused now, too");
    assert_eq!(world.admin.count(["invite.limited"]), [1]);
    assert!(world.admin.json(&["employee", "show", ALICE])["invite"].is_null());
}

#[test]
fn an_invite_that_is_used_twice_at_the_same_moment_enrols_one_key() {
    let world = world_with_alice();
    let computer = Computer::new(&world);
    let invite = invite(&world, ALICE);
    let requests: Vec<_> = (0..4)
        .map(|n| {
            let name = format!("key{n}");
            computer.make(&name);
            computer.enrolment(&invite, &name, ("localhost", &name))
        })
        .collect();
    let calls: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let computer = computer.clone();
            thread::spawn(move || computer.call("POST", "/v1/enrolments", &request).0)
        })
        .collect();
    let mut statuses: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403]);
    assert_eq!(world.admin.count(["key.added"]), [1]);
}

#[test]
fn a_stolen_enrolled_key_cannot_make_a_second_one_unseen() {
    let world = world_with_alice();
    let computer = Computer::new(&world);
    for name in ["laptop", "thief", "third"] {
        computer.make(name);
    }
    assert_eq!(computer.enrol(&invite(&world, ALICE), "laptop").0, 200);
    let (status, added) = computer.add("laptop", "thief");
    assert_eq!((status, &added["key"]["state"]), (200, &json!("pending")), "{added}");
    assert_eq!(computer.add("laptop", "thief").0, 200, "repeated");
    let (status, problem) = computer.add("thief", "third");
    assert_eq!((status, &problem["code"]), (403, &json!("signer-refused")), "a pending key vouches for none");
    let added = world.admin.audit().into_iter().filter(|event| event.kind == "key.added").nth(1).unwrap();
    let told = added.entry.to_string();
    assert!(
        told.contains(&fingerprint(&computer, "laptop")) && told.contains(&fingerprint(&computer, "thief")),
        "{told}"
    );

    let nonce = computer.nonce();
    let lost = json!({ "do": "revoke", "fingerprint": fingerprint(&computer, "laptop"), "lost": true });
    let (status, after) = computer.me("laptop", &nonce, &lost);
    assert_eq!((status, after["revoked"].as_array().unwrap().len()), (200, 2), "{after}");
    assert_eq!(states(&after["person"]), []);
    let (status, problem) = computer.me("laptop", &computer.nonce(), &json!({ "do": "status" }));
    assert_eq!((status, &problem["code"]), (403, &json!("signer-refused")));
}

#[test]
fn a_challenge_is_used_once_and_a_key_speaks_only_for_its_owner() {
    let world = world_with_alice();
    world.admin.run(&["employee", "add", "bob@example.com", "--name", "Bob", "--unix-name", "bob"]);
    let computer = Computer::new(&world);
    for (name, email) in [("laptop", ALICE), ("bobs", "bob@example.com")] {
        computer.make(name);
        assert_eq!(computer.enrol(&invite(&world, email), name).0, 200);
    }
    let nonce = computer.nonce();
    let (status, shown) = computer.me("laptop", &nonce, &json!({ "do": "status" }));
    assert_eq!((status, states(&shown["person"])), (200, vec![("laptop".into(), "active".into())]));
    let (status, problem) = computer.me("laptop", &nonce, &json!({ "do": "status" }));
    assert_eq!((status, &problem["code"]), (409, &json!("stale-challenge")));
    let bobs = json!({ "do": "revoke", "fingerprint": fingerprint(&computer, "bobs"), "lost": false });
    assert_eq!(computer.me("laptop", &computer.nonce(), &bobs).0, 404);
    let (status, problem) = computer.add("laptop", "bobs");
    assert_eq!((status, &problem["code"]), (409, &json!("key-conflict")));
    assert!(!problem.to_string().contains("bob@"), "{problem}");
    world.admin.run(&["employee", "suspend", ALICE]);
    assert_eq!(computer.me("laptop", &computer.nonce(), &json!({ "do": "status" })).0, 403);
}

#[test]
fn a_restore_ends_every_invite_of_the_backup() {
    let world = world_with_alice();
    let computer = Computer::new(&world);
    computer.make("laptop");
    let open = invite(&world, ALICE);
    let backup = world.server.config.with_file_name("backup.db").display().to_string();
    world.admin.run(&["backup", &backup]);
    world.server.stop();
    assert!(world.admin.dry_run(&["restore", &backup]).contains("invite for alice@example.com"));
    world.admin.run(&["restore", &backup, "--yes"]);
    world.admin.run(&["restore", "--confirm"]);
    world.server.start();
    assert_eq!(computer.enrol(&open, "laptop").0, 403);
    assert_eq!(computer.enrol(&invite(&world, ALICE), "laptop").0, 200);
}

#[test]
fn a_flood_of_enrolments_does_not_delay_a_login() {
    let world = world_with_alice();
    let machine = world.machine().phase(Phase::Auth).start();
    let computer = Computer::new(&world);
    let good = invite(&world, ALICE);
    let flood: Vec<_> = (0..24)
        .map(|n| {
            let (computer, mut guess) = (computer.clone(), good.clone());
            guess["secret"] = json!(format!("{n:040}"));
            thread::spawn(move || (0..10).map(|_| computer.lookup(&guess).0).collect::<Vec<_>>())
        })
        .collect();
    let (finished, took) = timed(|| {
        let login = machine.ssh("alice", &["echo", "in"]);
        world.admin.approve(&world.admin.pending());
        login.wait()
    });
    assert_eq!(finished.stdout, "in\n");
    let statuses: Vec<u16> = flood.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(statuses.iter().all(|status| [403, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&503), "more than one source may have at once");
    assert!(took < Duration::from_secs(20), "{took:?}");
    machine.assert_nothing_left();
}
