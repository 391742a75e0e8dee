//! A process that continues, such as a display manager: it runs a thousand logins, and each loads and unloads
//! the module.

use super::{APPROVED, decided_at_once, is_thorough};
use kbmfa_tests::application::Application;

const ROUNDS: u32 = 1_000;

/// Number of logins with a server that answers, which take longer.
fn rounds_with_server() -> u32 {
    if is_thorough() { ROUNDS } else { 300 }
}

/// Memory that malloc may keep for itself, in KiB.
const SLACK: u32 = 256;

fn leave_nothing(application: &Application, rounds: u32, granted: u32) {
    let ran = application.run(APPROVED, "auth", rounds);
    assert_eq!(ran.numbers("granted"), [granted], "{ran:?}");
    let held: Vec<Vec<u32>> = ran
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("held "))
        .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect())
        .collect();
    println!("KiB, descriptors, threads, mappings: {held:?} in {:?}", ran.took);
    let [early, late] = &held[..] else { panic!("{ran:?}") };
    assert!(late[0] <= early[0] + SLACK, "it grew: {held:?}");
    assert_eq!(early[1..], late[1..]);
}

#[test]
fn a_thousand_logins_leave_nothing_in_their_process() {
    let (world, application) = decided_at_once();
    let rounds = rounds_with_server();
    leave_nothing(&application, rounds, rounds);
    world.server.stop();
    leave_nothing(&application, ROUNDS, 0);
}
