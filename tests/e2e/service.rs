//! The server as a systemd service: the result of a reload, and the line in `systemctl status`.

use kbmfa_tests::built;
use kbmfa_tests::chat::ChatWorld;
use kbmfa_tests::process::{brief, run};
use kbmfa_tests::systemd::Systemd;
use kbmfa_tests::wait::{pass, until};
use kbmfa_tests::world::World;
use std::fs;
use std::time::Duration;

/// A watchdog period that does not matter in these tests.
const WATCHDOG_MS: u32 = 30_000;

#[test]
fn a_reload_fails_with_the_reason_when_the_configuration_is_wrong_and_changes_nothing() {
    let world = World::new();
    world.server.set("login", "window", "\"soon\"");
    world.server.set("login", "pending_per_user", "\"many\"");
    let why = world.server.try_reload().unwrap_err();
    assert!(why.contains("window") && why.contains("pending_per_user"), "{why}");
    assert!(!world.server.log().contains("reload"), "{}", world.server.log());
    world.server.set("login", "window", "\"45s\"");
    world.server.set("login", "pending_per_user", "3");
    let said = world.server.try_reload().unwrap();
    assert!(said.contains("read again"), "{said}");
    world.server.wait_for_log("configuration and certificate read again");
}

/// The file itself is valid. Only the running server can detect what changed.
#[test]
fn a_reload_fails_when_the_running_server_cannot_take_the_change() {
    let world = World::new();
    world.server.set("relay", "kind", "\"keybase\"");
    world
        .server
        .append("[relay.keybase]\nusername = \"sshbot\"\npaperkey_file = \"/nowhere\"\nteam = \"acme\"\n");
    let why = world.server.try_reload().unwrap_err();
    assert!(why.contains("needs a restart"), "{why}");
    world.server.wait_for_log("nothing was reloaded: [relay]");
}

#[test]
fn a_reload_says_what_only_a_restart_can_change() {
    let world = World::new();
    world.server.set("server", "listen", "\"127.0.0.1:1\"");
    let said = world.server.try_reload().unwrap();
    assert!(said.contains("change only with a restart"), "{said}");
}

#[test]
fn a_reload_without_a_process_finds_the_server_of_this_state() {
    let world = World::new();
    let socket = world.server.state_dir.join("admin.sock");
    until("the server to listen there", || socket.exists().then_some(()));
    assert!(world.admin.run(&["reload"]).contains("read again"));
    world.server.stop();
    let why = world.admin.try_run(&["reload"]).unwrap_err();
    assert!(why.contains("the running server cannot be asked"), "{why}");
}

#[test]
fn the_status_line_says_where_it_listens_what_waits_and_how_the_relay_is() {
    let world = ChatWorld::down("team = \"acme\"\nchannel = \"sudo\"\n", "");
    let systemd = Systemd::over(&world.server, world.dir(), WATCHDOG_MS);
    world.server.start();
    let listening = format!("listening on 127.0.0.1:{}", world.server.port);
    let calm = format!("STATUS=ready, relay keybase up; {listening}; logins waiting: 0");
    systemd.wait_for(&calm);
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    systemd.wait_for("logins waiting: 1");
    login.kill();
    systemd.wait_for(&calm);
    fs::rename(world.chat.program(), world.dir().join("gone")).unwrap();
    world.chat.crash_service();
    systemd.wait_for("STATUS=NOT READY: the relay keybase does not reach people");
}

#[test]
fn an_unchanged_status_line_is_sent_once() {
    let world = World::down(None);
    let systemd = Systemd::over(&world.server, world.dir(), 1500);
    world.server.start();
    systemd.wait_for("STATUS=ready");
    let mut feeds = 0;
    while feeds < 20 {
        let reports = systemd.reports();
        assert!(!reports.iter().any(|report| report.contains("STATUS=")), "{reports:?}");
        feeds += reports.len();
        pass(Duration::from_millis(100));
    }
}

/// The text of the packaged unit.
fn unit() -> String {
    fs::read_to_string(built::workspace().join("packaging/systemd/kbmfa-server.service")).unwrap()
}

/// The value of a setting that the unit has exactly once.
fn setting(unit: &str, name: &str) -> String {
    let values: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values[0].to_owned()
}

#[test]
fn the_unit_never_gives_up_and_backs_off_between_starts_that_fail() {
    let unit = unit();
    assert_eq!(setting(&unit, "StartLimitIntervalSec"), "0");
    assert_eq!(setting(&unit, "Restart"), "always");
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    // The command as systemd reads it: quoted, and with `$$` in place of `$`.
    let script = setting(&unit, "ExecStopPost").replace("$$", "$").replace("/run/kbmfa", place);
    let script = script.strip_prefix("/bin/sh -c '").unwrap().strip_suffix('\'').unwrap();
    let after = |result: &str| {
        let mut shell = brief("sh");
        shell.arg("-c").arg(format!("sleep() {{ echo \"$1\"; }}\n{script}")).env("SERVICE_RESULT", result);
        run(&mut shell).trim().to_owned()
    };
    let pauses: Vec<_> = (0..6).map(|_| after("exit-code")).collect();
    assert_eq!(pauses, ["0", "1", "3", "7", "15", "15"]);
    assert_eq!(after("success"), "");
    let reset = setting(&unit, "ExecStartPost").replace("/run/kbmfa", place);
    run(brief("sh").arg("-c").arg(reset));
    assert_eq!(after("watchdog"), "0");
}

/// Without this setting the first `chown` would end the server, and here is no systemd that would show it.
#[test]
fn the_unit_lets_the_server_give_its_socket_to_a_group_that_it_is_in() {
    let unit = unit();
    let filters: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    // Of the two lines the later one applies. Which system call it is depends on the processor.
    let forbidden =
        filters.iter().position(|filter| filter.starts_with('~') && filter.contains("@privileged"));
    let allowed = filters.iter().position(|filter| *filter == "chown fchownat");
    assert!(forbidden.unwrap() < allowed.unwrap(), "{filters:?}");
    assert_eq!(setting(&unit, "RuntimeDirectory"), "kbmfa");
    assert_eq!(setting(&unit, "RuntimeDirectoryMode"), "0755", "members come to the socket in it");
    assert_eq!(setting(&unit, "StateDirectoryMode"), "0700");
}

#[test]
fn a_reload_by_systemd_is_the_verb_that_waits_for_the_outcome() {
    assert_eq!(setting(&unit(), "ExecReload"), "/usr/sbin/kbmfa-server reload --pid $MAINPID");
}
