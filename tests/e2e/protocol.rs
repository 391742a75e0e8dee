//! The server as any caller on the network sees it: what `docs/protocol.md` promises, byte by byte.

use insta::assert_snapshot;
use kbmfa_tests::wire::{send, send_plainly};
use kbmfa_tests::world::World;
use serde_json::Value;
use sha2::{Digest, Sha256};

const LOGIN: &str = "/v1/logins/00112233445566778899aabbccddeeff";

/// Status line and body of the answer to a request.
fn ask(world: &World, head: &str, body: &str) -> String {
    let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n{body}");
    let answer = send(&world.server, &request);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.to_lowercase().contains("\r\nkbmfa-version: 1"), "{answer}");
    assert!(head.starts_with("HTTP/1.1 2") || head.contains("application/problem+json"), "{answer}");
    format!("{}\n{body}", head.lines().next().unwrap_or_default())
}

/// Joins as a machine with this credential. Returns the header that proves it.
pub(crate) fn join(world: &World, secret: &str) -> String {
    let hash = Sha256::digest(secret).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let token = world.admin.add_machine("raw1");
    let body = format!(r#"{{"token":"{token}","credential_sha256":"{hash}","module_version":"0"}}"#);
    let head =
        format!("POST /v1/machines/join HTTP/1.1\r\nKbmfa-Version: 1\r\nContent-Length: {}", body.len());
    assert!(ask(world, &head, &body).starts_with("HTTP/1.1 200"));
    format!("Authorization: Bearer {secret}")
}

#[test]
fn each_way_of_asking_wrongly_has_its_own_answer() {
    let world = World::new();
    let version = "Kbmfa-Version: 1";
    let stranger = "Authorization: Bearer kbmfa_guess";
    let known = join(&world, "kbmfa_raw");
    let post = format!("POST /v1/machines/join HTTP/1.1\r\n{version}");
    let guess = format!(
        r#"{{"token":"kbmfa-join-guess","credential_sha256":"{}","module_version":"0"}}"#,
        "a".repeat(64)
    );
    let answers = [
        ask(&world, &format!("GET {LOGIN} HTTP/1.1"), ""),
        ask(&world, &format!("GET {LOGIN} HTTP/1.1\r\nKbmfa-Version: 2"), ""),
        ask(&world, &format!("GET {LOGIN} HTTP/1.1\r\n{version}"), ""),
        ask(&world, &format!("GET {LOGIN} HTTP/1.1\r\n{version}\r\n{stranger}"), ""),
        ask(&world, &format!("GET {LOGIN}?wait=31 HTTP/1.1\r\n{version}\r\n{known}"), ""),
        ask(&world, &format!("POST {LOGIN} HTTP/1.1\r\n{version}\r\n{known}\r\nContent-Length: 0"), ""),
        ask(&world, &format!("GET /v1/nothing HTTP/1.1\r\n{version}\r\n{known}"), ""),
        ask(&world, &format!("{post}\r\nContent-Length: 2"), "{}"),
        ask(&world, &format!("{post}\r\nContent-Length: {}", guess.len()), &guess),
        ask(&world, &format!("POST /v1/sessions HTTP/1.1\r\n{version}\r\nContent-Length: 2"), "{}"),
        ask(
            &world,
            &format!("POST /v1/reports HTTP/1.1\r\n{version}\r\n{stranger}\r\nContent-Length: 14"),
            "{\"reports\":[]}",
        ),
        ask(&world, &format!("GET /v1/sessions HTTP/1.1\r\n{version}\r\n{known}"), ""),
    ];
    assert_snapshot!(answers.join("\n"), @r#"
    HTTP/1.1 400 Bad Request
    {"code":"unsupported-version","status":400,"title":"this server does not support that version of the protocol","detail":"send the header kbmfa-version: 1"}
    HTTP/1.1 400 Bad Request
    {"code":"unsupported-version","status":400,"title":"this server does not support that version of the protocol","detail":"send the header kbmfa-version: 1"}
    HTTP/1.1 401 Unauthorized
    {"code":"unauthorized","status":401,"title":"the credential is not accepted","detail":null}
    HTTP/1.1 401 Unauthorized
    {"code":"unauthorized","status":401,"title":"the credential is not accepted","detail":null}
    HTTP/1.1 400 Bad Request
    {"code":"bad-request","status":400,"title":"wait must be a whole number of seconds from 0 to 30","detail":null}
    HTTP/1.1 405 Method Not Allowed
    {"code":"method-not-allowed","status":405,"title":"this route does not accept that method","detail":null}
    HTTP/1.1 404 Not Found
    {"code":"not-found","status":404,"title":"there is no such route","detail":null}
    HTTP/1.1 400 Bad Request
    {"code":"bad-request","status":400,"title":"the body does not fit this route","detail":"missing field `token` at line 1 column 2"}
    HTTP/1.1 403 Forbidden
    {"code":"token-refused","status":403,"title":"the join token is unknown, used or expired","detail":null}
    HTTP/1.1 401 Unauthorized
    {"code":"unauthorized","status":401,"title":"the credential is not accepted","detail":null}
    HTTP/1.1 401 Unauthorized
    {"code":"unauthorized","status":401,"title":"the credential is not accepted","detail":null}
    HTTP/1.1 405 Method Not Allowed
    {"code":"method-not-allowed","status":405,"title":"this route does not accept that method","detail":null}
    "#);
    world.admin.audit_verify();
}

/// By this time the module distinguishes a fresh approval from one that was delayed in its socket.
#[test]
fn a_poll_says_for_how_long_it_was_held() {
    let world = World::new();
    let known = join(&world, "kbmfa_raw");
    let open = r#"{"phase":"account","service":"sshd","user":"alice","account":"known","rhost":null,"tty":null,
        "connection":{"id":"x","ssh":null},"first_factor":{"kind":"sshd"},
        "capabilities":{"text":false,"prompt":false},"module_version":"0"}"#;
    let call = |request: &str, body: &str| -> Value {
        let length = body.len();
        let answer = ask(
            &world,
            &format!("{request} HTTP/1.1\r\nKbmfa-Version: 1\r\n{known}\r\nContent-Length: {length}"),
            body,
        );
        let (_, body) = answer.split_once('\n').unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    };
    assert_eq!(call(&format!("PUT {LOGIN}"), open)["held_ms"], Value::Null);
    assert_eq!(call(&format!("GET {LOGIN}"), "")["held_ms"], 0);
    let held = call(&format!("GET {LOGIN}?wait=2"), "");
    assert_eq!(held["state"], "pending");
    assert!(held["held_ms"].as_u64().unwrap() >= 2000, "{held}");
    world.admin.approve(&world.admin.pending());
    let decided = call(&format!("GET {LOGIN}?wait=2"), "");
    assert_eq!((&decided["state"], &decided["held_ms"]), (&"approved".into(), &0.into()));
}

#[test]
fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let world = World::new();
    let known = join(&world, "kbmfa_raw");
    let put = format!("PUT {LOGIN} HTTP/1.1\r\nKbmfa-Version: 1\r\n{known}");
    // A login may send a key of 64 KiB, and 16 KiB of other data.
    let large = "x".repeat(90_000);
    let announced = ask(&world, &format!("{put}\r\nContent-Length: 90000"), &large);
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    let chunked = format!("15f90\r\n{large}\r\n0\r\n\r\n");
    let unannounced = ask(&world, &format!("{put}\r\nTransfer-Encoding: chunked"), &chunked);
    assert!(unannounced.starts_with("HTTP/1.1 413"), "{unannounced}");
}

#[test]
fn a_machine_that_asks_too_often_is_slowed_down_before_it_costs_anything() {
    let world = World::with(&[("server", "requests_per_machine", "1")]);
    let known = join(&world, "kbmfa_raw");
    let get = format!("GET {LOGIN} HTTP/1.1\r\nKbmfa-Version: 1\r\n{known}");
    let first = ask(&world, &get, "");
    assert!(first.starts_with("HTTP/1.1 404"), "{first}");
    // Ten may come at once, and one more each second.
    let is_slowed_down = |answer: String| answer.starts_with("HTTP/1.1 429");
    assert!((0..200).any(|_| is_slowed_down(ask(&world, &get, ""))), "none of 200 requests was too many");
}

#[test]
fn nothing_is_said_without_tls() {
    let world = World::new();
    let answer = send_plainly(world.server.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn the_operator_asks_on_a_listener_of_its_own() {
    let world = World::new();
    for (path, expected) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = world.server.status(path).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(expected), "{answer}");
    }
    let metrics = world.server.status("/metrics").unwrap();
    for name in
        ["kbmfa_logins_pending 0", "kbmfa_connections 0", "kbmfa_logins_told_total{state=\"approved\"} 0"]
    {
        assert!(metrics.contains(name), "{metrics}");
    }
    assert!(ask(&world, "GET /metrics HTTP/1.1", "").starts_with("HTTP/1.1 404"));
}
