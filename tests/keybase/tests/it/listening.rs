//! Tests of `chat api-listen`: which events arrive, which do not, and how it ends.

use serde_json::{Value, json};

use crate::rig::{PATIENCE, Rig, text};

#[test]
fn events_name_what_happened() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let listener = rig.listen(&[]);
    let asked = api.send("asked"); // no event: it is this service's own message
    let said = rig.cloud.post("alice", &rig.sudo, "ok @sudobot").unwrap();
    let event = listener.event();
    assert_eq!((&event["id"], &event["content"]["text"]["body"]), (&json!(said), &json!("ok @sudobot")));
    assert_eq!((&event["prev"], &event["unread"]), (&Value::Null, &json!(false)));
    assert_eq!(
        (&event["reactions"], &event["at_mention_usernames"]),
        (&json!({"reactions": {}}), &json!(["sudobot"]))
    );

    let reaction = rig.cloud.react("bob", &rig.sudo, asked, ":+1:").unwrap();
    assert_eq!(listener.event()["content"]["reaction"]["m"], asked);
    rig.cloud.unreact("bob", &rig.sudo, asked, ":+1:").unwrap();
    let removal = listener.event();
    assert_eq!(removal["content"], json!({"type": "delete", "delete": {"messageIDs": [reaction]}}));
    assert_eq!(removal["sender"]["username"], "bob");

    let edit = rig.cloud.edit("alice", &rig.sudo, said, "no").unwrap();
    assert_eq!(listener.event()["content"]["edit"]["body"], "no");
    let reaction = rig.cloud.react("bob", &rig.sudo, said, "x").unwrap();
    listener.event();
    rig.cloud.delete("alice", &rig.sudo, said).unwrap();
    assert_eq!(listener.event()["content"]["delete"]["messageIDs"], json!([said, reaction, edit]));
}

#[test]
fn filters_are_resolved_once() {
    let (rig, _service) = Rig::logged_in();
    let filter = json!({"name": "acme", "members_type": "team", "topic_name": "sudo"}).to_string();
    let listener = rig.listen(&["--filter-channel", &filter]);
    assert!(listener.head.starts_with("Message filtering is active with 1 filters\nfilter 0: 0000"));
    rig.cloud.post("alice", "acme", "elsewhere").unwrap();
    rig.cloud.rename_channel("acme#sudo", "doas").unwrap();
    assert_eq!(listener.event()["content"]["type"], "metadata");
    rig.cloud.post("alice", "acme#doas", "here").unwrap();
    assert_eq!(listener.event()["content"]["text"]["body"], "here");
    let nowhere = json!({"name": "acme", "members_type": "team", "topic_name": "no"}).to_string();
    let refused = rig.run(&["chat", "api-listen", "--filter-channel", &nowhere]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).ends_with("no conversations matched \"acme\"\n"));
}

#[test]
fn own_messages_are_heard_on_demand() {
    let (rig, _service) = Rig::logged_in();
    let listener = rig.listen(&["-local"]);
    rig.chat().send("own");
    let line: Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!((&line["source"], &line["msg"]["content"]["text"]["body"]), (&json!("local"), &json!("own")));
    rig.cloud.post("alice", &rig.sudo, "theirs").unwrap();
    let line: Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!(line["source"], "remote");
}

#[test]
fn new_conversations_are_heard_on_demand() {
    let (rig, _service) = Rig::logged_in();
    let listener = rig.listen(&["--convs"]);
    let id = rig.cloud.add_private("alice,sudobot").unwrap();
    let line: Value = serde_json::from_str(&listener.line()).unwrap();
    assert_eq!((&line["type"], &line["conv"]["id"]), (&json!("chat_conv"), &json!(id)));
}

#[test]
fn nothing_is_replayed_after_a_restart_of_the_service() {
    let (rig, service) = Rig::logged_in();
    let listener = rig.listen(&[]);
    drop(service);
    let (code, rest) = listener.end();
    assert_eq!(code, Some(2));
    assert!(rest.contains("connection to service lost: error during ping: "), "{rest}");
    rig.cloud.post("alice", &rig.sudo, "missed").unwrap();
    let _service = rig.service();
    let listener = rig.listen(&[]);
    rig.cloud.post("alice", &rig.sudo, "heard").unwrap();
    assert_eq!(listener.event()["content"]["text"]["body"], "heard");
}

#[test]
fn a_restricted_bot_hears_only_what_is_meant_for_it() {
    let (rig, _service) = Rig::logged_in();
    rig.cloud.set_member("acme", "sudobot", keybase_double::Role::RestrictedBot).unwrap();
    let listener = rig.listen(&[]);
    rig.cloud.post("alice", &rig.sudo, "between us").unwrap();
    rig.cloud.post("alice", &rig.sudo, "@sudobot hello").unwrap();
    let event = listener.event();
    assert_eq!(
        (&event["content"]["text"]["body"], &event["channel"]["name"]),
        (&json!("@sudobot hello"), &json!(""))
    );
}

#[test]
fn each_line_is_traced_when_it_was_written() {
    let (rig, _service) = Rig::logged_in();
    let listener = rig.listen(&[]);
    let id = rig.cloud.post("alice", &rig.sudo, "x").unwrap();
    listener.event();
    rig.cloud.wait_written(&rig.sudo, id, PATIENCE).unwrap();
    let line = rig.cloud.trace().unwrap().into_iter().find(|line| line.message == id && line.kind == "text");
    let line = line.unwrap();
    assert!(line.written_us.unwrap() >= line.posted_us);
    drop(listener);
}

#[test]
fn a_long_line_is_whole() {
    let (rig, _service) = Rig::logged_in();
    let listener = rig.listen(&[]);
    rig.cloud.post("alice", &rig.sudo, &"<".repeat(10_000)).unwrap();
    let line = listener.line();
    assert!(line.len() > 60_000 && line.contains("\\u003c\\u003c"));
}

#[test]
fn exploding_messages_can_be_hidden() {
    let (rig, _service) = Rig::logged_in();
    let listener = rig.listen(&["--local", "--hide-exploding"]);
    let mut api = rig.chat();
    let exploding =
        json!({"conversation_id": rig.sudo, "message": {"body": "boom"}, "exploding_lifetime": "1h"});
    let id = api.ok("send", &exploding)["id"].as_u64().unwrap();
    api.send("lasting");
    assert_eq!(listener.event()["content"]["text"]["body"], "lasting");
    assert_eq!(api.get(id)["is_ephemeral"], true);
    rig.cloud.explode(&rig.sudo).unwrap();
    let exploded = api.get(id);
    assert_eq!(
        (&exploded["is_ephemeral_expired"], &exploded["content"]),
        (&json!(true), &json!({"type": "none"}))
    );
    assert_eq!(rig.cloud.view(&rig.sudo).unwrap(), "sudobot: (exploded)\nsudobot: lasting\n");
}
