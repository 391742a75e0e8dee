//! The life of credentials: the server's certificate is renewed while a login waits, its authority is
//! replaced while machines work, an expiry is announced, and a restored database is read-only until somebody
//! confirms it.

use kbmfa_tests::certificate::{Made, foreign_authority};
use kbmfa_tests::files::put;
use kbmfa_tests::impostor::Babbler;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;

/// A login on this machine is asked about, approved, and gets in.
pub(crate) fn gets_in(world: &World, machine: &Machine) {
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    let finished = login.wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("in\n", 0), "{}", finished.stderr);
}

/// Expiry of the certificate in force, in seconds since 1970.
fn end(world: &World, which: &str) -> i64 {
    let metrics = world.server.status("/metrics").unwrap();
    let name = format!("kbmfa_certificate_not_after_seconds{{which=\"{which}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.expect("a date in the metrics").trim().parse().unwrap()
}

/// Number of audit events of this kind.
fn count(world: &World, kind: &str) -> usize {
    world.admin.audit().iter().filter(|event| event.kind == kind).count()
}

fn wait_for(world: &World, kind: &str, times: usize) {
    until(kind, || (count(world, kind) == times).then_some(()));
}

#[test]
fn the_certificate_is_renewed_under_a_waiting_login_and_at_a_reload() {
    let world = World::new();
    let machine = world.machine().start();
    let certificate = world.server.state_dir.join("tls/server.pem");
    let old = Made::begun(&world.server.state_dir, 80, 90);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    put(&certificate, 0o600, old.key + &old.chain);
    wait_for(&world, "server.certificate-renewed", 1);
    let fresh = until("the new certificate", || Some(end(&world, "server")).filter(|end| *end > 0));
    world.admin.approve(&id);
    assert_eq!(login.wait().code, 0);
    gets_in(&world, &machine);

    world.server.set("server", "names", "[\"localhost\", \"127.0.0.1\", \"kbmfa.example\"]");
    world.server.reload();
    wait_for(&world, "server.certificate-renewed", 2);
    let event = world.admin.audit().pop().unwrap().entry;
    assert_eq!(event["detail"]["names"], "localhost 127.0.0.1 kbmfa.example", "{event}");
    assert!(end(&world, "server") >= fresh);
    gets_in(&world, &machine);

    world.server.stop();
    fs::remove_file(&certificate).unwrap();
    world.server.start();
    assert_eq!(count(&world, "server.certificate-renewed"), 3);
    gets_in(&world, &machine);
    machine.assert_nothing_left();
    world.admin.audit_verify();
}

#[test]
fn two_servers_on_one_state_share_a_certificate_and_one_of_them_renews_it() {
    let world = World::new();
    let twin = world.server.twin();
    twin.start();
    let old = Made::begun(&world.server.state_dir, 80, 90);
    put(&world.server.state_dir.join("tls/server.pem"), 0o600, old.key + &old.chain);
    wait_for(&world, "server.certificate-renewed", 1);
    for server in [&world.server, &twin] {
        until("the new certificate", || {
            server.log().contains("the certificate in force expires on").then_some(())
        });
    }
    let line =
        |metrics: String| metrics.lines().find(|line| line.contains("which=\"server\"")).map(str::to_owned);
    // The other server may have loaded the old certificate before.
    until("the same certificate", || {
        let ends = [&world.server, &twin].map(|server| line(server.status("/metrics").unwrap()));
        (ends[0].is_some() && ends[0] == ends[1]).then_some(())
    });
    assert_eq!(count(&world, "server.certificate-renewed"), 1);
}

#[test]
fn an_approaching_expiry_is_an_alarm_and_an_expired_certificate_is_not_ready() {
    let world = World::new();
    let machine = world.machine().start();
    let dir = world.server.config.parent().unwrap().to_owned();
    let (cert, key) = (dir.join("own.pem"), dir.join("own.key"));
    let own = |days_ago, life| {
        let made = Made::begun(&world.server.state_dir, days_ago, life);
        put(&cert, 0o644, made.chain);
        put(&key, 0o600, made.key);
    };
    world.server.set("server", "tls_cert", &format!("{:?}", cert.display().to_string()));
    world.server.set("server", "tls_key", &format!("{:?}", key.display().to_string()));
    own(10, 20);
    world.server.reload();
    wait_for(&world, "server.certificate-expires", 1);
    let ready = world.server.status("/readyz").unwrap();
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("the server certificate expires on"),
        "{ready}"
    );
    assert!(world.server.log().contains("ALARM: the server certificate expires on"));
    gets_in(&world, &machine);

    own(10, 5);
    world.server.reload();
    until("the end to be told", || world.server.status("/readyz").filter(|ready| ready.contains(" 503 ")));
    assert_eq!(machine.ssh("alice", &["true"]).wait().code, 255);
    assert_eq!(count(&world, "server.certificate-renewed"), 0, "an operator's own is never replaced");
    assert_eq!(count(&world, "server.certificate-expires"), 1, "once a day");
    let refused = world.admin.try_run(&["ca", "rotate", "--yes"]).unwrap_err();
    assert!(refused.contains("your own"), "{refused}");
}

#[test]
fn a_certificate_that_cannot_be_renewed_is_an_alarm_and_serves_on() {
    let world = World::new();
    let machine = world.machine().start();
    let old = Made::begun(&world.server.state_dir, 80, 90);
    fs::remove_file(world.server.state_dir.join("ca/1/ca.key")).unwrap();
    put(&world.server.state_dir.join("tls/server.pem"), 0o600, old.key + &old.chain);
    wait_for(&world, "server.certificate-expires", 1);
    assert!(world.server.log().contains("the server's certificate cannot be renewed"));
    gets_in(&world, &machine);
    world.admin.audit_verify();
}

fn cas_on(machine: &Machine) -> usize {
    fs::read_to_string(machine.path("/etc/kbmfa/ca.pem")).unwrap().matches("BEGIN CERTIFICATE").count()
}

#[test]
fn the_authority_is_replaced_under_machines_that_go_on_working() {
    let mut world = World::new();
    world.server.set("login", "asks_per_user", "20");
    world.server.reload();
    let (first, second) = (world.machine().start(), world.machine().start());
    let shown = world.admin.json(&["ca", "show"]);
    assert_eq!(shown[0]["pin"], world.server.pin.as_str());
    assert!(shown[0]["signs"] == true && shown[0]["untrusting"].as_array().unwrap().is_empty(), "{shown}");
    assert!(world.admin.dry_run(&["ca", "rotate"]).contains("would create"));
    let pin = world.admin.json(&["ca", "rotate", "--yes"])["pin"].as_str().unwrap().to_owned();

    let switch = || world.admin.try_run(&["ca", "rotate", "--switch", "--yes"]);
    let refused = switch().unwrap_err();
    assert!(refused.contains("authority: web1 web2\n"), "{refused}");
    let refreshed = first.exec(&["kbmfa-host", "refresh"]);
    assert!(refreshed.starts_with("wrote") && refreshed.contains(&pin), "{refreshed}");
    assert!(first.exec(&["kbmfa-host", "refresh"]).starts_with("unchanged"));
    let third = world.machine().start();
    assert_eq!([cas_on(&first), cas_on(&second), cas_on(&third)], [2, 1, 2], "a new machine trusts both");
    let refused = switch().unwrap_err();
    assert!(refused.contains("authority: web2\n"), "{refused}");
    second.exec(&["kbmfa-host", "refresh"]);
    gets_in(&world, &first);

    switch().unwrap();
    wait_for(&world, "server.certificate-renewed", 1);
    for machine in [&first, &second, &third] {
        gets_in(&world, machine);
    }
    world.admin.run(&["ca", "retire", "--yes"]);
    gets_in(&world, &first);
    first.exec(&["kbmfa-host", "refresh"]);
    assert_eq!(cas_on(&first), 1);
    gets_in(&world, &first);

    world.server.pin = pin;
    let fourth = world.machine().start();
    gets_in(&world, &fourth);
    for kind in ["ca.rotated", "ca.switched", "ca.retired"] {
        assert_eq!(count(&world, kind), 1, "{kind}");
    }
    world.admin.audit_verify();
}

#[test]
fn a_list_that_does_not_vouch_for_the_server_itself_is_not_written() {
    let world = World::new();
    let machine = world.machine().start();
    let on_file = || fs::read_to_string(machine.path("/etc/kbmfa/ca.pem")).unwrap();
    let before = on_file();
    world.server.stop();
    let body = serde_json::json!({ "cas": [foreign_authority()] }).to_string();
    let head = "HTTP/1.1 200 OK\r\nKbmfa-Version: 1\r\nContent-Type: application/json\r\nContent-Length";
    let babbler = Babbler::in_place_of(&world, &format!("{head}: {}\r\n\r\n{body}", body.len()));
    let refused = machine.exec(&["sh", "-c", "kbmfa-host refresh 2>&1 || true"]);
    assert!(refused.contains("do not vouch for the server itself, so the file was not changed"), "{refused}");
    assert_eq!(on_file(), before);
    drop(babbler);
    world.server.start();
    gets_in(&world, &machine);
}

#[test]
fn a_restored_database_is_read_only_until_somebody_confirms_what_it_undoes() {
    let world = World::new();
    let machine = world.machine().start();
    let copy = world.server.state_dir.join("copy.db");
    let copy = copy.to_str().unwrap();
    let backed_up = world.admin.audit().len();
    world.admin.run(&["backup", copy]);
    world.admin.add_machine("web9");
    gets_in(&world, &machine);
    let head = world.admin.audit().len();

    let would = world.admin.dry_run(&["restore", copy]);
    for line in ["undoes     1 x login.approved", "undoes     1 x machine.added", "vanishes   machine web9"] {
        assert!(would.contains(line), "{would}");
    }
    let refused = world.admin.try_run(&["restore", copy, "--yes"]).unwrap_err();
    assert!(refused.contains("a server runs on this database"), "{refused}");
    world.server.stop();
    let done = world.admin.json(&["restore", copy, "--yes"]);
    let undone: u64 = done["undoes"]["undone"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert!(undone == (head - backed_up) as u64 && done["undoes"]["foreign"] == 0, "{done}");
    assert!(world.server.state_dir.join(done["kept"].as_str().unwrap()).exists(), "{done}");
    world.admin.run(&["restore", copy, "--yes"]);

    world.server.start_until("HTTP/1.1 503");
    let ready = world.server.status("/readyz").unwrap();
    assert!(ready.contains("read-only until `kbmfa-server restore --confirm`"), "{ready}");
    assert_eq!(machine.ssh("alice", &["true"]).wait().code, 255);
    assert!(!machine.syslog.lines_with("restored from a backup").is_empty());
    let refused = world.admin.try_run(&["machine", "add", "web10"]).unwrap_err();
    assert!(refused.contains("restore --confirm"), "{refused}");
    assert_eq!(world.admin.audit().len(), backed_up, "nothing is written meanwhile");
    assert!(world.admin.logins(&[]).is_empty());

    world.admin.run(&["restore", "--confirm"]);
    assert!(world.admin.try_run(&["restore", "--confirm"]).is_err());
    until("the server to be ready", || {
        world.server.status("/readyz").filter(|ready| ready.contains(" 200 "))
    });
    wait_for(&world, "server.started", 2);
    gets_in(&world, &machine);
    let restored = &world.admin.audit()[backed_up];
    assert_eq!(restored.kind, "database.restored");
    let after = restored.entry["detail"]["after"].as_str().unwrap();
    assert!(after.starts_with(&format!("{backed_up}:")), "{after}");
    let before = restored.entry["detail"]["before"].as_str().unwrap();
    assert!(before.starts_with(&format!("{head}:")), "{before}: restored twice, the gap is the whole one");
    world.admin.audit_verify();
    machine.assert_nothing_left();
}
