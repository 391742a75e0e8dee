//! Answers of a server with the right certificate. Each would be an approval without its one fault.

use kbmfa_tests::impostor::{Act, Babbler};
use kbmfa_tests::message::{self, answer, answer_with, login, problem};
use std::time::Duration;

use super::{AT_ONCE, TWICE, part_is_refused, without_server};

/// Checks that a login with this answer is refused with this log line. Returns the number of requests.
fn answer_is_refused(answer: String, log: &str) -> usize {
    part_is_refused(&[Act::Hear, Act::Say(answer)], log, AT_ONCE)
}

/// Without this test the others would prove nothing.
#[test]
fn the_same_answer_without_a_fault_lets_in() {
    let (world, machine) = without_server();
    let _babbler = Babbler::in_place_of(&world, &answer("200 OK", &login("approved")));
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "in\n");
    machine.assert_nothing_left();
}

#[test]
fn an_approval_under_a_redirect_is_refused_and_the_redirect_not_followed() {
    let approved = login("approved");
    let heard = answer_is_refused(
        answer_with("307 Temporary Redirect", "Location: /v1/elsewhere\r\n", &approved),
        "not a kbmfa answer: HTTP status 307",
    );
    // Every request gets the same answer. The module tries to cancel once, and that is lost if it goes to the
    // connection that this server closes at the same time.
    assert!(heard <= 2, "the opening, the cancellation, and nothing else: {heard}");
}

#[test]
fn an_approval_that_is_larger_than_any_answer_is_refused() {
    let padding = " ".repeat(64 * 1024);
    answer_is_refused(answer("200 OK", &(login("approved") + &padding)), "not a kbmfa answer");
}

#[test]
fn a_body_without_an_end_is_cut_off() {
    let head = "HTTP/1.1 200 OK\r\nKbmfa-Version: 1\r\nContent-Length: 100000000000\r\n\r\n";
    let body = login("approved") + &" ".repeat(1024 * 1024);
    answer_is_refused(format!("{head}{body}"), "not a kbmfa answer");
}

#[test]
fn a_head_without_an_end_is_cut_off() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1024 * 1024));
    answer_is_refused(head, "not a kbmfa answer");
}

#[test]
fn an_approval_that_is_not_json_is_refused() {
    let half = login("approved").trim_end_matches('}').to_owned();
    answer_is_refused(answer("200 OK", &half), "not a kbmfa answer: EOF while parsing");
}

#[test]
fn an_approval_that_is_cut_off_is_refused() {
    let whole = answer("200 OK", &login("approved"));
    let log = "refused, no decision (connection lost";
    part_is_refused(&[Act::Hear, Act::Say(whole.trim_end_matches('}').to_owned())], log, AT_ONCE);
}

#[test]
fn an_unknown_state_is_refused() {
    answer_is_refused(answer("200 OK", &login("granted")), "a state that does not belong here");
}

#[test]
fn an_approval_of_another_login_is_refused() {
    let another = login("approved").replace(message::LOGIN, "00112233445566778899aabbccddeeff");
    answer_is_refused(answer("200 OK", &another), "the server answered about another login");
}

#[test]
fn unauthorized_is_refused() {
    answer_is_refused(problem("401 Unauthorized", "unauthorized"), "(unauthorized)");
}

#[test]
fn too_many_requests_is_refused() {
    answer_is_refused(problem("429 Too Many Requests", "too-many-requests"), "(too-many-requests)");
}

#[test]
fn an_internal_error_is_refused() {
    answer_is_refused(problem("500 Internal Server Error", "internal"), "(internal)");
}

#[test]
fn an_approval_with_the_status_of_an_error_is_refused() {
    for status in ["401 Unauthorized", "429 Too Many Requests", "500 Internal Server Error"] {
        let log = format!("not a kbmfa answer: HTTP status {}", &status[..3]);
        answer_is_refused(answer(status, &login("approved")), &log);
    }
}

#[test]
fn an_answer_that_drips_in_is_not_waited_for() {
    let drops = Duration::from_millis(100);
    let approved = answer("200 OK", &login("approved"));
    part_is_refused(&[Act::Hear, Act::Drip(approved, drops)], "no decision (no answer in time)", TWICE);
}
