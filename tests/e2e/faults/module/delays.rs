//! System calls that take very long, as in a process that is stopped or on a machine that is suspended.
//!
//! No call fails. But a program that checked the time before the event would treat a server that answered
//! long ago as one that cannot be reached. With `on_unreachable = "allow"` that would let people in.

use super::{APPROVED, DENIED, Due, FIRST_FILE, SYSLOG, decided_at_once, is_thorough, logins};
use kbmfa_tests::strace::{Calls, Injection, Trace, calls_between};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longer than the application's login may take: of its deadline of 6 s, 2 s are kept for cancelling at the
/// server.
const TOO_LONG: [&str; 2] = ["delay_enter=4500000", "delay_exit=4500000"];

/// The system calls that connect and read. In `make soak` all are delayed.
const NETWORK: [&str; 8] =
    ["socket", "connect", "ppoll", "getsockopt", "setsockopt", "sendto", "recvfrom", "openat"];

/// Maximum number of runs until a delay happens.
const RUNS_MAX: u32 = 4;

/// The injections to try: each `connect`, of which one goes to the server and the others to name services and
/// the log; and of every other kind of call the first, the middle and the last.
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
    // The number of reads depends on how the answer arrives; the number of connects does not. So the last
    // call of a kind may not happen in one run, and the next run is tried. Each run must end in a refusal,
    // whether the call happened or not.
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
