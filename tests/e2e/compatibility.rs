//! An older module works with this server, and this module with an older server.
//!
//! `tests/recorded/` has the messages between the programs of the last release; `make record-wire` writes it
//! at each release. Here the current server gets the old requests byte for byte, and the current module gets
//! the old answers.

mod record;

use kbmfa_tests::message;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::recording::{self, Exchange, Repeater};
use kbmfa_tests::wire;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::mem::discriminant;

use crate::auth_token;
use record::STORIES;

/// Fields of which only the type must be equal: their values depend on the time or the server, or are
/// sentences.
const ONLY_OF_THE_SAME_TYPE: [&str; 7] =
    ["cas", "expires_in_ms", "held_ms", "poll_grace_s", "say", "server_time_us", "window_s"];

/// The current server's answer to a recorded request.
fn ask(world: &World, request: &str) -> String {
    let mut stream = wire::connect(&wire::tls(&world.server), world.server.port).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    String::from_utf8(message::read(&mut stream).unwrap()).unwrap()
}

/// The request with a token of this world in place of the recorded one.
fn with_token(request: &str, token: &str) -> String {
    let recorded = recording::body(request)["token"].as_str().unwrap().to_owned();
    assert_eq!(recorded.len(), token.len(), "a join token has another length: correct Content-Length here");
    request.replace(&recorded, token)
}

/// Makes the decision of the recording.
fn decide(world: &World, exchange: &Exchange) {
    let (Some(id), "GET /v1/logins/{id}") = (exchange.login(), exchange.route().as_str()) else { return };
    match exchange.answered()["state"].as_str().unwrap() {
        "approved" => world.admin.approve(id),
        "denied" => world.admin.deny(id),
        _ => {}
    }
}

/// Checks that the new answer has everything that the old one had. It may have more, because a client ignores
/// unknown fields.
fn assert_same(story: &str, exchange: &Exchange, new: &str) {
    let head = |answer: &str| {
        let lines = answer.lines().take_while(|line| !line.is_empty()).map(str::to_lowercase);
        let counts = |line: &String| {
            ["http/", "kbmfa-version:", "content-type:"].iter().any(|begin| line.starts_with(begin))
        };
        lines.filter(counts).collect::<BTreeSet<_>>()
    };
    let (old, route) = (&exchange.answer, exchange.route());
    assert_eq!(head(new), head(old), "{story}: {route}");
    let (old, new) = (exchange.answered(), recording::body(new));
    for (field, old) in old.as_object().unwrap() {
        let new = &new[field];
        let is_same = match old {
            Value::Null => new.is_null(),
            _ if ONLY_OF_THE_SAME_TYPE.contains(&field.as_str()) => discriminant(old) == discriminant(new),
            _ => old == new,
        };
        assert!(is_same, "{story}: {route}: {field} was {old} and is {new}");
    }
}

#[test]
fn the_requests_of_an_older_module_get_the_same_answers() {
    for (story, _) in STORIES {
        let world = if story == "token" { auth_token::world(auth_token::HERE) } else { World::new() };
        let token = world.admin.add_machine("web1");
        for exchange in recording::load(story) {
            decide(&world, &exchange);
            let is_join = exchange.route() == "POST /v1/machines/join";
            let request =
                if is_join { with_token(&exchange.request, &token) } else { exchange.request.clone() };
            assert_same(story, &exchange, &ask(&world, &request));
        }
        world.admin.audit_verify();
    }
}

#[test]
fn the_answers_of_an_older_server_decide_over_logins_as_they_did() {
    for (story, phase) in [("account", Phase::Account), ("auth", Phase::Auth), ("session", Phase::Session)] {
        let world = World::new();
        let machine = world.machine().phase(phase).start();
        world.server.stop();
        let exchanges: Vec<_> =
            recording::load(story).into_iter().filter(|exchange| exchange.login().is_some()).collect();
        let decided = exchanges.iter().filter(|exchange| exchange.route().starts_with("GET"));
        let states: Vec<_> = decided.map(|exchange| exchange.answered()["state"].clone()).collect();
        assert_eq!(states, ["approved", "denied"], "{story}");
        let repeater = Repeater::in_place_of(&world, exchanges);
        let finished = machine.ssh("alice", &["echo", "in"]).wait();
        assert_eq!((finished.code, finished.stdout.as_str()), (0, "in\n"), "{story}: {}", finished.stderr);
        let finished = machine.ssh("alice", &["echo", "in"]).wait();
        assert_ne!((finished.code, finished.stdout.as_str()), (0, "in\n"), "{story}");
        assert!(machine.syslog.lines_with("denied").len() == 1, "{story}");
        assert_eq!(repeater.left(), [""; 0], "{story}");
        machine.assert_nothing_left();
    }
}

/// Routes for employees' computers. Their requests cannot be played again: each signature is for one nonce.
const OF_EMPLOYEES: [&str; 2] = [" /v1/enrolments", " /v1/me"];

#[test]
fn every_route_of_a_machine_is_in_the_recording() {
    let page = include_str!("../../docs/protocol.md");
    let routes = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '?']).next());
    let is_of_machines =
        |route: &&str| route.contains(" /v1/") && !OF_EMPLOYEES.iter().any(|path| route.contains(path));
    let routes: BTreeSet<_> = routes.filter(is_of_machines).map(str::to_owned).collect();
    let recorded = STORIES.iter().flat_map(|(story, _)| recording::load(story));
    assert_eq!(recorded.map(|exchange| exchange.route()).collect::<BTreeSet<_>>(), routes);
}
