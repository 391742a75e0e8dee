//! People, pools and grants on the command line, and what they mean for a real login.

use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::terminal::COLUMNS;
use kbmfa_tests::world::World;
use std::fs;

use crate::terminal::bare;

const ALICE: [&str; 7] =
    ["employee", "add", "alice@example.com", "--name", "Alice Liddell", "--unix-name", "alice"];

/// Alice logs in and is refused at once, because she has no grant.
fn is_refused(world: &World, machine: &Machine) {
    let finished = machine.ssh("alice", &["echo", "in"]).wait();
    assert!(finished.code != 0 && finished.stdout.is_empty(), "{finished:?}");
    let refused = world.admin.logins(&["--state", "denied"]);
    let id = &refused.first().unwrap().0;
    assert_eq!(world.admin.login(id)["reason"], "no-grant");
}

#[test]
fn an_employee_without_a_grant_is_refused_in_every_phase() {
    for phase in [Phase::Account, Phase::Auth, Phase::Session] {
        let world = World::with(&[("policy", "require_grant", "true")]);
        let machine = world.machine().phase(phase).start();
        world.admin.run(&ALICE);
        is_refused(&world, &machine);
        world.admin.run(&["pool", "add", "web", "--machine", "web1", "--employee", "alice@example.com"]);
        let login = machine.ssh("alice", &["echo", "in"]);
        world.admin.approve(&world.admin.pending());
        let finished = login.wait();
        assert_eq!((finished.stdout.as_str(), finished.code), ("in\n", 0), "{phase:?}: {}", finished.stderr);
        let waiting = machine.ssh("alice", &["echo", "in"]);
        let id = world.admin.pending();
        world.admin.run(&["grant", "remove", "alice@example.com", "web", "--yes"]);
        assert!(waiting.wait().code != 0);
        assert_eq!(world.admin.login(&id)["reason"], "no-grant");
        machine.assert_nothing_left();
    }
}

#[test]
fn policy_explain_says_that_a_grant_is_missing() {
    let world = World::with(&[("policy", "require_grant", "true")]);
    world.admin.run(&["machine", "add", "web9", "--pool", "web"]);
    world.admin.run(&ALICE);
    let explain = ["policy", "explain", "--user", "alice", "--machine", "web9"];
    let said = world.admin.run(&explain);
    assert!(said.contains("they have no live grant") && said.contains("refuse (no-grant)"), "{said}");
    world.admin.run(&["grant", "add", "alice@example.com", "web"]);
    let said = world.admin.run(&explain);
    assert!(said.contains("they have a live grant") && said.contains("verdict: ask"), "{said}");
}

#[test]
fn a_person_is_added_with_pools_and_a_uid_and_shown_with_their_ways() {
    let world = World::new();
    world.admin.run(&["machine", "add", "db1", "db2", "--pool", "db"]);
    let added = world.admin.run(&[&ALICE[..], &["--pool", "db"]].concat());
    assert_eq!(added.trim(), "employee alice@example.com was added: alice, uid 20000, granted db");
    world.admin.run(&["pool", "add", "web", "--label", "Web servers", "--machine", "db2"]);
    world.admin.run(&["grant", "add", "alice@example.com", "web", "--sudo", "ops", "--until", "2099-12-31"]);
    let shown = world.admin.run(&["--utc", "employee", "show", "alice@example.com"]);
    for part in ["uid: 20000", "db", "2100-01-01", "ops", "live"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let of: serde_json::Value =
        serde_json::from_str(&world.admin.run(&["--json", "access", "of", "alice@example.com"])).unwrap();
    let way = |way: &serde_json::Value| format!("{} {}", way["machine"], way["pool"]).replace('"', "");
    let ways: Vec<_> = of["access"].as_array().unwrap().iter().map(way).collect();
    assert_eq!(ways, ["db1 db", "db2 db", "db2 web"]);
    let who = world.admin.run(&["access", "who", "db2"]);
    assert!(who.contains("alice@example.com") && who.contains("no key yet"), "{who}");
}

#[test]
fn unknown_names_are_answered_with_the_near_ones() {
    let world = World::new();
    world.admin.run(&ALICE);
    world.admin.run(&["machine", "add", "web1", "--pool", "web"]);
    let fails = |args: &[&str], expected: &str| {
        let said = world.admin.try_run(args).unwrap_err();
        assert!(said.contains(expected), "{args:?}: {said}");
    };
    fails(&["pool", "show", "wbe"], "there is no pool wbe; did you mean web?");
    fails(&["grant", "add", "alcie@example.com", "web"], "did you mean alice@example.com?");
    fails(&["grant", "add", "alice@example.com", "wob"], "did you mean web?");
    fails(&["access", "who", "web2"], "there is no machine web2; did you mean web1?");
    fails(&["grant", "remove", "alice@example.com", "web"], "has no grant to pool web");
    fails(&["grant", "add", "alice@example.com", "web", "--until", "2020-01-01"], "is past already");
    fails(&["employee", "add", "r@x", "--name", "R", "--unix-name", "root"], "an account of the system");
}

#[test]
fn what_is_removed_says_what_goes_with_it_and_asks() {
    let world = World::new();
    world.server.append("[[policy.rule]]\npools = [\"web\"]\nwindow = \"30s\"\n");
    world.admin.run(&["machine", "add", "web9"]);
    world.admin.run(&ALICE);
    world.admin.run(&["pool", "add", "web", "--machine", "web9", "--employee", "alice@example.com"]);
    let would = world.admin.dry_run(&["pool", "remove", "web"]);
    for part in ["the grants of alice@example.com", "web9", "the rules on line"] {
        assert!(would.contains(part), "{would}");
    }
    let would = world.admin.dry_run(&["employee", "remove", "alice@example.com"]);
    assert!(would.contains("grants to web go with it"), "{would}");
    world.server.append("[[policy.rule]]\npools = [\"front\"]\nwindow = \"40s\"\n");
    let would = world.admin.dry_run(&["pool", "rename", "web", "front"]);
    for part in ["name web, and no longer apply to it", "name front, and begin to apply to it"] {
        assert!(would.contains(part), "{part}: {would}");
    }
    assert!(world.admin.run(&["pool", "list"]).contains("web"), "nothing was renamed");
    let renamed = world.admin.run(&["pool", "rename", "web", "front", "--yes"]);
    assert!(renamed.contains("still name web"), "{renamed}");
    world.admin.run(&["pool", "rename", "front", "plain", "--yes"]);
    world.admin.run(&["pool", "rename", "plain", "other"]);
    world.admin.run(&["pool", "rename", "other", "front", "--yes"]);
    assert!(world.admin.run(&["grant", "list"]).contains("front"));
    world.admin.run(&["employee", "remove", "alice@example.com", "--yes"]);
    assert!(!world.admin.run(&["grant", "list"]).contains("alice"));
    world.admin.run(&["pool", "remove", "front", "--yes"]);
    assert!(world.admin.try_run(&["pool", "show", "front"]).is_err());
}

#[test]
fn a_file_of_employees_is_added_whole_or_not_at_all() {
    let world = World::new();
    world.admin.run(&["machine", "add", "web9", "--pool", "web"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("people.csv");
    let path = file.display().to_string();
    fs::write(
        &file,
        "email,name,unix_name,pools\na@x.y,Ann,ann,web\nb@x.y,Ben,BEN,\nc@x.y,Cat,cat,wbe\na@x.y,A,ab,\n",
    )
    .unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let said = world.admin.try_run(&[&["employee", "add", "--from", &path], more].concat()).unwrap_err();
        for part in [
            ":3: Unix name \"BEN\"",
            ":4: there is no pool wbe; did you mean web?",
            ":5: ",
            "nothing was added",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!world.admin.run(&["employee", "list"]).contains("a@x.y"));
    }
    fs::write(&file, "email,name,unix_name,pools\na@x.y,Ann,ann,web\nb@x.y,Ben,ben,\n").unwrap();
    let would = world.admin.dry_run(&["employee", "add", "--from", &path, "--dry-run"]);
    assert!(would.contains("a@x.y (ann, uid 20000), b@x.y (ben, uid 20001)"), "{would}");
    world.admin.run(&["employee", "add", "--from", &path]);
    assert!(world.admin.run(&["grant", "list", "--pool", "web"]).contains("a@x.y"));
}

#[test]
fn a_restored_backup_gives_neither_a_uid_nor_a_unix_name_to_a_second_person() {
    let world = World::new();
    world.admin.run(&ALICE);
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("backup.db").display().to_string();
    world.admin.run(&["backup", &backup]);
    let bob = ["employee", "add", "bob@example.com", "--name", "Bob", "--unix-name", "bob"];
    assert!(world.admin.run(&bob).contains("uid 20001"));
    world.server.stop();
    world.admin.run(&["restore", &backup, "--yes"]);
    world.admin.run(&["restore", "--confirm"]);
    let carol = ["employee", "add", "carol@example.com", "--name", "Carol", "--unix-name", "carol"];
    assert!(world.admin.run(&carol).contains("uid 20002"), "bob's files may be on a machine");
    let eve = ["employee", "add", "eve@example.com", "--name", "Eve", "--unix-name", "bob"];
    let refused = world.admin.try_run(&eve).unwrap_err();
    assert!(refused.contains("bob is or was the account of bob@example.com"), "{refused}");
    assert!(world.admin.run(&bob).contains("uid 20001"), "the same person gets the same uid");
}

#[test]
fn each_table_of_the_roster_fits_a_terminal() {
    let world = World::new();
    let (machine, pool) = ("m".repeat(60), "p".repeat(60));
    let email = format!("{}@example.com", "a".repeat(60));
    world.admin.run(&["machine", "add", &machine, "--pool", &pool]);
    world.admin.run(&["pool", "set", &pool, "--label", &"label ".repeat(20)]);
    world.admin.run(&[
        "employee",
        "add",
        &email,
        "--name",
        &"Ann ".repeat(30),
        "--unix-name",
        &"n".repeat(32),
    ]);
    world.admin.run(&["grant", "add", &email, &pool, "--sudo", &"s".repeat(32), "--until", "2099-12-31"]);
    let verbs: [&[&str]; 7] = [
        &["employee", "list"],
        &["employee", "show", &email],
        &["pool", "list"],
        &["pool", "show", &pool],
        &["grant", "list"],
        &["access", "who", &machine],
        &["access", "of", &email],
    ];
    for verb in verbs {
        let (code, screen) = world.admin.at_terminal(verb).end();
        assert_eq!(code, Some(0), "{verb:?}: {screen}");
        for line in screen.lines().map(bare).filter(|line| !line.starts_with("note: ")) {
            assert!(line.chars().count() <= usize::from(COLUMNS), "{verb:?}: {line:?}");
        }
    }
}

#[test]
fn a_restore_says_which_grants_and_employees_come_back() {
    let world = World::new();
    world.admin.run(&["machine", "add", "web9", "--pool", "web"]);
    world.admin.run(&[&ALICE[..], &["--pool", "web"]].concat());
    let bob = ["employee", "add", "bob@example.com", "--name", "Bob", "--unix-name", "bob", "--pool", "web"];
    world.admin.run(&bob);
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("backup.db").display().to_string();
    world.admin.run(&["backup", &backup]);
    world.admin.run(&["grant", "remove", "alice@example.com", "web", "--yes"]);
    world.admin.run(&["employee", "remove", "bob@example.com", "--yes"]);
    let would = world.admin.dry_run(&["restore", &backup]);
    let back: Vec<&str> = would.lines().filter(|line| line.starts_with("comes back")).collect();
    for part in ["alice@example.com to web", "bob@example.com to web", "bob@example.com, active"] {
        assert!(back.iter().any(|line| line.contains(part)), "{part}: {would}");
    }
}
