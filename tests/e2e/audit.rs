//! The audit log with real programs: many writers at once, all events of a login, files that anybody can
//! verify, and archived events.

use kbmfa_tests::process::brief;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;
use std::thread;

use crate::story::LET_IN;

#[test]
fn the_server_and_many_commands_write_one_chain_with_an_event_for_each_change() {
    let world = World::new();
    let machine = world.machine().start();
    let logins: Vec<_> = (0..3).map(|_| machine.ssh("alice", &["true"])).collect();
    let waiting = world.admin.pending_logins(3);
    thread::scope(|scope| {
        let admin = &world.admin;
        for writer in 0..4 {
            scope.spawn(move || {
                for n in 0..5 {
                    admin.run(&["machine", "add", &format!("m{writer}-{n}"), "--pool", "all"]);
                }
            });
        }
        for (id, _) in &waiting {
            scope.spawn(move || admin.approve(id));
        }
    });
    for login in logins {
        assert_eq!(login.wait().code, 0);
    }
    for (id, _) in &waiting {
        world.admin.assert_story(id, &LET_IN);
    }
    let events = world.admin.audit();
    let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!((count("pool.added"), count("pool.machine-added"), count("machine.added")), (1, 20, 21));
    let numbers: Vec<_> = events.iter().map(|event| event.entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_login_is_shown_with_its_whole_story() {
    let world = World::new();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    world.admin.deny_because(&id, "not on a Sunday");
    login.wait();
    let shown = world.admin.login(&id);
    assert_eq!(shown["state"], "denied");
    let story: Vec<_> = shown["story"].as_array().unwrap().iter().collect();
    let kinds: Vec<_> = story.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["login.opened", "ask.posted", "answer.given", "login.denied"]);
    let after: Vec<_> = story.iter().map(|event| event["after_ms"].as_u64().unwrap()).collect();
    assert!(after[0] == 0 && after.is_sorted(), "{after:?}");
    let printed = world.admin.run(&["login", "show", &id[..8]]);
    for part in ["alice", "web1", "denied by console:", "not on a Sunday", "login.opened", &id] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
}

#[test]
fn an_export_is_verified_by_anybody_and_by_hand() {
    let world = World::new();
    world.admin.run(&["machine", "add", "web9", "--pool", "web"]);
    let file = world.server.state_dir.join("export.jsonl");
    let file = file.to_str().unwrap();
    world.admin.run(&["audit", "export", file]);
    assert!(world.admin.try_run(&["audit", "export", file]).is_err(), "it must not replace a file");
    assert!(world.admin.run(&["audit", "verify", "--file", file]).contains("untouched"));
    let script = include_str!("../../docs/audit.md").split("```python\n").nth(1).unwrap();
    let by_hand = || {
        let script = script.split("```").next().unwrap();
        let output = brief("python3").args(["-c", script, file]).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let head = world.admin.json(&["audit", "verify", "--file", file])["seal"].as_str().unwrap().to_owned();
    assert!(by_hand().contains(&head), "{}", by_hand());
    fs::write(file, fs::read_to_string(file).unwrap().replace("web9", "web8")).unwrap();
    let refused = world.admin.try_run(&["audit", "verify", "--file", file]).unwrap_err();
    assert!(refused.contains("was edited after it was sealed"), "{refused}");
    assert!(by_hand().contains("broken"), "{}", by_hand());
    let csv = world.admin.run(&["audit", "export", "--format", "csv"]);
    assert!(csv.starts_with("seq,time,kind,") && csv.contains(",machine.added,console:"), "{csv}");
}

#[test]
fn an_archive_takes_old_events_away_but_none_of_a_login_that_waits() {
    let world = World::new();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["true"]);
    let id = world.admin.pending();
    let file = |name: &str| world.server.state_dir.join(name).to_str().unwrap().to_owned();
    let (first, second) = (file("1.jsonl"), file("2.jsonl"));
    let archive = |file: &str| world.admin.json(&["audit", "archive", "--before", "0s", file, "--yes"]);
    let before = world.admin.audit().len() as u64;
    assert!(world.admin.dry_run(&["audit", "archive", "--before", "0s", &first]).contains("would archive"));
    assert_eq!(world.admin.audit().len() as u64, before);
    assert!(archive(&first)["events"].as_u64().unwrap() < before);
    assert_eq!(world.admin.story(&id)[0], "login.opened");
    world.admin.approve(&id);
    assert_eq!(login.wait().code, 0);
    world.admin.assert_story(&id, &LET_IN);
    archive(&second);
    assert_eq!(world.admin.login(&id)["story"], Value::Array(Vec::new()));
    let left: Vec<_> = world.admin.audit().into_iter().map(|event| event.kind).collect();
    assert_eq!(left, ["audit.archived"]);
    assert!(world.admin.run(&["audit", "verify"]).contains("untouched"));
    let whole = world.admin.json(&["audit", "verify", "--with", &first, "--with", &second]);
    assert_eq!(whole["first"], 1);
    fs::write(&first, fs::read_to_string(&first).unwrap().replace("\"seq\":1,", "\"seq\":1, ")).unwrap();
    let refused = world.admin.try_run(&["audit", "verify", "--with", &first, "--with", &second]);
    assert!(refused.unwrap_err().contains("that was changed"));
}
