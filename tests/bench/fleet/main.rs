//! Measures how fast a hundred machines are checked and changed, and what that costs the computer that does it: by
//! kbmfa, by Ansible, and by somebody who only connects and runs `sudo -n true`. All machines are real, on this one
//! computer, and both tools look after the same five accounts. It reports figures and has no pass or fail.
//! Usage: bench-fleet [MACHINES]

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench starts processes, reads the clock, prints, and fails by a loud panic"
)]

mod ansible;
mod bare;
mod ours;

use kbmfa_tests::delivery::Sudo;
use kbmfa_tests::fleet::Fleet;
use kbmfa_tests::wait::timed;
use kbmfa_tests::world::World;
use std::env;
use std::fs;

/// Number of machines.
const MACHINES: usize = 100;

/// The accounts that both tools look after: name and uid.
const PEOPLE: [(&str, u32); 5] =
    [("ada", 31_001), ("bea", 31_002), ("cleo", 31_003), ("dora", 31_004), ("eve", 31_005)];

/// Number of machines that `provision run` works on at once, and so of the threads that only connect.
const THREADS: usize = 8;

/// What one way took for all machines.
struct Cost {
    seconds: f64,
    /// CPU time of the controller, in milliseconds.
    cpu_ms: f64,
}

impl Cost {
    fn row(&self, what: &str, machines: usize) {
        let count = machines as f64;
        let (seconds, per_second, cpu) = (self.seconds, count / self.seconds, self.cpu_ms / count);
        println!("{what:<58}{seconds:>8.1} s{per_second:>8.1} machines/s{cpu:>10.2} ms of CPU a machine");
    }
}

/// `theirs` in relation to `ours`: time, and CPU.
fn ratio(what: &str, ours: &Cost, theirs: &Cost) {
    let (time, cpu) = (theirs.seconds / ours.seconds, theirs.cpu_ms / ours.cpu_ms);
    println!("{what:<58}{time:>8.1} times the time {cpu:>8.1} times the CPU");
}

fn main() {
    let count = env::args().nth(1).map_or(MACHINES, |number| number.parse().expect("a number of machines"));
    println!("{count} machines, {} accounts each. Load {} at first", PEOPLE.len(), load());
    let world = World::new();
    let (fleet, took) = timed(|| Fleet::start(&world, count, Sudo::Free));
    eprintln!("bench: {count} machines run after {took:.1?}");
    let (ours, first) = ours::Ours::start(&world, &fleet);
    first.row("kbmfa: five accounts and keys made", count);
    let bare = bare::measure(&world, &fleet, THREADS);
    bare.row(&format!("connect and `sudo -n true`, {THREADS} threads"), count);
    ours.check_up();
    let check = ours.check_up();
    check.row(&format!("kbmfa: check-up, nothing to change, {THREADS} at once"), count);
    let change = ours.add_a_key();
    change.row("kbmfa: one more key, until all have confirmed it", count);
    let revoked = ours.revoke_a_key();
    revoked.row("kbmfa: `key revoke` to the last confirmation", count);

    let ansible = ansible::Ansible::prepare(&world, &fleet);
    ansible.run(&ours.keys()).row("Ansible: the same keys, into ~/.ssh", count);
    let their_check = ansible.run(&ours.keys());
    their_check.row("Ansible: nothing to change", count);
    ours.add_a_key();
    let their_change = ansible.run(&ours.keys());
    their_change.row("Ansible: one more key", count);
    println!();
    ratio("Ansible : kbmfa, nothing to change", &check, &their_check);
    ratio("Ansible : kbmfa, one more key", &change, &their_change);
    ratio("kbmfa : bare connection, nothing to change", &bare, &check);
    println!("Load {} at last", load());
}

/// The computer's load in the last minute.
fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    load.split(' ').next().unwrap().to_owned()
}
