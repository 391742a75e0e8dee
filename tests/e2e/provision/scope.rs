//! Machines that are down, that leave, or that somebody may use no longer.

use kbmfa_tests::delivery::{
    self, KEYS, REVOKED, Sudo, deliver, dora, gets_in, is_refused, status, until_state,
};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::FREE;
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;
use serde_json::Value;

#[test]
fn a_machine_that_is_down_during_a_revocation_loses_the_key_when_it_is_back() {
    let world = World::new();
    let (one, other) =
        (delivery::machine(&world, Sudo::Free, KEYS), delivery::machine(&world, Sudo::Free, KEYS));
    let key = dora(&world, &[&one, &other]);
    deliver(&world, &[&one, &other], "system");
    gets_in(&one);
    // SIGSTOP: the port accepts, and nobody answers.
    let sshd = one.processes()[0].to_string();
    kbmfa_tests::process::run(kbmfa_tests::process::program("kill").args(["-STOP", &sshd]));
    world.admin.run(&["key", "revoke", &key, "--lost", "--yes"]);
    until_state(&world, "web2", "confirmed");
    let row = status(&world, "web1");
    assert_eq!(row["revocation_unconfirmed"], true, "{row}");
    let shown = world.admin.run(&["provision", "status"]);
    assert!(shown.contains("1 of 2 machines have not confirmed a revocation"), "{shown}");
    kbmfa_tests::process::run(kbmfa_tests::process::program("kill").args(["-CONT", &sshd]));
    let mut last = Value::Null;
    let confirmed = kbmfa_tests::wait::until_within(std::time::Duration::from_secs(120), || {
        last = status(&world, "web1");
        (last["state"] == "confirmed" && last["revocation_unconfirmed"] == false).then_some(())
    });
    assert!(confirmed.is_some(), "{last}");
    is_refused(&one);
}

#[test]
fn a_machine_that_leaves_is_cleaned_before_it_is_forgotten() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    let preview = world.admin.dry_run(&["provision", "disable", "web1"]);
    assert!(preview.contains("take the keys away: dora"), "{preview}");
    world.admin.run(&["provision", "disable", "web1", "--yes"]);
    until("the machine to be forgotten", || status(&world, "web1").is_null().then_some(()));
    assert!(!machine.path("/etc/ssh/kbmfa/keys/dora").exists());
    is_refused(&machine);
    assert_eq!(world.admin.count(["delivery.enabled", "delivery.disabled", "delivery.ended"]), [1, 1, 1]);
}

#[test]
fn where_somebody_may_go_no_longer_everything_of_theirs_is_taken_away() {
    let world = World::new();
    let machines = [(); 2].map(|()| delivery::machine(&world, Sudo::Free, KEYS));
    let [web, other] = &machines;
    dora(&world, &[web, other]);
    deliver(&world, &[web, other], "system");
    let confirmed = || ["web1", "web2"].map(|name| until_state(&world, name, "confirmed"));
    let is_gone = |machine: &Machine| {
        is_refused(machine);
        assert!(!machine.path("/etc/ssh/kbmfa/keys/dora").exists());
        let entry = machine.exec(&["getent", "shadow", "dora"]);
        assert!(entry.starts_with("dora:!") && entry.trim_end().split(':').nth(7) == Some("1"), "{entry}");
        assert!(machine.path("/home/dora").is_dir());
    };
    // The machine leaves the pool, and comes back.
    let session = web.ssh("dora", &["echo in; exec sleep 600"]);
    until("the session", || (session.stdout() == "in\n").then_some(()));
    world.admin.run(&["pool", "remove", "web", "--machine", "web1", "--yes"]);
    confirmed();
    assert_ne!(session.wait().code, 0, "the session goes on");
    is_gone(web);
    gets_in(other);
    world.admin.run(&["pool", "add", "web", "--machine", "web1"]);
    confirmed();
    gets_in(web);
    // The grant is removed.
    world.admin.run(&["grant", "remove", "dora@example.com", "web", "--yes"]);
    confirmed();
    machines.iter().for_each(is_gone);
    world.admin.run(&["grant", "add", "dora@example.com", "web"]);
    confirmed();
    machines.iter().for_each(gets_in);
    // The pool is removed.
    world.admin.run(&["pool", "remove", "web", "--yes"]);
    confirmed();
    machines.iter().for_each(is_gone);
}

#[test]
fn a_grant_ends_on_time_without_the_server_and_a_wrong_clock_confuses_nothing_else() {
    const HOUR: i64 = 3600;
    let world = World::new();
    let lines = format!("{KEYS}{REVOKED}");
    let builder = world.machine().pam_stack(FREE).sshd_lines(&lines).own_clock();
    let machine = delivery::machine_from(&world, builder, Sudo::Free);
    machine.set_clock(-400 * 24 * HOUR);
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    gets_in(&machine);
    // The clock of the machine is right again, and the grant has an end.
    machine.set_clock(0);
    world.admin.run(&["grant", "remove", "dora@example.com", "web", "--yes"]);
    world.admin.run(&["grant", "add", "dora@example.com", "web", "--until", "1h"]);
    until_state(&world, "web1", "confirmed");
    gets_in(&machine);
    world.server.stop();
    machine.set_clock(HOUR - 60);
    gets_in(&machine);
    machine.set_clock(HOUR + 60);
    is_refused(&machine);
    // Where the clock is wrong, the grant goes on at the server, and so does everything else.
    world.server.start();
    world.admin.run(&["grant", "extend", "dora@example.com", "web", "--no-end"]);
    machine.set_clock(400 * 24 * HOUR);
    until_state(&world, "web1", "confirmed");
    gets_in(&machine);
    let checked = world.admin.run(&["machine", "check", "web1"]);
    assert!(checked.contains("web1: as it should be"), "{checked}");
    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until_state(&world, "web1", "confirmed");
    is_refused(&machine);
}
