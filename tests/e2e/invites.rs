//! Invites that the server sends in Keybase: to the right person alone, in a message that disappears, and never one of
//! which nobody knows whether it arrived. And the program that employees download to use them.

use kbmfa_tests::chat::{BOT, ChatWorld};
use kbmfa_tests::files::{put, set_mode};
use kbmfa_tests::process::program;
use kbmfa_tests::wait::until;
use kbmfa_tests::wire;
use kbmfa_tests::world::World;
use keybase_double::{FaultKind, Message, Role};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

/// A week: as long as an invite can be used, if the operator says nothing.
const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1000;

fn add(world: &World, name: &str, keybase_name: Option<&str>) {
    let email = format!("{name}@example.com");
    let words = ["employee", "add", &email, "--name", name, "--unix-name", name];
    let keybase = keybase_name.map(|keybase| ["--keybase-name", keybase]);
    world.admin.run(&[&words[..], keybase.as_ref().map_or(&[], |words| &words[..])].concat());
}

/// A world in which the notice about the audit log was posted, so that faults meet the invite.
fn world() -> ChatWorld {
    let world = ChatWorld::new();
    world.chat.message("Head of the audit log");
    world
}

fn private(world: &ChatWorld, user: &str) -> Vec<Message> {
    world.chat.messages(&format!("{user},{BOT}")).unwrap_or_default()
}

/// The invite in a message: `id.secret`.
fn invite_in(message: &Message) -> (String, String) {
    let line = message.body.lines().find(|line| line.starts_with('`') && !line.contains(' '));
    let (id, secret) = line.unwrap().trim_matches('`').split_once('.').unwrap();
    (id.to_owned(), secret.to_owned())
}

/// The files below a directory that contain a text.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).is_ok_and(|all| all.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn an_invite_goes_to_its_person_alone_disappears_and_is_in_no_file() {
    let world = world();
    add(&world, "bob", Some("bob"));
    let sent = world.admin.json(&["employee", "invite", "bob@example.com", "--send"]);
    assert_eq!(sent["sent_to"], "keybase:bob");
    let all = private(&world, "bob");
    let [message] = all.as_slice() else { panic!("{all:?}") };
    assert!(message.lifetime_ms.is_some_and(|lifetime| (WEEK_MS - 60_000..=WEEK_MS).contains(&lifetime)));
    assert!(message.body.contains("`kbmfa-enroll --server https://"), "{}", message.body);
    let (id, secret) = invite_in(message);
    assert_eq!(sent["id"], id.as_str());
    assert_eq!(world.admin.json(&["employee", "show", "bob@example.com"])["invite"]["id"], id.as_str());
    assert!(!sent.to_string().contains(&secret));
    assert_eq!(world.admin.count(["employee.invited", "invite.sent", "invite.voided"]), [1, 1, 0]);
    let dir = world.server.config.parent().unwrap();
    assert!(!files_with(dir, &id).is_empty(), "the database has the id");
    assert_eq!(files_with(dir, &secret), Vec::<String>::new());
    assert!(!world.server.log().contains(&secret));
    world.chat.explode(&format!("bob,{BOT}")).unwrap();
    assert_eq!(world.chat.view(&format!("bob,{BOT}")).unwrap(), format!("{BOT}: (exploded)\n"));
}

#[test]
fn an_invite_whose_reply_is_lost_is_ended_and_another_is_sent() {
    for fault in [FaultKind::ReplyDies, FaultKind::ReplyHangs, FaultKind::RequestDies] {
        let world = world();
        add(&world, "bob", Some("bob"));
        world.chat.fault_times(fault, Some("send"), 1).unwrap();
        let sent = world.admin.json(&["employee", "invite", "bob@example.com", "--send"]);
        let all: Vec<_> = private(&world, "bob").iter().map(invite_in).collect();
        let (last, _) = all.last().unwrap();
        assert_eq!(all.len(), if fault == FaultKind::RequestDies { 1 } else { 2 }, "{fault:?}");
        assert_eq!(sent["id"], last.as_str());
        let open = &world.admin.json(&["employee", "show", "bob@example.com"])["invite"];
        assert_eq!(open["id"], last.as_str(), "the first one is not open");
        let counted = world.admin.count(["employee.invited", "invite.voided", "invite.sent"]);
        assert_eq!(counted, [2, 1, 1], "{fault:?}");
    }
}

#[test]
fn when_keybase_does_not_answer_nobody_has_an_invite() {
    let world = world();
    add(&world, "bob", Some("bob"));
    world.chat.fault_always(FaultKind::ReplyHangs, "send").unwrap();
    let told = world.admin.try_run(&["employee", "invite", "bob@example.com", "--send"]).unwrap_err();
    assert!(told.contains("may not have been delivered") && told.contains("is not accepted"), "{told}");
    assert!(world.admin.json(&["employee", "show", "bob@example.com"])["invite"].is_null());
    assert_eq!(world.admin.count(["employee.invited", "invite.voided", "invite.sent"]), [2, 2, 0]);
    for (id, secret) in private(&world, "bob").iter().map(invite_in) {
        assert!(!told.contains(&secret) && !id.is_empty());
    }
}

#[test]
fn an_invite_is_not_sent_to_an_account_that_is_not_the_persons() {
    let world = world();
    for (name, keybase) in
        [("mal", "mallory"), ("bob", "bob"), ("dave", "dave"), ("carol", "carol"), ("bot", BOT)]
    {
        add(&world, name, Some(keybase));
    }
    add(&world, "none", None);
    world.chat.delete_user("dave").unwrap();
    world.chat.reset_user("bob").unwrap();
    world.chat.set_member_status("acme", "carol", Role::Reader, 0, true).unwrap();
    let before = world.chat.stats().unwrap().requests.get("send").copied();
    for (name, why) in [
        ("mal", "does not list mallory among the people at acme#sudo"),
        ("bob", "was reset or deleted"),
        ("dave", "was reset or deleted"),
        ("carol", "was reset or deleted, or has no keys yet"),
        ("bot", "is a bot"),
        ("none", "no Keybase name of none@example.com is recorded"),
    ] {
        let email = format!("{name}@example.com");
        let told = world.admin.try_run(&["employee", "invite", &email, "--send"]).unwrap_err();
        assert!(told.contains(why), "{name}: {told}");
        assert!(world.admin.json(&["employee", "show", &email])["invite"].is_null(), "{name}");
    }
    assert_eq!(world.chat.stats().unwrap().requests.get("send").copied(), before);
}

/// A world whose server lets employees download the files of a directory, with a program of this size in it.
fn with_downloads(size: usize) -> (World, TempDir) {
    let world = World::down(None);
    let dir = offer(&world, size);
    world.server.start();
    (world, dir)
}

/// Offers a directory with a program of this size, to a server that starts after it.
fn offer(world: &World, size: usize) -> TempDir {
    let dir = tempfile::Builder::new().prefix("kbmfa-enroll-").tempdir().unwrap();
    set_mode(dir.path(), 0o755);
    put(&dir.path().join("kbmfa-enroll"), 0o755, "#!/bin/sh\n".repeat(size / 10));
    world.server.append(&format!("[enrolment]\ndirectory = \"{}\"\n", dir.path().display()));
    dir
}

fn download(world: &World, path: &str) -> String {
    wire::send(&world.server, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
}

#[test]
fn the_printed_line_downloads_the_program_and_checks_the_server_and_the_sum() {
    let (world, dir) = with_downloads(2_000_000);
    add(&world, "bob", None);
    let invited = world.admin.json(&["employee", "invite", "bob@example.com"]);
    let line = invited["downloads"][0].as_str().unwrap().to_owned();
    let type_it = |line: &str| {
        let at = tempfile::tempdir().unwrap();
        let done = program("sh").args(["-c", line]).current_dir(at.path()).output().unwrap();
        let size = fs::metadata(at.path().join("kbmfa-enroll")).map(|found| found.len()).ok();
        (done.status.success(), size)
    };
    assert_eq!(type_it(&line), (true, Some(2_000_000)));
    let (before, pin) = line.split_once("sha256//").unwrap();
    let other = if pin.starts_with('A') { "B" } else { "A" };
    assert_eq!(type_it(&format!("{before}sha256//{other}{}", &pin[1..])), (false, None), "another server");
    put(&dir.path().join("kbmfa-enroll"), 0o755, "#!/bin/sh\nevil");
    assert!(!type_it(&line).0, "another program");
}

#[test]
fn an_invite_that_is_sent_brings_the_lines_that_download_the_program() {
    let world = world();
    add(&world, "bob", Some("bob"));
    let _offered = offer(&world, 100);
    world.admin.json(&["employee", "invite", "bob@example.com", "--send"]);
    let all = private(&world, "bob");
    let [message] = all.as_slice() else { panic!("{all:?}") };
    let printed = world.admin.json(&["employee", "invite", "bob@example.com"]);
    let line = printed["downloads"][0].as_str().unwrap();
    assert!(line.starts_with("curl ") && line.contains("sha256sum"), "{line}");
    assert!(message.body.contains(&format!("`{line}`")), "{}", message.body);
}

#[test]
fn a_slow_download_outlasts_the_time_in_which_others_must_prove_a_credential() {
    let (world, dir) = with_downloads(20_000_000);
    let url = format!("https://localhost:{}/enroll/kbmfa-enroll", world.server.port);
    // 33 s: longer than an unproven connection may last, and than an idle one.
    let done = program("curl").args(["-fsk", "--limit-rate", "600k", &url]).output().unwrap();
    assert!(done.status.success());
    assert!(done.stdout == fs::read(dir.path().join("kbmfa-enroll")).unwrap(), "the whole file");
}

#[test]
fn nothing_but_the_files_of_the_directory_is_served() {
    let (world, dir) = with_downloads(100);
    symlink(&world.server.config, dir.path().join("link")).unwrap();
    put(&dir.path().join(".hidden"), 0o644, "hidden");
    assert!(download(&world, "/enroll/kbmfa-enroll").contains("#!/bin/sh"));
    for path in
        ["link", ".hidden", "", "..", "../server.toml", "%2e%2e/server.toml", "kbmfa-enroll/", "absent"]
    {
        let answer = download(&world, &format!("/enroll/{path}"));
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let head = wire::send(
        &world.server,
        "POST /enroll/kbmfa-enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    assert!(
        download(&World::new(), "/enroll/kbmfa-enroll").starts_with("HTTP/1.1 404"),
        "no directory is set"
    );
}

#[test]
fn downloads_that_nobody_reads_take_no_place_of_a_machine() {
    let (world, _dir) = with_downloads(60_000_000);
    let tls = wire::tls(&world.server);
    let mut held: Vec<_> = (0..2).map(|_| wire::connect(&tls, world.server.port).unwrap()).collect();
    for line in &mut held {
        line.write_all(b"GET /enroll/kbmfa-enroll HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        line.read_exact(&mut [0; 12]).unwrap();
    }
    let third = download(&world, "/enroll/kbmfa-enroll");
    assert!(third.starts_with("HTTP/1.1 503"), "{third}");
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
    drop(held);
    until("a permit", || download(&world, "/enroll/kbmfa-enroll").starts_with("HTTP/1.1 200").then_some(()));
}

#[test]
fn without_a_chat_or_a_server_no_invite_is_made_to_be_sent() {
    let refused = |world: &World, why: &str| {
        add(world, "bob", Some("bob"));
        let told = world.admin.try_run(&["employee", "invite", "bob@example.com", "--send"]).unwrap_err();
        assert!(told.contains(why) && told.contains("without --send"), "{told}");
        assert_eq!(world.admin.count(["employee.invited"]), [0]);
    };
    refused(&World::new(), "there is no chat");
    let chat = world();
    chat.server.stop();
    refused(&chat.world, "the server does not run");
}
