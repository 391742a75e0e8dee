//! Machines that have not joined and open logins with the `AUTH_TOKEN`, which the old tool gave to all its
//! hosts; and the audit events about rejected callers.

use insta::assert_snapshot;
use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::until;
use kbmfa_tests::wire::send;
use kbmfa_tests::world::World;
use sha2::{Digest, Sha256};
use std::fs;

use crate::story::LET_IN;

const TOKEN: &str = "an-old-token-of-all-hosts";
pub(crate) const HERE: &str = "[\"127.0.0.0/8\"]";
const LOGIN: &str = "/v1/logins/00112233445566778899aabbccddeeff";

/// A server that accepts the token from these addresses.
pub(crate) fn world(from: &str) -> World {
    let world = World::new();
    accept_the_token(&world, from);
    world
}

fn accept_the_token(world: &World, from: &str) {
    let file = world.server.config.with_file_name("auth_token");
    put(&file, 0o600, TOKEN);
    world.server.set("server", "auth_token_file", &format!("{:?}", file.display().to_string()));
    world.server.set("server", "auth_token_from", from);
    world.server.append("[[policy.rule]]\nmachines = [\"web1\"]\nfrom = [\"127.0.0.0/8\"]\nexempt = true\n");
    world.server.restart();
}

/// A machine that has only the token, and claims to be web1.
fn old_host(world: &World) -> Machine {
    let machine = world.machine().reporting().start();
    has_only_the_token(&machine);
    machine
}

pub(crate) fn has_only_the_token(machine: &Machine) {
    put(&machine.path("/etc/kbmfa/credential"), 0o600, TOKEN);
    machine.set("claims", "\"web1\"");
}

#[test]
fn a_machine_that_has_only_the_token_is_shown_as_claimed_and_no_exemption_is_for_it() {
    let world = world(HERE);
    let machine = old_host(&world);
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    assert_eq!(world.admin.login(&id)["machine"], "claimed:web1");
    world.admin.approve(&id);
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    world.admin.assert_story(&id, &LET_IN);
    assert_eq!(world.admin.count(["machine.claimed", "session.opened"]), [1, 0]);
    machine.syslog.lines_with("this machine uses AUTH_TOKEN");
    let status = machine.exec(&["kbmfa-host", "status"]);
    assert!(status.contains("ok, machine claimed:web1, pools none"), "{status}");
    for verb in [
        &["machine", "add", "claimed:web2"][..],
        &["machine", "join-token", "claimed:web1"],
        &["pool", "add", "ci", "--machine", "claimed:web1"],
    ] {
        let refused = world.admin.try_run(verb).unwrap_err();
        assert!(refused.contains("is only a name claimed with the AUTH_TOKEN"), "{refused}");
    }
    machine.assert_nothing_left();
}

#[test]
fn the_token_is_refused_from_other_addresses_and_that_is_recorded() {
    let world = world("[\"192.0.2.0/24\"]");
    let machine = old_host(&world);
    for _ in 0..3 {
        assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().code, 255);
    }
    assert!(world.admin.logins(&[]).is_empty());
    let refused = until("the refusal on record", || {
        world.admin.audit().into_iter().find(|event| event.kind == "caller.refused")
    });
    assert_snapshot!(refused.entry["detail"], @r#"{"address":"127.0.0.1","what":"auth-token"}"#);
    assert_eq!(world.admin.count(["caller.refused"]), [1], "the others are in the count");
    // The server refused the opening of each login, and its cancellation.
    let metrics = world.server.status("/metrics").unwrap();
    assert!(metrics.contains("kbmfa_callers_refused_total{what=\"auth-token\"} 6"), "{metrics}");
    machine.assert_nothing_left();
}

#[test]
fn a_host_that_has_the_token_joins_with_a_credential_of_its_own() {
    let world = world(HERE);
    let machine = world.machine().start();
    has_only_the_token(&machine);
    world.admin.run(&["machine", "add", "web7"]);
    machine.join_again(&world, &world.admin.run(&["machine", "join-token", "web7"]));
    let made = fs::read_to_string(machine.path("/etc/kbmfa/credential")).unwrap();
    assert!(made.starts_with("kbmfa_") && made.trim_end().len() == 70, "{made}");
    assert!(ask(&world, "GET /v1/machines/self", &format!("Bearer {TOKEN}"), "").contains("401"));
}

#[test]
fn the_token_is_no_machines_own_credential_even_if_one_had_registered_it() {
    let world = World::new();
    world.admin.run(&["machine", "add", "web7"]);
    let token = world.admin.run(&["machine", "join-token", "web7"]);
    let hash = sha256_hex(TOKEN);
    let body = format!(r#"{{"token":"{}","credential_sha256":"{hash}","module_version":"0"}}"#, token.trim());
    let (itself, bearer) = ("GET /v1/machines/self", format!("Bearer {TOKEN}"));
    // Before the server knows that it is a shared token.
    assert!(ask(&world, "POST /v1/machines/join", "", &body).contains("\"web7\""));
    assert!(ask(&world, itself, &bearer, "").contains("\"web7\""));
    let without = fs::read_to_string(&world.server.config).unwrap();
    accept_the_token(&world, HERE);
    assert!(ask(&world, itself, &bearer, "").contains("401"));
    until("the token is retired", || {
        (world.admin.count(["machine.credential-retired"]) == [1]).then_some(())
    });
    fs::write(&world.server.config, without).unwrap();
    world.server.restart();
    assert!(ask(&world, itself, &bearer, "").contains("401"), "it counts again once nobody knows the token");
    accept_the_token(&world, HERE);
    assert_snapshot!(
        ask(&world, "POST /v1/machines/join", "", &body),
        @r#"HTTP/1.1 400 Bad Request {"code":"bad-request","status":400,"title":"that is the AUTH_TOKEN, which other hosts have, too; make a new credential","detail":null}"#
    );
}

fn sha256_hex(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The server's answer to a request `VERB` with this authorization.
fn ask(world: &World, verb: &str, authorization: &str, body: &str) -> String {
    let request = format!(
        "{verb} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nKbmfa-Version: 1\r\n\
         Authorization: {authorization}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = send(&world.server, &request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    format!("{} {body}", head.lines().next().unwrap())
}

#[test]
fn hosts_with_the_same_token_can_neither_read_nor_cancel_nor_report_for_each_other() {
    let world = world(HERE);
    let open = r#"{"phase":"account","service":"sshd","user":"alice","account":"known","rhost":null,"tty":null,
        "connection":{"id":"x","ssh":null},"first_factor":{"kind":"sshd"},
        "capabilities":{"text":false,"prompt":false},"module_version":"0"}"#;
    let by = |name: &str, digit: &str| format!("AuthToken {name}:{}:{TOKEN}", digit.repeat(32));
    let (owner, thief) = (by("web1", "a"), by("web1", "b"));
    let put = format!("PUT {LOGIN}");
    assert!(ask(&world, &put, &owner, open).contains("\"pending\""));
    assert!(ask(&world, &put, &owner, open).contains("\"pending\""), "the same again is harmless");
    let answers = [
        ask(&world, &put, &thief, open),
        ask(&world, &format!("GET {LOGIN}"), &thief, ""),
        ask(&world, &format!("DELETE {LOGIN}"), &thief, ""),
        ask(&world, &format!("GET {LOGIN}"), &by("web2", "a"), ""),
        ask(&world, "POST /v1/reports", &owner, "{\"reports\":[]}"),
        ask(&world, "POST /v1/machines/self/trust", &owner, "{\"pins\":[]}"),
        ask(&world, &format!("GET {LOGIN}"), &format!("{owner}x"), ""),
    ];
    assert_snapshot!(answers.join("\n"), @r#"
    HTTP/1.1 409 Conflict {"code":"conflict","status":409,"title":"this id is used by another login already","detail":null}
    HTTP/1.1 404 Not Found {"code":"not-found","status":404,"title":"this machine has no such login","detail":null}
    HTTP/1.1 404 Not Found {"code":"not-found","status":404,"title":"this machine has no such login","detail":null}
    HTTP/1.1 401 Unauthorized {"code":"unauthorized","status":401,"title":"the credential is not accepted","detail":null}
    HTTP/1.1 403 Forbidden {"code":"only-logins","status":403,"title":"the AUTH_TOKEN can only open logins; join this machine","detail":null}
    HTTP/1.1 403 Forbidden {"code":"only-logins","status":403,"title":"the AUTH_TOKEN can only open logins; join this machine","detail":null}
    HTTP/1.1 401 Unauthorized {"code":"unauthorized","status":401,"title":"the credential is not accepted","detail":null}
    "#);
    assert!(ask(&world, &format!("GET {LOGIN}"), &owner, "").contains("\"pending\""));
}
