//! Tests that today's types can read every recorded message of the last release (`tests/recorded`).

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs;
use std::path::Path;

use crate::login::{Capabilities, LoginReply, OpenLogin};
use crate::machine::{Authorities, Join, Machine, Trust};
use crate::session::{Reports, SessionReport, Taken};

fn body<T: DeserializeOwned>(message: &str) -> Result<(), String> {
    let (_, body) = message.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<T>(body).map(drop).map_err(|error| format!("{error}: {body}"))
}

fn read(request: &str, answer: &str) -> Result<(), String> {
    let mut words = request.split([' ', '?']);
    match (words.next().unwrap(), words.next().unwrap()) {
        ("POST", "/v1/machines/join") => body::<Join>(request).and(body::<Machine>(answer)),
        ("GET", "/v1/machines/self") => body::<Machine>(answer),
        ("POST", "/v1/machines/self/trust") => body::<Trust>(request).and(body::<Authorities>(answer)),
        ("POST", "/v1/sessions") => body::<SessionReport>(request).and(body::<Taken>(answer)),
        ("POST", "/v1/reports") => body::<Reports<SessionReport>>(request).and(body::<Taken>(answer)),
        ("PUT", _) => body::<OpenLogin>(request).and(body::<LoginReply>(answer)),
        ("GET" | "DELETE", _) => body::<LoginReply>(answer),
        (method, path) => Err(format!("no such route: {method} {path}")),
    }
}

#[test]
fn every_request_and_every_answer_of_the_last_release_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recorded");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let exchanges: Vec<Value> = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        for exchange in exchanges {
            let part = |name| exchange[name].as_str().unwrap();
            assert_eq!(read(part("request"), part("answer")), Ok(()), "{}", file.display());
            count += 1;
        }
    }
    assert!(count > 20, "this test has lost sight of the recording: {count}");
}

#[test]
fn a_request_without_what_no_server_reads_is_taken() {
    let open = r#"{"phase":"account","service":"sshd","user":"alice","account":"known","rhost":null,"tty":null,
        "connection":{"id":"x","ssh":null},"first_factor":{"kind":"sshd"},"module_version":"0"}"#;
    assert_eq!(serde_json::from_str::<OpenLogin>(open).unwrap().capabilities, Capabilities::default());
    let report = r#"{"id":"00112233445566778899aabbccddeeff","event":"closed","service":"sshd","user":"alice",
        "rhost":null,"tty":null,"connection":{"id":"x","ssh":null},"at_us":0}"#;
    assert!(serde_json::from_str::<SessionReport>(report).is_ok());
}
