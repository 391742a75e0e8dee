//! Machines that are down, that leave, or that somebody may use no longer.

use kbmfa_tests::delivery::{self, KEYS, Sudo, deliver, dora, gets_in, is_refused, status, until_state};
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
