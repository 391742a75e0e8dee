//! The command line as people use it: at a terminal, in a pipe, with a file, in a script.

use kbmfa_tests::built;
use kbmfa_tests::process::program;
use kbmfa_tests::terminal::{COLUMNS, Terminal};
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;
use std::process::Stdio;

use super::sessions::{STAY, heard, sessions_of};

/// A world in which `count` logins were asked about and denied, and the account of the last one.
fn world_with_logins(count: usize) -> World {
    let world = World::new();
    world.server.set("login", "cool_down", "\"0s\"");
    world.server.restart();
    let machine = world.machine().start();
    for _ in 0..count {
        let login = machine.ssh("alice", &["true"]);
        world.admin.deny_because(&world.admin.pending(), "not today, and not tomorrow either");
        login.wait();
    }
    world
}

/// A line without colours.
pub(crate) fn bare(line: &str) -> String {
    let mut parts = line.trim_end_matches('\r').split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn tables_fit_a_terminal_of_80_columns_and_are_whole_in_a_pipe() {
    let world = world_with_logins(1);
    let lists: [&[&str]; 6] = [
        &["login", "list"],
        &["audit", "search"],
        &["machine", "list"],
        &["session", "list"],
        &["employee", "list"],
        &["ca", "show"],
    ];
    for list in lists {
        let (code, screen) = world.admin.at_terminal(list).end();
        assert_eq!(code, Some(0), "{list:?}: {screen}");
        for line in screen.lines().map(bare) {
            assert!(line.chars().count() <= usize::from(COLUMNS), "{list:?}: {line:?}");
        }
    }
    let (_, screen) = world.admin.at_terminal(&["login", "list"]).end();
    assert!(screen.contains("\u{1b}[31mdenied\u{1b}[0m"), "{screen:?}");
    let piped = world.admin.run(&["audit", "search", "--kind", "login.denied"]);
    assert!(piped.contains("reason=denied"), "{piped}");
    assert!(!world.admin.run(&["login", "list"]).contains('\u{1b}'), "no colour in a pipe");
}

#[test]
fn a_login_is_approved_in_place_while_it_is_watched() {
    let world = World::new();
    let machine = world.machine().start();
    let mut watch = world.admin.at_terminal(&["login", "watch"]);
    watch.until("LOGIN ");
    watch.type_line("a");
    watch.until("no login waits");
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let short = &id[..8];
    watch.until(short);
    watch.type_line("?");
    watch.until("d  deny one");
    watch.type_line("a");
    watch.until(&format!("approve {short} (alice on "));
    assert_eq!(world.admin.state(&id), "pending", "nothing is decided before it is confirmed");
    watch.type_line("y");
    assert!(login.wait().stdout.contains("in"));
    watch.until("approved");
    watch.type_line("q");
    assert_eq!(watch.end().0, Some(0));
    assert_eq!(world.admin.state(&id), "approved");
}

#[test]
fn the_one_of_several_that_is_chosen_is_denied_and_the_other_goes_on_waiting() {
    let world = World::new();
    let machine = world.machine().start();
    let first = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    let second = machine.ssh("bob", &["true"]);
    world.admin.pending_logins(2);
    let mut watch = world.admin.at_terminal(&["login", "watch"]);
    watch.until("bob");
    watch.type_line("d");
    watch.until("number: ");
    watch.type_line("1");
    watch.until("y/n: ");
    watch.type_line("y");
    assert_ne!(first.wait().code, 0);
    assert_eq!(world.admin.state(&id), "denied");
    assert_eq!(world.admin.logins(&["--state", "pending"])[0].1, "bob");
    second.kill();
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let world = world_with_logins(1);
    for verb in
        [&["audit", "search"][..], &["login", "list", "--csv"], &["audit", "export"], &["login", "list"]]
    {
        let mut child = world.admin.verb(verb).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{verb:?}: {} {said}", output.status);
    }
}

#[test]
fn logins_are_filtered_and_a_list_that_was_cut_says_so() {
    let world = world_with_logins(2);
    let count = |filter: &[&str]| world.admin.logins(filter).len();
    assert_eq!(count(&["--state", "denied,expired", "--user", "alice", "--since", "1h"]), 2);
    assert_eq!(count(&["--state", "approved,pending"]), 0);
    assert_eq!(count(&["--user", "bob"]), 0);
    assert_eq!(count(&["--machine", "no-such"]), 0);
    assert_eq!(count(&["--since", "2020-01-01"]), 2);
    let cut = world.admin.verb(&["login", "list", "--limit", "1"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&cut.stdout).lines().count(), 2);
    assert!(
        String::from_utf8_lossy(&cut.stderr).contains("these are the newest 1; --limit N prints more"),
        "{cut:?}"
    );
    let ids = |list: &[&str], id: &str| -> Vec<Value> {
        world.admin.json(list).as_array().unwrap().iter().map(|row| row[id].clone()).collect()
    };
    let logins = ids(&["login", "list"], "id");
    assert_eq!(ids(&["login", "list", "--limit", "1"], "id"), logins[..1], "the newest come first there");
    let events = ids(&["audit", "search"], "seq");
    assert_eq!(ids(&["audit", "search", "--limit", "2"], "seq"), events[events.len() - 2..], "and last here");
    let whole = world.admin.verb(&["login", "list", "--limit", "2"]).output().unwrap();
    assert!(whole.stderr.is_empty(), "{whole:?}");
    let csv = world.admin.run(&["login", "list", "--csv"]);
    assert!(csv.starts_with("id,opened,user,machine,") && csv.contains(",alice,"), "{csv}");
    assert_eq!(csv.lines().count(), 3);
    let (local, utc) = (world.admin.run(&["login", "list"]), world.admin.run(&["login", "list", "--utc"]));
    assert!(
        utc.lines().nth(1).unwrap().contains('Z') && !local.lines().nth(1).unwrap().contains('Z'),
        "{local}{utc}"
    );
}

#[test]
fn machines_come_from_a_file_all_or_none_and_get_their_tokens_at_once() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("machines.csv");
    let from = |arguments: &[&str]| {
        let file = file.to_str().unwrap().to_owned();
        world.admin.verb(&[&["machine", "add", "--from", &file], arguments].concat()).output().unwrap()
    };
    fs::write(&file, "name,pools\nweb1,web\nweb 2,web\nweb1,db\nweb3,d/b\n").unwrap();
    let refused = from(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("machines.csv:3: ") && said.contains("machines.csv:5: "), "{said}");
    assert!(said.contains("nothing was added"), "{said}");
    assert_eq!(world.admin.json(&["machine", "list"]).as_array().unwrap().len(), 0);
    fs::write(&file, "name,pools\nweb1,web\nweb2,web\nweb2,db\n").unwrap();
    assert!(
        String::from_utf8_lossy(&from(&[]).stderr).contains("machines.csv:4: web2 is named twice, in line 3")
    );
    fs::write(&file, "name,pools\nweb1,web\nweb2,web db\n").unwrap();
    assert_eq!(from(&["--dry-run"]).status.code(), Some(2));
    assert_eq!(world.admin.json(&["machine", "list"]).as_array().unwrap().len(), 0);
    assert_eq!(from(&[]).status.code(), Some(0));
    assert_eq!(from(&[]).status.code(), Some(1), "they are entered already");
    world.admin.run(&["machine", "add", "db1", "db2", "--pool", "db"]);
    let tokens =
        world.admin.verb(&["machine", "join-token", "--pool", "db", "--expires", "24h"]).output().unwrap();
    let names: Vec<_> = String::from_utf8_lossy(&tokens.stdout)
        .lines()
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["db1", "db2", "web2"]);
    assert!(String::from_utf8_lossy(&tokens.stderr).contains("3 tokens, each for one machine"), "{tokens:?}");
    assert!(world.admin.try_run(&["machine", "join-token", "--never-joined", "--expires", "8d"]).is_err());
}

#[test]
fn a_renamed_machine_keeps_its_credential_and_its_history() {
    let world = World::new();
    let machine = world.machine().start();
    let old = world.admin.json(&["machine", "list"])[0]["name"].as_str().unwrap().to_owned();
    world.admin.run(&["machine", "rename", &old, "gateway"]);
    let login = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert_eq!(login.wait().code, 0);
    assert_eq!(world.admin.login(&id)["machine"], "gateway");
    let renamed = world.admin.json(&["audit", "search", "--kind", "machine.renamed"]);
    assert_eq!(
        (&renamed[0]["detail"]["before"], &renamed[0]["detail"]["after"]),
        (&old.into(), &"gateway".into())
    );
    world.admin.run(&["machine", "add", "other"]);
    world.server.append("[[policy.rule]]\nmachines = [\"third\"]\nwindow = \"30s\"\n");
    let would = world.admin.dry_run(&["machine", "rename", "other", "third"]);
    assert!(would.contains("name third, and begin to apply to it"), "{would}");
    world.admin.run(&["machine", "rename", "other", "third", "--yes"]);
    let would = world.admin.dry_run(&["machine", "rename", "third", "other"]);
    assert!(would.contains("name third, and no longer apply to it"), "{would}");
    world.admin.run(&["machine", "rename", "third", "other", "--yes"]);
    assert!(world.admin.try_run(&["machine", "rename", "other", "gateway"]).unwrap_err().contains("already"));
}

#[test]
fn scripts_get_json_errors_and_exit_codes_that_mean_one_thing() {
    let world = World::new();
    let run = |arguments: &[&str]| world.admin.verb(arguments).output().unwrap();
    let failed = run(&["machine", "show", "nowhere", "--json"]);
    let error: Value = serde_json::from_slice(&failed.stderr).unwrap();
    assert_eq!((failed.status.code(), &error["error"]), (Some(1), &"there is no machine nowhere".into()));
    let misused = run(&["login", "list", "--no-such", "--json"]);
    assert_eq!(misused.status.code(), Some(64), "{misused:?}");
    assert!(serde_json::from_slice::<Value>(&misused.stderr).unwrap()["error"].is_string());
    assert_eq!(run(&["login", "frobnicate"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    world.admin.run(&["machine", "add", "web1"]);
    let would = run(&["machine", "remove", "web1", "--json"]);
    assert_eq!(would.status.code(), Some(2));
    assert!(serde_json::from_slice::<Value>(&would.stdout).unwrap()["would"].is_string());
    let near = run(&["audit", "search", "--kind", "login.aproved"]);
    assert!(String::from_utf8_lossy(&near.stderr).contains("did you mean login.approved?"), "{near:?}");
}

#[test]
fn who_suspends_somebody_sees_which_sessions_are_still_open() {
    let world = World::new();
    let machine = world.machine().reporting().start();
    let alice = ["employee", "add", "alice@example.org", "--name", "Alice", "--unix-name", "alice"];
    world.admin.run(&alice);
    let login = machine.ssh("alice", &[STAY]);
    world.admin.approve(&world.admin.pending());
    heard(&world, &machine, "the session", || sessions_of(&world, "alice").pop());
    let said = world.admin.run(&["employee", "suspend", "alice@example.org"]);
    assert!(said.contains("still open") && said.contains("alice"), "{said}");
    login.kill();
}

#[test]
fn a_log_line_has_a_level_in_words_at_a_terminal_and_a_number_for_journald() {
    let world = World::new();
    world.server.stop();
    let mut serve = program(built::server());
    serve.args(["serve", "--config"]).arg(&world.server.config);
    let terminal = Terminal::start(serve);
    terminal.until("kbmfa-server: info: serving on");
    assert!(!terminal.screen().contains("<6>"), "{}", terminal.screen());
    assert!(world.server.log().contains("<6>kbmfa_server"), "{}", world.server.log());
}
