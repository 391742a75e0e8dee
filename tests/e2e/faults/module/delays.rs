//! System calls that take very long, as in a process that is stopped or on a machine that is paused.
//!
//! Nothing fails here. But a program that checks the time before the event takes a server that answered long
//! ago for one that cannot be reached, and where `on_unreachable` is allow that would let people in.

use super::{APPROVED, DENIED, Due, FIRST_FILE, SYSLOG, decided_at_once, is_thorough, logins};
use kbmfa_tests::strace::{Calls, Injection, Trace, calls_between};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longer than the application's login may take: its deadline is 6 s, 2 of which are left for telling the server.
const TOO_LONG: [&str; 2] = ["delay_enter=4500000", "delay_exit=4500000"];

/// The system calls for connecting and reading; in `make soak` all.
const NETWORK: [&str; 8] =
    ["socket", "connect", "ppoll", "getsockopt", "setsockopt", "sendto", "recvfrom", "openat"];

/// Runs in which a delay may take place.
const RUNS_MAX: u32 = 4;

/// Each `connect`, of which one goes to the server and the others to name services and the log; the first, the middle
/// and the last of every other kind of call.
fn injections(calls: &Calls) -> Vec<Injection> {
    let mut found = vec![];
    for (call, range) in calls {
        if call.starts_with("exit") || !(is_thorough() || NETWORK.contains(&call.as_str())) {
            continue;
        }
        let (first, last) = (*range.start(), *range.end());
        let mut numbers = vec![first, first.midpoint(last), last];
        if call == "connect" {
            numbers = range.clone().collect();
        }
        numbers.dedup();
        for (fault, number) in TOO_LONG.iter().flat_map(|fault| numbers.iter().map(move |n| (fault, n))) {
            let (call, fault, when) = (call.clone(), (*fault).to_owned(), number.to_string());
            found.push(Injection { call, fault, when });
        }
    }
    found
}

#[test]
fn with_on_unreachable_allow_no_delay_makes_a_healthy_server_unreachable() {
    let (_world, application) = decided_at_once();
    application.set("on_unreachable", "\"allow\"");
    assert!(application.run(APPROVED, "account", 1).granted(), "the bed lets nobody in at all");
    let under = |trace: &Trace, injection: Option<&Injection>| {
        let strace = trace.strace(injection);
        let words: Vec<&str> = strace.iter().map(String::as_str).collect();
        application.run_under(&words, DENIED, "account")
    };
    let trace = Trace::new();
    under(&trace, None);
    let calls = calls_between(&trace.record_with(FIRST_FILE).unwrap(), FIRST_FILE, &SYSLOG);
    let injections = injections(&calls);
    assert!(injections.iter().any(|injection| injection.call == "connect"), "{calls:?}");
    let count = AtomicUsize::new(0);
    // How often it reads depends on how the answer arrives; how it connects does not. So the last call of a kind may not
    // come in one run, and is waited for in the next. Each run has to end in a refusal, whether the call came or not.
    let login = |injection: &Injection| {
        let mut left = RUNS_MAX;
        loop {
            left -= 1;
            let trace = Trace::new();
            let ran = under(&trace, Some(injection));
            let took_place = trace.injected_into(FIRST_FILE);
            assert!(took_place || injection.call != "connect", "{injection} did not take place");
            if took_place || left == 0 || ran.granted() {
                count.fetch_add(took_place.into(), Ordering::Relaxed);
                return ran;
            }
        }
    };
    let ends = logins(&injections, login, |_| Due::Refusal);
    let (all, took_place) = (injections.len(), count.into_inner());
    println!("{took_place} of {all} delays: {ends:?}");
    assert!(took_place > all - all / 10, "{took_place} of {all} took place");
}
