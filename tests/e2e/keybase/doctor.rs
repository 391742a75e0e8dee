//! What `doctor` and `check` find about Keybase, with and without a running server.

use insta::assert_snapshot;
use kbmfa_tests::chat::{BOT, ChatWorld};
use kbmfa_tests::wait::until;
use keybase_double::{FaultKind, Role};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

/// Each finding as its level and what was checked.
fn told(findings: &Value) -> String {
    let line = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or("-").to_owned();
        format!("{} {}\n", text("level"), text("what"))
    };
    findings["findings"].as_array().unwrap().iter().map(line).collect()
}

/// Each fault with its fix, as `doctor` finds it.
fn faults(world: &ChatWorld) -> String {
    let found = world.admin.json_of_failure(&["doctor"]);
    let faults = found["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "fault");
    let line = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or("-").to_owned();
        format!("{}: {} -> {}\n", text("what"), text("found"), text("fix"))
    };
    faults.map(line).collect()
}

fn down() -> ChatWorld {
    ChatWorld::down("team = \"acme\"\nchannel = \"sudo\"\n", "")
}

#[test]
fn the_whole_way_is_looked_at_and_all_of_it_is_well() {
    let world = ChatWorld::new();
    let found = world.admin.json(&["doctor"]);
    assert_eq!(found["ok"], true);
    assert_snapshot!(told(&found), @r"
    ok configuration
    weak approvers
    ok account
    ok files
    ok server certificate
    ok ca certificate
    ok disk
    ok database
    ok machines
    ok keybase: program
    ok keybase: login
    ok keybase: acme#sudo
    ok keybase: message
    ok server
    ok relay
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
    world.chat.set_member_status("acme", "alice", Role::Owner, 0, true).unwrap();
    assert!(faults(&world).contains("nobody in acme may answer"));
    world.chat.set_member("acme", BOT, Role::Reader).unwrap();
    assert!(faults(&world).contains("`keybase team edit-member acme --user sshbot --role bot`"));
    world.chat.fault(FaultKind::Offline).unwrap();
    assert!(faults(&world).contains("no connection"));
    world.server.stop();
    world.server.set("relay.keybase", "program", "\"/nowhere/keybase\"");
    assert!(faults(&world).contains("install Keybase's package, or set [relay.keybase] program"));
}

#[test]
fn the_bot_is_not_counted_among_those_who_may_answer() {
    let world = ChatWorld::new();
    world.chat.set_member("acme", BOT, Role::Writer).unwrap();
    for user in ["bob", "dave"] {
        world.chat.remove_member("acme", user).unwrap();
    }
    assert!(world.admin.run(&["doctor"]).contains("one person may answer"), "alice alone");
}

/// Checks that the server refuses to start and names this fault, and that `doctor`, without a server, finds
/// the same fault with one fix.
fn refuses_and_doctor_knows_why(world: &ChatWorld, found: &str, fix: &str) {
    let complaint = world.server.start_in_vain();
    assert!(complaint.contains(&format!("error: {found}")), "{complaint}");
    assert!(complaint.contains(&format!("hint: {fix}")), "{complaint}");
    let faults = faults(world);
    assert!(faults.contains(&format!("{found} -> {fix}")), "{faults}");
    assert_eq!(faults.matches(found).count(), 1, "each fault once: {faults}");
    assert!(faults.contains("server: none runs on this state -> fix the faults listed above"), "{faults}");
}

#[test]
fn doctor_and_the_servers_log_say_alike_what_keeps_it_from_starting_and_the_fix() {
    let world = down();
    world.chat.set_member("acme", BOT, Role::Reader).unwrap();
    let edit = "`keybase team edit-member acme --user sshbot --role bot`";
    refuses_and_doctor_knows_why(&world, "sshbot is a reader in acme, and may not write there", edit);
    world.chat.set_member("acme", BOT, Role::RestrictedBot).unwrap();
    refuses_and_doctor_knows_why(
        &world,
        "sshbot is a restricted bot in acme, and cannot see who answers",
        edit,
    );
    world.chat.set_member("acme", BOT, Role::Bot).unwrap();
    world.chat.set_open("acme", true).unwrap();
    refuses_and_doctor_knows_why(
        &world,
        "team acme is open, so that anybody can join it and answer",
        "close it (`keybase team settings acme --open-team=off`)",
    );
    world.chat.set_open("acme", false).unwrap();
    world.server.set("relay.keybase", "channel", "\"suod\"");
    refuses_and_doctor_knows_why(
        &world,
        "team acme has no channel suod, and an ask would create it",
        "`keybase chat create-channel acme suod`",
    );
    world.server.set("relay.keybase", "channel", "\"sudo\"");
    world.chat.remove_member("acme", BOT).unwrap();
    let faults = faults(&world);
    assert!(faults.contains("keybase team add-member acme --user sshbot --role bot"), "{faults}");
    world.chat.set_member("acme", BOT, Role::Bot).unwrap();
    world.server.start();
}

#[test]
fn a_paper_key_that_is_wrong_or_unreadable_stops_the_server_and_doctor_says_so() {
    let world = down();
    let right = fs::read_to_string(world.chat.paperkey_file()).unwrap();
    fs::write(world.chat.paperkey_file(), world.chat.add_user("otherbot").unwrap().paper_key).unwrap();
    refuses_and_doctor_knows_why(
        &world,
        "the paper key is not one of sshbot's: the keybase service ended (exit status: 2): No device found no device \
         found for paper key",
        "make a new paper key as sshbot (`keybase paperkey`)",
    );
    fs::write(world.chat.paperkey_file(), right).unwrap();
    chown(world.chat.paperkey_file(), Some(0), Some(0)).unwrap();
    let file = world.chat.paperkey_file().display().to_string();
    let unreadable = format!("{file}: Permission denied (os error 13)");
    refuses_and_doctor_knows_why(&world, &unreadable, &format!("`chown nobody {file} && chmod 600 {file}`"));
    let checked = world.admin.try_run(&["check"]).unwrap_err();
    assert!(checked.contains(&unreadable) && checked.contains("hint: `chown nobody"), "{checked}");
    fs::set_permissions(world.chat.paperkey_file(), fs::Permissions::from_mode(0o644)).unwrap();
    let checked = world.admin.try_run(&["check"]).unwrap_err();
    assert!(checked.contains("others could read it") && checked.contains("hint: chmod o-rwx"), "{checked}");
}

#[test]
fn doctor_without_a_server_starts_its_own_service_and_leaves_none_behind() {
    let world = down();
    let found = world.admin.json_of_failure(&["doctor"]);
    assert_snapshot!(told(&found), @r"
    ok configuration
    weak approvers
    ok account
    ok files
    ok server certificate
    ok ca certificate
    ok disk
    ok database
    ok machines
    ok keybase: program
    ok keybase: login
    ok keybase: acme#sudo
    ok keybase: message
    fault server
    ");
    until("the service to be gone", || world.chat.services().unwrap().is_empty().then_some(()));
    world.server.start();
}

#[test]
fn doctor_disturbs_no_server_that_runs() {
    let world = ChatWorld::new();
    let before = world.chat.stats().unwrap();
    world.admin.run(&["doctor"]);
    let after = world.chat.stats().unwrap();
    assert_eq!(before.programs.get("service"), after.programs.get("service"), "no second service");
    world.server.wait_for_status("/readyz", "HTTP/1.1 200");
}

#[test]
fn a_database_that_root_owns_is_given_back_and_not_made_anew() {
    let world = down();
    let file = world.server.state_dir.join("kbmfa.db");
    chown(&file, Some(0), Some(0)).unwrap();
    let fix = format!("`chown nobody: {0} && chmod 600 {0}`; do not create it again", file.display());
    let faults = faults(&world);
    assert!(faults.contains(&fix) && !faults.contains("init"), "{faults}");
    for complaint in [
        world.admin.try_run(&["check"]).unwrap_err(),
        world.admin.try_run(&["login", "list"]).unwrap_err(),
        world.server.start_in_vain(),
    ] {
        assert!(complaint.contains(&fix) && !complaint.contains("init"), "{complaint}");
    }
    chown(&file, Some(65534), Some(65534)).unwrap();
    world.server.start();
}

#[test]
fn what_only_root_can_read_is_a_fault_although_root_runs_doctor() {
    let world = down();
    chown(&world.server.config, Some(0), Some(0)).unwrap();
    fs::set_permissions(&world.server.config, fs::Permissions::from_mode(0o600)).unwrap();
    let faults = faults(&world);
    assert!(faults.contains("account: nobody cannot use the configuration"), "{faults}");
    assert!(faults.contains("chmod 640"), "{faults}");
    assert!(world.admin.try_run(&["check"]).unwrap_err().contains("chmod 640"));
}

#[test]
fn readyz_and_doctor_agree_while_keybase_is_down() {
    let world = ChatWorld::new();
    world.chat.fault(FaultKind::Offline).unwrap();
    world.server.wait_for_status("/readyz", "the relay keybase does not reach people");
    let found = world.admin.json_of_failure(&["doctor"]);
    assert_eq!(found["ok"], false);
    let told = told(&found);
    assert!(told.contains("weak server") && !told.contains("ok relay"), "{told}");
    world.chat.clear_faults().unwrap();
    world.server.wait_for_status("/readyz", "HTTP/1.1 200");
    assert_eq!(world.admin.json(&["doctor"])["ok"], true);
}
