//! Open sessions end with what opened them.

use kbmfa_tests::delivery::{self, KEYS, REVOKED, Sudo, deliver, dora, gets_in, sh, until_state};
use kbmfa_tests::login::Login;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::{program, run};
use kbmfa_tests::wait::until;
use kbmfa_tests::world::World;

/// A key of this name beside the test's own. Returns the file of its public half.
fn another_key(machine: &Machine, name: &str) -> String {
    let file = machine.local_file(name);
    run(program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&file));
    format!("{}.pub", file.display())
}

/// dora's session, which runs until somebody ends it.
fn session(machine: &Machine) -> Login {
    let session = machine.ssh("dora", &["echo in; exec sleep 600"]);
    until("the session", || (session.stdout() == "in\n").then_some(()));
    session
}

/// Number of programs that run as dora.
fn programs(machine: &Machine) -> usize {
    sh(machine, "pgrep -xc -u dora sleep || true").trim().parse().unwrap()
}

#[test]
fn a_lost_key_ends_the_sessions_of_its_owner_who_keeps_the_other_keys() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, &format!("{KEYS}{REVOKED}"));
    dora(&world, &[&machine]);
    let tablet = another_key(&machine, "tablet");
    let phone = another_key(&machine, "phone");
    let add = |file: &str, device: &str| {
        let added = world.admin.json(&["key", "add", "dora@example.com", file, "--device", device]);
        added["fingerprint"].as_str().unwrap().to_owned()
    };
    let (tablet, phone) = (add(&tablet, "tablet"), add(&phone, "phone"));
    deliver(&world, &[&machine], "system");
    let session = session(&machine);

    // A key that was put aside ends nothing, until it is known to be lost.
    world.admin.run(&["key", "revoke", &tablet, "--yes"]);
    until_state(&world, "web1", "confirmed");
    assert_eq!(programs(&machine), 1);
    world.admin.run(&["key", "revoke", &tablet, "--lost", "--yes"]);
    until("the end of the session", || (programs(&machine) == 0).then_some(()));
    assert!(session.wait().code != 0);
    until_state(&world, "web1", "confirmed");

    // The machine does not tell by which key each session was opened, so a lost one ends all of them.
    let session = self::session(&machine);
    world.admin.run(&["key", "revoke", &phone, "--lost", "--yes"]);
    until_state(&world, "web1", "confirmed");
    assert!(session.wait().code != 0, "the session goes on");
    assert_eq!(programs(&machine), 0);
    gets_in(&machine);
    let ran = world.admin.run(&["provision", "run", "web1"]);
    assert!(ran.contains("web1: had everything already"), "{ran}");
}

#[test]
fn what_a_person_left_to_run_later_goes_with_the_account() {
    let world = World::new();
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    sh(
        &machine,
        "install -d -m 1770 /var/spool/cron/crontabs /var/spool/cron/atjobs /var/spool/at
         install -o dora /dev/null /var/spool/cron/crontabs/dora
         for spool in /var/spool/cron/atjobs /var/spool/at; do
           install -o dora /dev/null $spool/a0001; install -o alice /dev/null $spool/a0002
         done",
    );
    world.admin.run(&["grant", "remove", "dora@example.com", "web", "--yes"]);
    until_state(&world, "web1", "confirmed");
    let left = sh(&machine, "cd /var/spool; ls cron/crontabs cron/atjobs/* at/*");
    let left: Vec<_> = left.split_whitespace().filter(|word| !word.ends_with(':')).collect();
    assert_eq!(left, ["at/a0002", "cron/atjobs/a0002"]);
}

#[test]
fn sessions_go_on_after_a_grant_where_the_operator_wants_that_and_end_with_a_suspension() {
    let world = World::with(&[("provision", "end_sessions", "false")]);
    let machine = delivery::machine(&world, Sudo::Free, KEYS);
    dora(&world, &[&machine]);
    deliver(&world, &[&machine], "system");
    let session = session(&machine);
    world.admin.run(&["grant", "remove", "dora@example.com", "web", "--yes"]);
    until("the account to be off", || sh(&machine, "getent shadow dora").starts_with("dora:!").then_some(()));
    until_state(&world, "web1", "confirmed");
    assert_eq!(programs(&machine), 1);
    world.admin.run(&["employee", "suspend", "dora@example.com"]);
    until("the end of the session", || (programs(&machine) == 0).then_some(()));
    assert!(session.wait().code != 0);
    until_state(&world, "web1", "confirmed");
}
