//! System calls of a real sshd fail while the module runs in it. The auth phase is left out: there the module
//! runs in a new process, whose calls have the same numbers as sshd's own.

use super::{FIRST_FILE, SYSLOG, calls, is_thorough, world_of_rules};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::strace::{Injection, Trace, calls_between};
use kbmfa_tests::wait::timed;
use std::time::Duration;

/// Longest time of a login: its deadline, and what ssh, sshd and strace may take in addition.
const LONGEST: Duration = Duration::from_secs(6 + 14);

/// The injections to try: of each kind of call one from the middle of the login, with its first fault; in
/// `make soak` with each fault.
fn injections(machine: &Machine) -> Vec<Injection> {
    let trace = Trace::new();
    let attached = trace.attach(machine, None);
    assert_eq!(machine.ssh("alice", &["echo", "in"]).wait().stdout, "");
    drop(attached);
    let calls = calls_between(&trace.record_with(FIRST_FILE).unwrap(), FIRST_FILE, &SYSLOG);
    let count = if is_thorough() { usize::MAX } else { 1 };
    let of_kind = |call: &String, when: u32| {
        let (call, when) = (call.clone(), when.to_string());
        let faults = calls::faults(&call).iter().take(count);
        let injection =
            |fault: &&str| Injection { call: call.clone(), fault: (*fault).into(), when: when.clone() };
        faults.map(injection).collect::<Vec<_>>()
    };
    calls.iter().flat_map(|(call, range)| of_kind(call, range.start().midpoint(*range.end()))).collect()
}

fn lets_nobody_in(phase: Phase) {
    let world = world_of_rules("bob", "web1");
    let machine = world.machine().phase(phase).start();
    machine.set("deadline", "\"6s\"");
    let injections = injections(&machine);
    let mut took_place = 0;
    for injection in &injections {
        let trace = Trace::new();
        let attached = trace.attach(&machine, Some(injection));
        let (finished, took) = timed(|| machine.ssh("alice", &["echo", "in"]).wait());
        drop(attached);
        assert!(finished.stdout.is_empty() && finished.code != 0, "let in by {injection}");
        assert!(took < LONGEST, "{injection} held the login for {took:?}");
        took_place += usize::from(trace.injected_into(FIRST_FILE));
    }
    println!("{phase:?}: {took_place} of {} injections took place", injections.len());
    assert!(took_place > injections.len() / 2, "{took_place}");
    // sshd works as before.
    assert_eq!(machine.ssh("bob", &["echo", "in"]).wait().stdout, "in\n");
    machine.assert_nothing_left();
}

#[test]
fn no_failing_system_call_lets_anybody_in_through_sshd_in_the_account_phase() {
    lets_nobody_in(Phase::Account);
}

#[test]
fn no_failing_system_call_lets_anybody_in_through_sshd_in_the_session_phase() {
    lets_nobody_in(Phase::Session);
}
