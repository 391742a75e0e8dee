//! What can be made to go wrong.

use keybase_double::FaultKind;
use serde_json::{Value, json};

use crate::rig::{PATIENCE, Rig, channel};

#[test]
fn an_outage_is_silent_for_readers_unless_they_ask() {
    let (rig, _service) = Rig::logged_in();
    let (mut api, listener) = (rig.chat(), rig.listen(&[]));
    let id = api.send("before");
    rig.cloud.fault(FaultKind::Offline).unwrap();
    rig.cloud.react("alice", &rig.sudo, id, ":+1:").unwrap();
    let no_connection = "operation failed: no connection to chat server";
    assert_eq!(api.error("send", &json!({"channel": channel(), "message": {"body": "x"}})), no_connection);
    let mut get = json!({"conversation_id": rig.sudo, "message_ids": [id]});
    let stale = api.ok("get", &get);
    assert_eq!(
        (&stale["offline"], &stale["messages"][0]["msg"]["reactions"]),
        (&true.into(), &json!({"reactions": {}}))
    );
    get["fail_offline"] = true.into();
    assert_eq!(api.error("get", &get), no_connection);
    assert_eq!(rig.team().error("list-team-memberships", &json!({"team": "acme"})), no_connection);
    rig.cloud.clear_faults().unwrap();
    rig.cloud.post("alice", &rig.sudo, "back").unwrap();
    assert_eq!(listener.event()["content"]["text"]["body"], "back");
    assert!(api.get(id)["reactions"]["reactions"][":+1:"].is_object());
}

#[test]
fn a_lost_reply_leaves_the_deed_done() {
    let (rig, _service) = Rig::logged_in();
    rig.cloud.fault_times(FaultKind::ReplyDies, Some("send"), 1).unwrap();
    let mut dying = rig.chat();
    dying.begin("send", &json!({"channel": channel(), "message": {"body": "one"}}));
    assert_eq!(dying.line(), None);
    assert_eq!(dying.end(), Some(2));
    rig.cloud.fault_times(FaultKind::ReplyHangs, Some("send"), 1).unwrap();
    let mut hanging = rig.chat();
    hanging.begin("send", &json!({"channel": channel(), "message": {"body": "two"}}));
    rig.cloud.wait_message(&rig.sudo, "two", PATIENCE).unwrap();
    rig.cloud.fault_times(FaultKind::RequestDies, Some("send"), 1).unwrap();
    let mut lost = rig.chat();
    lost.begin("send", &json!({"channel": channel(), "message": {"body": "three"}}));
    assert_eq!((lost.line(), hanging.has_line()), (None, false));
    assert_eq!(rig.cloud.view(&rig.sudo).unwrap(), "sudobot: one\nsudobot: two\n");
}

#[test]
fn a_held_reply_comes_when_it_is_released() {
    let (rig, _service) = Rig::logged_in();
    rig.cloud.fault_times(FaultKind::ReplyHeld, Some("send"), 1).unwrap();
    let mut api = rig.chat();
    api.begin("send", &json!({"channel": channel(), "message": {"body": "slow"}}));
    rig.cloud.wait_held(PATIENCE).unwrap();
    assert_eq!(rig.cloud.view(&rig.sudo).unwrap(), "sudobot: slow\n");
    assert!(!api.has_line());
    rig.cloud.release().unwrap();
    assert!(api.line().unwrap().contains("message sent"));
}

#[test]
fn replies_can_be_wrong_in_many_ways() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    let mut strike = |kind| {
        rig.cloud.fault_times(kind, Some("list"), 1).unwrap();
        api.begin("list", &json!({}));
        api.line().unwrap()
    };
    assert!(serde_json::from_str::<Value>(&strike(FaultKind::ReplyGarbage)).is_err());
    let wrong: Value = serde_json::from_str(&strike(FaultKind::ReplyWrongId)).unwrap();
    assert_eq!(wrong["id"], 1002);
    assert!(strike(FaultKind::ReplyHuge).len() > 60_000);
    let limited: Value = serde_json::from_str(&strike(FaultKind::RateLimited)).unwrap();
    assert_eq!(limited["error"]["data"]["windowReset"], 30);
    assert!(strike(FaultKind::LoggedOut).contains("Login required"));
    rig.cloud.fault_error("list", "the moon is full").unwrap();
    assert_eq!(api.error("list", &json!({})), "the moon is full");
}

#[test]
fn a_service_can_crash_under_a_request() {
    let (rig, service) = Rig::logged_in();
    rig.cloud.fault_times(FaultKind::ServiceCrash, Some("send"), 1).unwrap();
    let mut api = rig.chat();
    assert_eq!(api.error("send", &json!({"channel": channel(), "message": {"body": "x"}})), "EOF");
    assert_eq!(service.wait(), Some(2));
    assert!(api.error("list", &json!({})).ends_with("connect: connection refused"));
    assert_eq!(rig.cloud.view(&rig.sudo).unwrap(), "");
}

#[test]
fn logins_can_hang_and_fail() {
    let (rig, _service) = Rig::logged_in();
    rig.cloud.log_out().unwrap();
    rig.cloud.fault_times(FaultKind::OneshotFails, None, 1).unwrap();
    let oneshot = || {
        let mut command = rig.keybase(&["oneshot", "-u", "sudobot"]);
        command
            .env("KEYBASE_PAPERKEY", &rig.bot.paper_key)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    assert_eq!(oneshot().wait().unwrap().code(), Some(2));
    rig.cloud.fault_times(FaultKind::OneshotHangs, None, 1).unwrap();
    let mut hanging = oneshot();
    assert!(rig.cloud.wait_logins(1, std::time::Duration::from_millis(100)).is_err());
    assert!(hanging.try_wait().unwrap().is_none());
    rig.cloud.release().unwrap();
    assert_eq!(hanging.wait().unwrap().code(), Some(2));
    assert_eq!(oneshot().wait().unwrap().code(), Some(0));
}

#[test]
fn events_can_be_damaged() {
    let (rig, _service) = Rig::logged_in();
    let listener = rig.listen(&[]);
    let post = |kind| {
        rig.cloud.fault_times(kind, Some("text"), 1).unwrap();
        rig.cloud.post("alice", &rig.sudo, "hello").unwrap();
    };
    post(FaultKind::ListenerGarbage);
    assert!(serde_json::from_str::<Value>(&listener.line()).is_err());
    listener.event();
    post(FaultKind::ListenerDuplicate);
    assert_eq!(listener.event()["id"], listener.event()["id"]);
    post(FaultKind::ListenerError);
    assert!(listener.line().contains("unable to get chat channel"));
    post(FaultKind::ListenerHuge);
    assert!(listener.line().len() > 60_000);
    post(FaultKind::ListenerDrop);
    rig.cloud.post("alice", &rig.sudo, "next").unwrap();
    assert_eq!(listener.event()["content"]["text"]["body"], "next");
    post(FaultKind::ListenerDies);
    assert_eq!(listener.end().0, Some(2));
    rig.cloud.wait_listeners(0, PATIENCE).unwrap();
}

#[test]
fn a_deaf_listener_lives_on() {
    let (rig, _service) = Rig::logged_in();
    let (deaf, hearing) = (rig.listen(&[]), rig.listen(&[]));
    rig.cloud.fault_times(FaultKind::ListenerDeaf, None, 1).unwrap();
    rig.cloud.post("alice", &rig.sudo, "one").unwrap();
    rig.cloud.post("alice", &rig.sudo, "two").unwrap();
    assert_eq!(hearing.event()["content"]["text"]["body"], "one");
    assert_eq!(hearing.event()["content"]["text"]["body"], "two");
    assert_eq!(rig.cloud.stats().unwrap().listeners, 2);
    drop(deaf);
}

#[test]
fn a_reaction_can_be_heard_before_the_reply_to_its_target() {
    let (rig, _service) = Rig::logged_in();
    let (mut api, listener) = (rig.chat(), rig.listen(&[]));
    rig.cloud.arm_reaction("alice", "which?", ":+1:").unwrap();
    let id = api.send("which?");
    let written = rig.cloud.trace().unwrap().into_iter().find(|line| line.kind == "reaction").unwrap();
    assert!(written.written_us.is_some(), "written before the reply came");
    assert_eq!(listener.event()["content"]["reaction"]["m"], id);
}
