//! Tests of the cloud's complaints about its clients.

use serde_json::json;

use crate::rig::{Rig, channel};

/// The complaint about sending a message with this body, if there is one.
fn complaint_about(rig: &Rig, body: &str) -> Option<String> {
    let before = rig.cloud.complaints().unwrap().len();
    rig.chat().request("send", &json!({"channel": channel(), "message": {"body": body}}));
    let mut complaints = rig.cloud.complaints().unwrap().split_off(before);
    assert!(complaints.len() < 2, "{complaints:?}");
    complaints.pop()
}

#[test]
fn a_careful_client_gives_no_reason_to_complain() {
    let (rig, _service) = Rig::logged_in();
    let _listener = rig.listen(&[]);
    assert_eq!(complaint_about(&rig, "`@alice` asks"), None);
    rig.chat().ok("read", &json!({"conversation_id": rig.sudo, "fail_offline": true}));
    rig.team().ok("list-team-memberships", &json!({"team": "acme"}));
    assert_eq!(rig.cloud.complaints().unwrap(), Vec::<String>::new());
}

#[test]
fn texts_that_do_more_than_be_read() {
    let (rig, _service) = Rig::logged_in();
    for (body, expected) in [
        ("/me waves", "a text ran as the command /me"),
        ("hello @alice", "a text notifies alice"),
        ("> @here", "a text notifies here"),
        ("+5USD@alice", "a text looks like a payment to alice"),
        ("+:+1:", "a text becomes a reaction"),
        (&"x".repeat(10_001), "a text of 10001 bytes is over the limit"),
    ] {
        let complaint = complaint_about(&rig, body).unwrap_or_default();
        assert!(complaint.starts_with(expected), "{body}: {complaint}");
    }
}

#[test]
fn two_services_with_one_paper_key() {
    let (rig, _service) = Rig::logged_in();
    let mut second = rig.bare();
    let home = rig.home().join("second");
    second
        .arg("--home")
        .arg(home)
        .args(["oneshot", "-u", "sudobot"])
        .env("KEYBASE_PAPERKEY", &rig.bot.paper_key);
    assert!(second.status().unwrap().success());
    assert!(
        rig.cloud
            .complaints()
            .unwrap()
            .contains(&"two services are logged in with one paper key of sudobot".into())
    );
}

#[test]
fn careless_calls() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    api.write(r#"{"id":5,"method":"list"}{"jsonrpc":"2.0","id":4,"method":"list","params":{"version":1,"options":{"chanel":1}}}"#);
    api.line();
    api.line();
    rig.bare().args(["-home", rig.home().to_str().unwrap(), "whoami"]).output().unwrap();
    rig.run(&["oneshot", "-u", "sudobot", "--paperkey", &rig.bot.paper_key]);
    rig.run(&["chat", "api", "-m", "{}"]);
    let plain = json!({"name": "acme", "topic_name": "sudo"});
    rig.chat().error("read", &json!({"channel": plain}));
    let complaints = rig.cloud.complaints().unwrap().join("\n");
    for expected in [
        "\"list\" came without jsonrpc, params",
        "\"list\" has the id 4 after 5",
        "list was given an unknown option \"chanel\"",
        "whoami was started without --no-auto-fork",
        "a paper key stood in the arguments of oneshot",
        "chat api was given its request with -m",
        "was named without members_type \"team\"",
    ] {
        assert!(complaints.contains(expected), "{expected}: {complaints}");
    }
}
