//! Every system call that the module makes fails once, and then from there on, in a small application and in a real
//! sshd.

use super::{APPROVED, DENIED, FIRST_FILE, decided_at_once, is_thorough, logins};
use kbmfa_tests::application::{Application, Ran};
use kbmfa_tests::strace::{Calls, Injection, Trace, calls_since};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What may become of a call: errors that Linux gives, an end of file, nothing ready, everything ready.
pub(super) fn faults(call: &str) -> &'static [&'static str] {
    match call {
        "brk" | "mmap" | "mprotect" | "mremap" | "munmap" => &["error=ENOMEM"],
        "connect" => &["error=ECONNREFUSED", "error=ENETUNREACH", "error=EACCES", "error=EINTR", "retval=0"],
        "openat" | "socket" => &["error=EMFILE", "error=ENOENT", "error=EACCES"],
        "poll" | "ppoll" => &["error=ENOMEM", "error=EINTR", "retval=0", "retval=1"],
        "getrandom" => &["error=ENOSYS", "error=EAGAIN", "error=EINTR"],
        "read" | "recvfrom" => &["error=EIO", "error=ECONNRESET", "error=EINTR", "retval=0"],
        "sendto" | "write" | "writev" => &["error=EPIPE", "error=EAGAIN", "error=EINTR"],
        "exit_group" => &[],
        _ => &["error=EIO", "error=ENOMEM", "retval=0"],
    }
}

/// Each call with each fault, alone. In `make soak` also each with all that come after it; EINTR for ever is nothing
/// that Linux does.
fn injections(calls: &Calls) -> Vec<Injection> {
    let mut found = vec![];
    for (call, range) in calls {
        for fault in faults(call) {
            for number in range.clone() {
                let mut add =
                    |when| found.push(Injection { call: call.clone(), fault: (*fault).to_owned(), when });
                add(number.to_string());
                if (is_thorough() || number == *range.start()) && *fault != "error=EINTR" {
                    add(format!("{number}+"));
                }
            }
        }
    }
    found
}

fn under(
    trace: &Trace,
    injection: Option<&Injection>,
    application: &Application,
    user: &str,
    phase: &str,
) -> Ran {
    let strace = trace.strace(injection);
    let words: Vec<&str> = strace.iter().map(String::as_str).collect();
    application.run_under(&words, user, phase)
}

/// Has a login with each injection, and prints how many ended how.
fn sweep(
    application: &Application,
    user: &str,
    phase: &str,
    may_be_granted: impl Fn(&Injection) -> bool + Sync,
) {
    let trace = Trace::new();
    under(&trace, None, application, user, phase);
    let calls = calls_since(&trace.record_with(FIRST_FILE).unwrap(), FIRST_FILE);
    let (injections, took_place) = (injections(&calls), AtomicUsize::new(0));
    let login = |injection: &Injection| {
        let trace = Trace::new();
        let ran = under(&trace, Some(injection), application, user, phase);
        took_place.fetch_add(trace.injected_into(FIRST_FILE).into(), Ordering::Relaxed);
        ran
    };
    let ends = logins(&injections, login, may_be_granted);
    let (all, took_place) = (injections.len(), took_place.into_inner());
    println!("{user}, {phase}: {} kinds of calls, {all} injections: {ends:?}", calls.len());
    // Some come to nothing: a login that is over early makes fewer calls.
    assert!(took_place > all - all / 10, "{took_place} took place");
}

#[test]
fn no_failing_system_call_lets_anybody_in_who_is_denied() {
    let (_world, application) = decided_at_once();
    let phases: &[&str] = if is_thorough() { &["auth", "account", "session"] } else { &["auth"] };
    for phase in phases {
        assert!(application.run(APPROVED, phase, 1).granted(), "the bed lets nobody in at all");
        sweep(&application, DENIED, phase, |_| false);
    }
}

#[test]
fn no_failing_system_call_lets_anybody_in_while_no_server_is_there() {
    let (world, application) = decided_at_once();
    world.server.stop();
    sweep(&application, APPROVED, "account", |_| false);
}

/// What the network itself would say, or its silence.
fn is_of_the_network(injection: &Injection) -> bool {
    match injection.call.as_str() {
        "connect" => injection.fault == "error=ECONNREFUSED" || injection.fault == "error=ENETUNREACH",
        "ppoll" => injection.fault == "retval=0" && injection.when.ends_with('+'),
        _ => false,
    }
}

#[test]
fn where_unreachable_means_allow_a_fault_of_the_machine_itself_is_none_of_the_network() {
    let (_world, application) = decided_at_once();
    application.set("on_unreachable", "\"allow\"");
    sweep(&application, DENIED, "account", is_of_the_network);
}

#[test]
fn whatever_system_call_fails_who_is_approved_is_let_in_or_refused_in_time() {
    let (_world, application) = decided_at_once();
    sweep(&application, APPROVED, "account", |_| true);
}
