//! What `doctor` sees of the way to Keybase.

use insta::assert_snapshot;
use kbmfa_tests::chat::{BOT, ChatWorld};
use keybase_double::{FaultKind, Role};
use serde_json::Value;

/// Each finding: level, what, and the fix if there is one.
fn told(findings: &Value) -> String {
    let line = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or("-").to_owned();
        format!("{} {}\n", text("level"), text("what"))
    };
    findings["findings"].as_array().unwrap().iter().map(line).collect()
}

fn complaint(world: &ChatWorld) -> String {
    world.admin.try_run(&["doctor"]).unwrap_err()
}

#[test]
fn the_whole_way_is_looked_at_and_all_of_it_is_well() {
    let world = ChatWorld::new();
    let found = world.admin.json(&["doctor"]);
    assert_eq!(found["ok"], true);
    assert_snapshot!(told(&found), @r"
    ok configuration
    weak approvers
    ok server certificate
    ok ca certificate
    ok disk
    ok database
    ok machines
    ok server
    ok relay
    ok keybase: program
    ok keybase: login
    ok keybase: acme#sudo
    ok keybase: message
    ");
    let shown = world.admin.run(&["doctor"]);
    assert!(shown.contains("-> set approvers = \"not-self\""), "{shown}");
}

#[test]
fn each_fault_names_its_fix() {
    let world = ChatWorld::new();
    for user in ["bob", "dave"] {
        world.chat.set_member("acme", user, Role::Reader).unwrap();
    }
    assert!(world.admin.run(&["doctor"]).contains("one person may answer"));
    world.chat.set_standing("acme", "alice", Role::Owner, 0, true).unwrap();
    assert!(complaint(&world).contains("nobody in acme may answer"));
    world.chat.set_member("acme", BOT, Role::Reader).unwrap();
    assert!(complaint(&world).contains("`keybase team add-member acme --user sshbot --role bot`"));
    world.chat.fault(FaultKind::Offline).unwrap();
    assert!(complaint(&world).contains("no connection"));
    world.server.stop();
    let stopped = complaint(&world);
    assert!(stopped.contains("server: none runs on this state"), "{stopped}");
    assert!(stopped.contains("a service of our own runs while kbmfa-server does"), "{stopped}");
    world.server.set("relay.keybase", "program", "\"/nowhere/keybase\"");
    assert!(complaint(&world).contains("install Keybase, or set [relay.keybase] program"));
}
