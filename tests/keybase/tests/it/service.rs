//! Tests of the service, of logins, and of clients without a service.

use serde_json::Value;
use std::process::Stdio;

use crate::rig::{PATIENCE, Rig, text};

#[test]
fn whoami_and_status_tell_the_login() {
    let (rig, _service) = Rig::logged_in();
    let who: Value = serde_json::from_slice(&rig.run(&["whoami", "-json"]).stdout).unwrap();
    assert_eq!((&who["loggedIn"], &who["user"]["uid"]), (&true.into(), &rig.bot.uid.clone().into()));
    let words: Vec<&str> = rig.bot.paper_key.split(' ').take(2).collect();
    assert_eq!(who["deviceName"], words.join(" "));
    let status: Value = serde_json::from_slice(&rig.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!((&status["Username"], &status["Device"]["type"]), (&"sudobot".into(), &"backup".into()));
    assert_eq!(text(&rig.run(&["whoami"]).stdout), "sudobot\n");
}

#[test]
fn a_login_by_hand_lasts_as_long_as_the_service() {
    let (rig, service) = Rig::logged_in();
    let oneshot = |key: &str| {
        let mut command = rig.keybase(&["oneshot", "-u", "sudobot"]);
        let output = command.env("KEYBASE_PAPERKEY", key).output().unwrap();
        (output.status.code(), text(&output.stderr).trim().to_owned())
    };
    let (code, error) = oneshot(&rig.bot.paper_key);
    assert_eq!(code, Some(2));
    assert!(error.ends_with("You are already logged in as a different user; try logout first"), "{error}");
    assert_eq!(rig.run(&["logout", "-f"]).status.code(), Some(0));
    let logged_out = rig.run(&["whoami"]);
    assert_eq!((logged_out.status.code(), logged_out.stdout.len()), (Some(2), 0));
    assert!(text(&logged_out.stderr).ends_with("logged out\n"));
    assert_eq!(rig.chat().error("list", &serde_json::json!({})), "Login required");
    assert!(oneshot("wrong words").1.ends_with("No device found no device found for paper key"));
    assert_eq!(oneshot(&rig.bot.paper_key).0, Some(0));
    rig.cloud.wait_logins(1, PATIENCE).unwrap();
    assert_eq!(rig.run(&["ctl", "stop"]).status.code(), Some(0));
    assert_eq!(service.wait(), Some(0));
    rig.cloud.wait_logins(0, PATIENCE).unwrap();
}

#[test]
fn a_service_that_cannot_log_in_ends() {
    let rig = Rig::new();
    let mut command = rig.keybase(&["service", "--oneshot-username", "sudobot"]);
    let output = command.env("KEYBASE_PAPERKEY", "wrong").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("No device found"));
}

#[test]
fn a_home_has_one_service() {
    let (rig, _service) = Rig::logged_in();
    let second = rig.run(&["service"]);
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).ends_with("server already running\n"));
    assert!(rig.cloud.complaints().unwrap()[0].starts_with("a second service was started on"));
}

#[test]
fn without_a_service_clients_fail_or_start_one() {
    let rig = Rig::new();
    let failed = rig.run(&["chat", "api", "-m", "{}"]);
    assert_eq!((failed.status.code(), failed.stdout.len()), (Some(2), 0));
    let error = text(&failed.stderr);
    assert!(error.contains("▶ [ERRO keybase main.go:86] 001 dial unix /"), "{error}");
    assert!(error.ends_with("keybased.sock: connect: no such file or directory\n"), "{error}");
    let waited = rig.run(&["ctl", "wait", "--duration", "10ms"]);
    assert!(text(&waited.stderr).contains("service failed to startup: "));

    let forked = rig.bare().arg("--home").arg(rig.home()).args(["whoami", "--json"]).output().unwrap();
    let who: Value = serde_json::from_slice(&forked.stdout).unwrap();
    assert_eq!(who["loggedIn"], false);
    assert_eq!(rig.cloud.services().unwrap().len(), 1);
}

#[test]
fn root_is_refused() {
    let rig = Rig::new();
    let mut command = rig.keybase(&["whoami"]);
    let output = command.env_remove("KEYBASE_ALLOW_ROOT").output().unwrap();
    if text(&output.stderr).contains("dial unix") {
        return; // only root can test this
    }
    assert!(text(&output.stderr).contains("Oops, you are trying to run as an admin user"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_failed_dial_breaks_a_stream_for_good() {
    let (rig, service) = Rig::logged_in();
    let mut api = rig.chat();
    api.send("before");
    drop(service);
    let list = serde_json::json!({});
    api.error("list", &list);
    assert!(api.error("list", &list).starts_with("dial unix"));
    let _service = rig.service();
    assert!(api.error("list", &list).starts_with("dial unix"));
    assert!(rig.chat().ok("list", &list)["conversations"].is_array());
}

#[test]
fn a_stream_finds_a_service_that_was_restarted_between_requests() {
    let (rig, service) = Rig::logged_in();
    let mut api = rig.chat();
    api.send("before");
    drop(service);
    let _service = rig.service();
    // The first request after the restart uses the broken connection.
    api.error("list", &serde_json::json!({}));
    api.send("after");
}

#[test]
fn a_signal_ends_service_and_clients_with_three() {
    let (rig, service) = Rig::logged_in();
    let listener = rig.listen(&[]);
    let terminate = |pid: u32| {
        let done =
            std::process::Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status().unwrap();
        assert!(done.success());
    };
    terminate(listener.child.id());
    assert_eq!(listener.end().0, Some(3));
    terminate(service.0.id());
    assert_eq!(service.wait(), Some(3));
}
