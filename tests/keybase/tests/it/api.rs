//! Tests of `chat api`: its stream, its methods, its peculiarities.

use serde_json::{Value, json};

use crate::programs::Api;
use crate::rig::{Rig, channel, text};

#[test]
fn a_message_is_sent_edited_reacted_to_and_deleted() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let id = api.send("first <draft>");
    rig.cloud.react("alice", &rig.sudo, id, ":+1:").unwrap();
    let edited =
        api.ok("edit", &json!({"channel": channel(), "message_id": id, "message": {"body": "second"}}));
    assert_eq!(edited["message"], "message edited");
    let message = api.get(id);
    assert_eq!(message["content"]["text"]["body"], "second");
    assert_eq!(message["sender"]["username"], "sudobot");
    assert_eq!(message["conversation_id"], rig.sudo);
    assert!(message["reactions"]["reactions"][":+1:"]["users"]["alice"]["reactionMsgID"].is_u64());
    assert_eq!(rig.cloud.view("acme#sudo").unwrap(), "sudobot (edited): second\n  [:+1: alice]\n");
    api.ok("delete", &json!({"conversation_id": rig.sudo, "message_id": id}));
    assert_eq!(rig.cloud.view("acme#sudo").unwrap(), "sudobot: (deleted)\n");
    let text = api.error("edit", &json!({"channel": channel(), "message_id": id, "message": {"body": "x"}}));
    assert_eq!(text, "getMessage: message not found");
    assert_eq!(api.end(), Some(0));
}

#[test]
fn a_repeated_reaction_takes_the_first_away_and_says_the_same() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let id = api.send("which?");
    let options = json!({"channel": channel(), "message_id": id, "message": {"body": ":+1:"}});
    for count in [1, 0, 1] {
        assert_eq!(api.ok("reaction", &options)["message"], "message reacted to");
        assert_eq!(rig.cloud.messages(&rig.sudo).unwrap()[0].reactions.len(), count);
    }
}

#[test]
fn a_request_inherits_omitted_fields() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    api.send("a");
    api.write(r#"{"method":"send"}"#);
    assert!(
        api.line()
            .unwrap()
            .starts_with(r#"{"jsonrpc":"2.0","id":1,"result":{"message":"message sent","id":3"#)
    );
    assert_eq!(rig.cloud.view(&rig.sudo).unwrap(), "sudobot: a\nsudobot: a\n");
}

#[test]
fn malformed_input_ends_the_process_with_success() {
    let (rig, _service) = Rig::logged_in();
    let mut broken = rig.chat();
    broken.write(r#"{"id": 3, "method": }"#);
    assert!(broken.line().unwrap().contains("error"));
    assert_eq!((broken.line(), broken.end()), (None, Some(0)));
    let mut wrong = rig.chat();
    wrong.write(r#"{"id":"7","method":"list"}"#);
    assert!(
        wrong.line().unwrap().contains("cannot unmarshal string into Go struct field Call.ID of type int")
    );
    assert_eq!(wrong.end(), Some(0));
}

#[test]
fn errors_of_a_method_do_not_end_the_stream() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let nowhere = json!({"name": "acme", "members_type": "team", "topic_name": "nowhere"});
    for (method, options, expected) in [
        ("setunreadlock", json!({}), "invalid v1 method \"setunreadlock\""),
        ("read", json!({}), "invalid read v1 options: need channel or conversation_id"),
        (
            "read",
            json!({"channel": channel(), "conversation_id": rig.sudo}),
            "invalid read v1 options: include channel or conversation_id, not both",
        ),
        (
            "send",
            json!({"channel": channel(), "message": {"body": ""}}),
            "invalid send v1 options: invalid message, body cannot be empty",
        ),
        (
            "edit",
            json!({"channel": channel(), "message": {"body": "x"}}),
            "invalid edit v1 options: invalid message id '0'",
        ),
        ("read", json!({"channel": nowhere}), "no conversations matched \"acme\""),
        ("read", json!({"conversation_id": "00ff"}), "no conversations matched \"00ff\""),
        (
            "read",
            json!({"channel": {"name": "other", "members_type": "team"}}),
            "Team \"other\" does not exist",
        ),
        ("delete", json!({"channel": channel(), "message_id": 99}), "getMessage: message not found"),
    ] {
        assert_eq!(api.error(method, &options), expected);
    }
    assert_eq!(
        api.error("send", &json!({"channel": channel(), "message": {"body": "x".repeat(10_001)}})),
        "message of size 10001 bytes exceeds the maximum length of 10000 bytes"
    );
    api.send("still here");
}

#[test]
fn commands_are_not_posted_and_payments_are_declined() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    assert_eq!(api.send("/memory low"), 0);
    let pay = json!({"channel": channel(), "message": {"body": "+5USD@alice"}});
    assert_eq!(api.error("send", &pay), "Payment message declined");
    api.send("`+5USD@alice`");
    assert_eq!(rig.cloud.view(&rig.sudo).unwrap(), "sudobot: `+5USD@alice`\n");
}

#[test]
fn sending_to_a_channel_that_is_not_there_makes_it() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let typo = json!({"name": "acme", "members_type": "team", "topic_name": "sodu"});
    api.ok("send", &json!({"channel": typo, "message": {"body": "hello"}}));
    assert_eq!(rig.cloud.view("acme#sodu").unwrap(), "sudobot: hello\n");
    assert!(rig.cloud.complaints().unwrap()[0].contains("which did not exist"));
}

#[test]
fn pages_go_back_to_the_first_message() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let sent: Vec<u64> = (0..5).map(|n| api.send(&format!("m{n}"))).collect();
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = json!({"num": 2, "next": next});
        let read = api.ok("read", &json!({"channel": channel(), "peek": true, "pagination": page}));
        seen.extend(
            read["messages"].as_array().unwrap().iter().map(|found| found["msg"]["id"].as_u64().unwrap()),
        );
        read["pagination"]["next"].as_str().unwrap().clone_into(&mut next);
        if read["pagination"]["last"] == true {
            break;
        }
    }
    seen.reverse();
    assert_eq!(seen, sent);
}

#[test]
fn output_is_escaped_for_html_and_indented_on_demand() {
    let (rig, _service) = Rig::logged_in();
    rig.cloud.post("alice", &rig.sudo, "a < b & \u{2028}").unwrap();
    let request = json!({"method": "read", "params": {"options": {"channel": channel()}}}).to_string();
    let api = Api::spawn(&mut rig.keybase(&["chat", "api", "-p", "-m", &request]));
    let lines: Vec<String> = std::iter::from_fn(|| api.line()).collect();
    assert!(
        lines.iter().any(|line| line.contains("\"body\": \"a \\u003c b \\u0026 \\u2028\"")),
        "{lines:#?}"
    );
    assert!(lines[1].starts_with("    \"result\": {"));
}

#[test]
fn conversations_and_their_members_are_listed() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let names = |list: &Value| -> Vec<String> {
        let all = list["conversations"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<_> = all.iter().map(|found| found["channel"]["topic_name"].to_string()).collect();
        names.sort();
        names
    };
    rig.cloud.leave_channel("sudobot", "acme#sudo").unwrap();
    assert_eq!(names(&api.ok("list", &json!({}))), ["\"general\""]);
    let all = json!({"name": "acme", "members_type": "team", "topic_type": "chat"});
    assert_eq!(names(&api.ok("listconvsonname", &all)), ["\"general\"", "\"sudo\""]);
    api.send("sending joins");
    let members = api.ok("listmembers", &json!({"conversation_id": rig.sudo}));
    assert_eq!(members["owners"][0]["username"], "alice");
    assert_eq!(members["readers"][0]["username"], "bob");
    assert_eq!(members["bots"][0]["username"], "sudobot");
    assert_eq!(members["admins"], json!([]));
}

#[test]
fn only_authors_edit_and_only_authors_and_admins_delete() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let by_alice = rig.cloud.post("alice", &rig.sudo, "mine").unwrap();
    let edit = json!({"channel": channel(), "message_id": by_alice, "message": {"body": "x"}});
    assert!(api.error("edit", &edit).starts_with("error from chat server"));
    assert!(
        api.error("delete", &json!({"channel": channel(), "message_id": by_alice}))
            .starts_with("error from chat server")
    );
    let by_bot = api.send("asked");
    assert!(rig.cloud.delete("bob", &rig.sudo, by_bot).is_err());
    rig.cloud.delete("alice", &rig.sudo, by_bot).unwrap();
    rig.cloud.wait_gone(&rig.sudo, by_bot, crate::rig::PATIENCE).unwrap();
}

#[test]
fn a_quick_reaction_goes_to_the_latest_message() {
    let (rig, _service) = Rig::logged_in();
    let id = rig.chat().send("which?");
    rig.cloud.post("alice", &rig.sudo, "+:+1:").unwrap();
    let reaction = &rig.cloud.messages(&rig.sudo).unwrap()[0].reactions[0];
    assert_eq!((reaction.user.as_str(), reaction.reaction.as_str()), ("alice", ":+1:"));
    rig.cloud.wait_reaction(&rig.sudo, id, ":+1:", crate::rig::PATIENCE).unwrap();
}

#[test]
fn a_removed_member_and_a_renamed_channel() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    rig.cloud.rename_channel("acme#sudo", "doas").unwrap();
    assert_eq!(api.error("read", &json!({"channel": channel()})), "no conversations matched \"acme\"");
    let read = api.ok("read", &json!({"conversation_id": rig.sudo}));
    assert_eq!(read["messages"][0]["msg"]["channel"]["topic_name"], "doas");
    rig.cloud.remove_member("acme", "sudobot").unwrap();
    let gone = "GetConvTriple called with unknown ConversationID";
    assert_eq!(api.error("read", &json!({"conversation_id": rig.sudo})), gone);
    assert!(api.error("read", &json!({"channel": channel()})).ends_with("(error 2623)"));
}

#[test]
fn private_conversations_need_no_team() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let pair = json!({"name": "sudobot,alice"});
    assert_eq!(api.error("read", &json!({"channel": pair})), "no conversations matched \"sudobot,alice\"");
    let id = api.ok("newconv", &json!({"channel": pair}))["id"].clone();
    assert_eq!(rig.cloud.conversation("alice,sudobot").unwrap(), id);
    rig.cloud.post("alice", "alice,sudobot", "psst").unwrap();
    let read = api.ok("read", &json!({"conversation_id": id}));
    assert_eq!(read["messages"][0]["msg"]["channel"]["members_type"], "impteamnative");
    let theirs = json!({"channel": {"name": "alice,bob"}});
    assert!(api.error("read", &theirs).starts_with("user is not in conversation"));
}

#[test]
fn arguments_are_checked() {
    let (rig, _service) = Rig::logged_in();
    let both = rig.run(&["chat", "api", "-m", "{}", "-i", "x"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(text(&both.stderr).ends_with("specify -m or -i, but not both\n"));
    assert_eq!(rig.run(&["chat", "api", "more"]).status.code(), Some(2));
}

#[test]
fn channels_are_left_and_joined_and_messages_marked() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let sudo = json!({"conversation_id": rig.sudo});
    let unread = |api: &mut Api| api.ok("list", &json!({"unread_only": true}))["conversations"].clone();
    let id = rig.cloud.post("alice", &rig.sudo, "news").unwrap();
    assert_eq!(unread(&mut api)[0]["id"], rig.sudo);
    api.ok("mark", &json!({"conversation_id": rig.sudo, "message_id": id}));
    api.ok("mark", &json!({"channel": {"name": "acme", "members_type": "team"}}));
    assert_eq!(unread(&mut api), Value::Null);
    api.ok("leave", &sudo);
    let all =
        api.ok("listconvsonname", &json!({"name": "acme", "members_type": "team"}))["conversations"].clone();
    let left = all.as_array().unwrap().iter().find(|found| found["member_status"] == "left").unwrap();
    assert_eq!(left["id"], rig.sudo);
    api.ok("join", &sudo);
    assert_eq!(api.ok("list", &json!({}))["conversations"].as_array().unwrap().len(), 2);
}

#[test]
fn requests_and_replies_in_files() {
    let (rig, _service) = Rig::logged_in();
    let (input, output) = (rig.home().join("in"), rig.home().join("out"));
    std::fs::write(&input, r#"{"method":"list"} {"method":"none"}"#).unwrap();
    let files = ["chat", "api", "-i", input.to_str().unwrap(), "-outfile", output.to_str().unwrap()];
    assert_eq!(rig.run(&files).status.code(), Some(0));
    let replies = std::fs::read_to_string(output).unwrap();
    assert_eq!(replies.lines().count(), 2, "{replies}");
}
