//! Tests of the faults that tests can order.

use keybase_double::FaultKind;
use serde_json::{Value, json};
use std::time::Duration;

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
    assert!(rig.cloud.wait_logins(1, Duration::from_millis(100)).is_err());
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

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_request_or_its_reply_can_be_slow_and_what_is_slow_can_be_let_go() {
    let (rig, _service) = Rig::logged_in();
    let mut api = rig.chat();
    for (count, kind, is_done) in [(1, FaultKind::RequestSlow, false), (2, FaultKind::ReplySlow, true)] {
        rig.cloud.slow_times(kind, Some("send"), 1, HOUR).unwrap();
        api.begin("send", &json!({"channel": channel(), "message": {"body": format!("{kind:?}")}}));
        rig.cloud.wait_requests("send", count, PATIENCE).unwrap();
        if is_done {
            rig.cloud.wait_message(&rig.sudo, &format!("{kind:?}"), PATIENCE).unwrap();
        }
        assert_eq!(rig.cloud.view(&rig.sudo).unwrap().contains(&format!("{kind:?}")), is_done);
        assert!(!api.has_line());
        rig.cloud.release().unwrap();
        assert!(api.line().unwrap().contains("message sent"), "{kind:?}");
    }
    rig.cloud.slow(FaultKind::RequestSlow, Some("list"), Duration::from_millis(50)).unwrap();
    let begun = std::time::Instant::now();
    api.ok("list", &json!({}));
    api.ok("list", &json!({}));
    assert!(begun.elapsed() >= Duration::from_millis(100), "each is slow until that is cleared");
}

#[test]
fn a_request_that_is_on_its_way_outlives_its_client_and_its_service() {
    let (rig, service) = Rig::logged_in();
    rig.cloud.slow_times(FaultKind::RequestSlow, Some("send"), 1, HOUR).unwrap();
    let mut api = rig.chat();
    api.begin("send", &json!({"channel": channel(), "message": {"body": "late"}}));
    rig.cloud.wait_requests("send", 1, PATIENCE).unwrap();
    rig.cloud.crash().unwrap();
    assert_eq!(service.wait(), Some(2));
    rig.cloud.wait_logins(0, PATIENCE).unwrap();
    rig.cloud.release().unwrap();
    rig.cloud.wait_message(&rig.sudo, "late", PATIENCE).unwrap();
}

#[test]
fn a_stale_store_is_silent_until_a_post_of_its_own_shows_the_gap() {
    let (rig, _service) = Rig::logged_in();
    let (mut api, listener) = (rig.chat(), rig.listen(&[]));
    let id = api.send("ask");
    rig.cloud.react("alice", &rig.sudo, id, ":+1:").unwrap();
    listener.event();
    rig.cloud.fault(FaultKind::StoreStale).unwrap();
    rig.cloud.unreact("alice", &rig.sudo, id, ":+1:").unwrap();
    rig.cloud.react("bob", &rig.sudo, id, ":-1:").unwrap();
    let get = json!({"conversation_id": rig.sudo, "message_ids": [id], "fail_offline": true});
    let read = json!({"conversation_id": rig.sudo, "fail_offline": true});
    for (method, options) in [("get", &get), ("read", &read)] {
        let stale = api.ok(method, options);
        let newest_text = stale["messages"].as_array().unwrap().iter().find(|found| found["msg"]["id"] == id);
        let reactions = &newest_text.unwrap()["msg"]["reactions"]["reactions"];
        assert!(reactions[":+1:"].is_object() && reactions[":-1:"].is_null(), "{method}: {stale}");
        assert!(stale["offline"].is_null(), "{method}");
    }
    api.ok("edit", &json!({"conversation_id": rig.sudo, "message_id": id, "message": {"body": "ask"}}));
    assert!(api.get(id)["reactions"]["reactions"][":+1:"].is_object(), "`get` asks nobody still");
    let kinds: Vec<_> = api.ok("read", &read)["messages"]
        .as_array()
        .unwrap()
        .iter()
        .take(3)
        .map(|found| found["msg"]["content"]["type"].clone())
        .collect();
    assert_eq!(kinds, ["edit", "reaction", "delete"]);
    let reactions = &api.get(id)["reactions"]["reactions"];
    assert!(reactions[":+1:"].is_null() && reactions[":-1:"].is_object());
}

#[test]
fn a_service_can_crash_after_it_has_done_a_thing() {
    let (rig, service) = Rig::logged_in();
    rig.cloud.fault_times(FaultKind::ReplyCrash, Some("send"), 1).unwrap();
    let mut api = rig.chat();
    assert_eq!(api.error("send", &json!({"channel": channel(), "message": {"body": "done"}})), "EOF");
    assert_eq!(service.wait(), Some(2));
    assert_eq!(
        rig.cloud.view(&rig.sudo).unwrap(),
        "sudobot: done
"
    );
}

#[test]
fn a_program_that_is_named_can_be_slow_hang_and_die_before_and_after_its_deed() {
    let (rig, service) = Rig::logged_in();
    let whoami = |kind, delay| {
        rig.cloud.slow_times(kind, Some("whoami"), 1, delay).unwrap();
        rig.run(&["whoami"])
    };
    let shortly = Duration::from_millis(50);
    for kind in [FaultKind::RequestSlow, FaultKind::ReplySlow] {
        let begun = std::time::Instant::now();
        assert_eq!(
            crate::rig::text(&whoami(kind, shortly).stdout),
            "sudobot
",
            "{kind:?}"
        );
        assert!(begun.elapsed() >= shortly, "{kind:?}");
    }
    for kind in [FaultKind::RequestDies, FaultKind::ReplyDies] {
        let output = whoami(kind, shortly);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{kind:?}");
    }
    for kind in [FaultKind::RequestHangs, FaultKind::ReplyHangs] {
        rig.cloud.fault_times(kind, Some("whoami"), 1).unwrap();
        let mut hanging = rig.keybase(&["whoami"]).spawn().unwrap();
        assert!(rig.cloud.wait_logins(2, Duration::from_millis(200)).is_err(), "time passes");
        assert!(hanging.try_wait().unwrap().is_none(), "{kind:?}");
        hanging.kill().unwrap();
        hanging.wait().unwrap();
        rig.cloud.release().unwrap();
    }
    rig.cloud.fault_times(FaultKind::ReplyDies, Some("ctl stop"), 1).unwrap();
    assert_eq!(rig.run(&["ctl", "stop"]).status.code(), Some(2));
    assert_eq!(service.wait(), Some(0), "it was stopped all the same");
}

#[test]
fn a_login_can_be_slow_and_its_reply_be_lost() {
    let rig = Rig::new();
    rig.cloud.slow_times(FaultKind::ReplyDies, Some("login"), 1, HOUR).unwrap();
    let started = |fault: &str| {
        let mut command = rig.keybase(&["service", "--oneshot-username", "sudobot"]);
        command.env("KEYBASE_PAPERKEY", &rig.bot.paper_key).stderr(std::process::Stdio::null());
        command.spawn().unwrap_or_else(|error| panic!("{fault}: {error}"))
    };
    assert_eq!(started("lost").wait().unwrap().code(), Some(2));
    rig.cloud.slow_times(FaultKind::RequestSlow, Some("login"), 1, HOUR).unwrap();
    let mut slow = started("slow");
    assert!(rig.cloud.wait_logins(1, Duration::from_millis(100)).is_err());
    rig.cloud.release().unwrap();
    rig.cloud.wait_logins(1, PATIENCE).unwrap();
    slow.kill().unwrap();
    slow.wait().unwrap();
}

#[test]
fn events_can_be_late_and_stay_in_order() {
    let (rig, _service) = Rig::logged_in();
    let listener = rig.listen(&[]);
    rig.cloud.slow_times(FaultKind::ListenerSlow, Some("text"), 1, HOUR).unwrap();
    let late = rig.cloud.post("alice", &rig.sudo, "late").unwrap();
    rig.cloud.post("alice", &rig.sudo, "next").unwrap();
    assert!(rig.cloud.wait_written(&rig.sudo, late, Duration::from_millis(100)).is_err());
    rig.cloud.release().unwrap();
    assert_eq!(listener.event()["content"]["text"]["body"], "late");
    assert_eq!(listener.event()["content"]["text"]["body"], "next");
}
