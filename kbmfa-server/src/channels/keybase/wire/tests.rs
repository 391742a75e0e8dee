//! Parses lines that the client prints, and malformed lines.

use proptest::prelude::*;
use std::fs;
use std::path::Path;

use super::*;

/// The fuzzer's corpus. The tests parse each of its files, too.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/keybase_lines");

fn corpus() -> Vec<String> {
    let files = fs::read_dir(Path::new(CORPUS)).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect()
}

fn line(name: &str) -> String {
    fs::read_to_string(Path::new(CORPUS).join(name)).unwrap()
}

#[test]
fn each_line_of_the_listener_becomes_one_event() {
    let conversation = "0000aa".to_owned();
    let reaction = Event::Reaction { conversation: conversation.clone(), target: 2, by: "b0b0".into() };
    assert_eq!(event(&line("event-reaction")), reaction);
    assert_eq!(event(&line("event-removal")), Event::Deletion { conversation: conversation.clone() });
    let text = Event::Text { conversation, message: 3, by: "b0b0".into() };
    assert_eq!(event(&line("event-text")), text);
    assert_eq!(event(r#"{"type":"chat_conv","conv":{}}"#), Event::Other);
    for unclear in ["", "{", "nonsense", r#"{"type":"chat","source":"remote","error":"cannot unbox"}"#] {
        assert_eq!(event(unclear), Event::Unclear, "{unclear:?}");
    }
}

#[test]
fn a_request_has_every_field_of_the_envelope() {
    insta::assert_snapshot!(request(7, "get", &json!({ "message_ids": [2] })), @r#"{"id":7,"jsonrpc":"2.0","method":"get","params":{"options":{"message_ids":[2]},"version":1}}"#);
}

#[test]
fn a_reply_to_another_request_is_an_error() {
    assert!(reply(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, 7).is_ok());
    for broken in [
        r#"{"jsonrpc":"2.0","id":8,"result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":8,"error":{"code":0,"message":"x"}}"#,
        r#"{"id":7}"#,
        "",
        "[]",
    ] {
        assert!(matches!(reply(broken, 7), Err(Error::Broken(_))), "{broken}");
    }
    let refused =
        r#"{"id":7,"error":{"code":0,"message":"slow down","data":{"name":"chat","windowReset":30}}}"#;
    let pause = Some(Duration::from_secs(30));
    assert_eq!(reply(refused, 7), Err(Error::Refused { message: "slow down".into(), pause }));
}

#[test]
fn a_message_has_its_text_and_its_reactions_with_their_users() {
    let value = reply(&line("reply-get"), 7).unwrap();
    let messages = serde_json::from_value::<Messages>(value).unwrap().readable();
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(message.body(), Some("Login"));
    let reactions: Vec<_> = message.reactions().collect();
    assert_eq!(reactions, [(":+1:", "bob"), ("Approve", "alice"), ("Approve", "sshbot")]);
}

#[test]
fn a_team_member_has_the_role_of_its_list_and_an_account_without_keys_is_no_person() {
    let value = reply(&line("reply-team"), 7).unwrap();
    let listed: MemberList = serde_json::from_value(value).unwrap();
    assert!(!listed.is_open());
    let rows = listed.members().into_iter().map(|member| format!("{} {:?}", member.name, member.kind));
    insta::assert_snapshot!(rows.collect::<Vec<_>>().join("\n"), @r"
    alice Person(Owner)
    bob Person(Writer)
    dave Keyless
    erin Keyless
    carol Person(Reader)
    sshbot Bot
    ");
}

#[test]
fn no_line_of_the_corpus_panics() {
    assert!(corpus().len() >= 6);
    for line in corpus() {
        parse_all(&line);
    }
}

proptest! {
    #[test]
    fn no_mutated_line_panics(seed in prop::sample::select(corpus()), at in 0..4096_usize, with in "\\PC{0,6}", cut in 0..8_usize) {
        let at = (0..=at.min(seed.len())).rev().find(|at| seed.is_char_boundary(*at)).unwrap();
        let (before, after) = seed.split_at(at);
        let rest: String = after.chars().skip(cut).collect();
        parse_all(&format!("{before}{with}{rest}"));
    }
}
