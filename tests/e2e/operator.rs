//! The operator's side: watch logins, reload, remove machines.

use kbmfa_tests::built;
use kbmfa_tests::files::put;
use kbmfa_tests::process::{program, signal};
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use rustix::process::Signal;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

#[test]
fn systemd_gets_readiness_watchdog_and_stopping() {
    let world = World::new();
    world.server.stop();
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut serve = program(built::server());
    serve.arg("serve").arg("--config").arg(&world.server.config);
    serve.env("NOTIFY_SOCKET", dir.path().join("notify")).env("WATCHDOG_USEC", "300000");
    let mut child = serve.spawn().unwrap();
    let hear = |word: &str| {
        let mut said = [0; 200];
        while !String::from_utf8_lossy(&said).contains(word) {
            said = [0; 200];
            socket.recv(&mut said).unwrap_or_else(|error| panic!("{word} was not heard: {error}"));
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    signal(&child, Signal::TERM);
    hear("STOPPING=1");
    assert!(until("the server to end", || child.try_wait().unwrap()).success());
}

#[test]
fn watch_prints_a_login_as_it_comes_and_as_it_ends() {
    let world = World::new();
    let machine = world.machine().start();
    let watch = world.admin.watch();
    let login = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    until("the login to be shown", || watch.printed().contains("pending").then_some(()));
    world.admin.deny(&id);
    login.wait();
    until("its end to be shown", || watch.printed().contains("denied").then_some(()));
    let printed = watch.printed();
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("LOGIN "), "{printed}");
    assert!(lines[1..].iter().all(|line| line.starts_with(&id[..8]) && line.contains("alice")), "{printed}");
}

#[test]
fn the_servers_own_log_has_each_login_and_its_outcome() {
    let world = World::new();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    let short = &id[..8];
    world.server.wait_for_log(&format!("login {short}: alice on web1 by sshd from 127.0.0.1, verdict: ask"));
    world.admin.deny(&id);
    login.wait();
    world.server.wait_for_log(&format!("login {short}: denied by console:"));
    put(&machine.path("/run/token"), 0o600, "kbmfa-join-0000");
    let (server, pin) = (format!("https://127.0.0.1:{}", world.server.port), &world.server.pin);
    let join = ["kbmfa-host", "join", "--server", &server, "--pin", pin, "--token-file", "/run/token"];
    assert!(!machine.try_exec(&join).status.success());
    world.server.wait_for_log("refused a caller: join-token from 127.0.0.1");
}

#[test]
fn a_reload_puts_new_rules_in_force_and_a_faulty_file_changes_nothing() {
    let world = World::new();
    let machine = world.machine().start();
    let reload = |marker: &str| {
        world.server.reload();
        until("the reload", || world.server.log().contains(marker).then_some(()));
    };
    world.server.set("policy", "approvers", "[\"console:nobody-else\"]");
    reload("read again");
    let login = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    let refused = world.admin.try_run(&["login", "approve", &id]).unwrap_err();
    assert!(refused.contains("not among the approvers"), "{refused}");
    world.server.set("policy", "approvers", "\"nobody\"");
    reload("nothing was reloaded");
    world.server.set("policy", "approvers", "\"anyone\"");
    assert!(world.admin.try_run(&["login", "approve", &id]).is_err(), "the ask still names its approvers");
    login.kill();
    world.admin.wait_for_state(&id, "cancelled");
    world.admin.assert_story(
        &id,
        &["login.opened", "ask.posted", "answer.rejected", "answer.rejected", "login.cancelled"],
    );
}

#[test]
fn a_removed_machine_is_refused_at_once_with_all_that_it_waits_for() {
    let world = World::new();
    let machine = world.machine().start();
    let waiting = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    assert!(world.admin.dry_run(&["machine", "remove", "web1"]).contains("would remove"));
    assert_eq!(world.admin.state(&id), "pending");
    world.admin.run(&["machine", "remove", "web1", "--yes"]);
    assert_eq!(waiting.wait().code, 255);
    assert_eq!(machine.ssh("alice", &["true"]).wait().code, 255);
    assert!(!machine.syslog.lines_with("unauthorized").is_empty());
    machine.assert_nothing_left();
}

#[test]
fn a_rotated_credential_replaces_the_old_one_when_it_is_used() {
    let world = World::new();
    let machine = world.machine().start();
    let before = fs::read_to_string(machine.path("/etc/kbmfa/credential")).unwrap();
    let token = world.admin.run(&["machine", "rotate", "web1"]);
    machine.join_again(&world, &token);
    let after = fs::read_to_string(machine.path("/etc/kbmfa/credential")).unwrap();
    assert_ne!(before, after);
    fs::write(machine.path("/etc/kbmfa/credential"), before).unwrap();
    assert_eq!(machine.ssh("alice", &["true"]).wait().code, 255);
    fs::write(machine.path("/etc/kbmfa/credential"), after).unwrap();
    let login = machine.ssh("alice", &["true"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().code, 0);
}

#[test]
fn joining_again_with_the_same_token_is_harmless() {
    let world = World::new();
    let machine = world.machine().start();
    let credential = || fs::read_to_string(machine.path("/etc/kbmfa/credential")).unwrap();
    let token = world.admin.run(&["machine", "join-token", "web1"]);
    machine.join_again(&world, &token);
    let after_the_first = credential();
    machine.join_again(&world, &token);
    assert_eq!(credential(), after_the_first);
    assert!(!machine.path("/etc/kbmfa/credential.new").exists());
}

#[test]
fn a_forged_ssh_connection_is_refused() {
    let world = World::new();
    // What `pam_env` with `user_readenv`, before our line, would do with a file in the person's home.
    let forged =
        "session required pam_env.so conffile=/etc/forged readenv=0\nsession required pam_kbmfa.so silent\n";
    let stack = format!("auth required pam_deny.so\naccount required pam_unix.so\n{forged}");
    let machine = world.machine().phase(Phase::Session).pam_stack(&stack).start();
    fs::write(machine.path("/etc/forged"), "SSH_CONNECTION DEFAULT=\"192.0.2.1 50000 192.0.2.2 22\"\n")
        .unwrap();
    assert_ne!(machine.ssh("alice", &["echo", "in"]).wait().code, 0);
    assert!(world.admin.logins(&[]).is_empty());
    assert!(!machine.syslog.lines_with("origin of the connection not verified").is_empty());
    machine.assert_nothing_left();
}

#[test]
fn an_answer_that_comes_too_late_is_refused_and_recorded() {
    let world = World::new();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    world.admin.deny(&id);
    login.wait();
    let late = world.admin.try_run(&["login", "approve", &id]).unwrap_err();
    assert!(late.contains("the login is denied already by console:"), "{late}");
    assert_eq!(world.admin.state(&id), "denied");
    world.admin.assert_story(
        &id,
        &["login.opened", "ask.posted", "answer.given", "login.denied", "answer.rejected"],
    );
}

#[test]
fn a_backup_is_a_whole_database_that_knows_of_itself_and_of_no_secret() {
    let world = World::new();
    let machine = world.machine().start();
    let credential = fs::read_to_string(machine.path("/etc/kbmfa/credential")).unwrap();
    let token = world.admin.add_machine("spare");
    let copy = world.server.state_dir.join("copy.db");
    world.admin.run(&["backup", copy.to_str().unwrap()]);
    assert!(world.admin.try_run(&["backup", copy.to_str().unwrap()]).is_err(), "it must not replace a file");
    assert_eq!(world.admin.audit().last().unwrap().kind, "backup.made");
    let bytes = fs::read(&copy).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    for secret in [credential.trim(), token.trim()] {
        assert!(secret.len() > 30 && !holds(secret) && !holds(secret.rsplit('_').next().unwrap()));
    }
    assert!(holds("spare") && !holds("PRIVATE KEY"), "this test has lost sight of the database");
    world.server.stop();
    fs::rename(&copy, world.server.state_dir.join("kbmfa.db")).unwrap();
    for leftover in ["kbmfa.db-wal", "kbmfa.db-shm"] {
        let _ = fs::remove_file(world.server.state_dir.join(leftover));
    }
    world.server.start();
    world.admin.audit_verify();
    let kinds: Vec<_> = world.admin.audit().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds.last().map(String::as_str), Some("server.started"));
    assert!(!kinds.contains(&"backup.made".to_owned()), "the copy was made before that was recorded");
}
