//! In a small application, every system call of the module fails: once, or from then on.

use super::{
    APPROVED, DENIED, Due, FIRST_FILE, LONGEST, STACK, SYSLOG, decided_at_once, is_thorough, logins,
};
use kbmfa_tests::application::{Application, Ran};
use kbmfa_tests::pamtester::Unprivileged;
use kbmfa_tests::strace::{Calls, Injection, Trace, calls_between};
use kbmfa_tests::world::World;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The faults of a call: errors that Linux returns, end of file, nothing ready, everything ready.
pub(super) fn faults(call: &str) -> &'static [&'static str] {
    match call {
        "brk" | "mmap" | "mprotect" | "mremap" | "munmap" => &["error=ENOMEM"],
        "connect" => &["error=ECONNREFUSED", "error=ENETUNREACH", "error=EACCES", "error=EINTR", "retval=0"],
        "openat" | "socket" => &["error=EMFILE", "error=ENOENT", "error=EACCES"],
        "poll" | "ppoll" => &["error=ENOMEM", "error=EINTR", "retval=0", "retval=1"],
        "getrandom" => &["error=ENOSYS", "error=EAGAIN", "error=EINTR"],
        "read" | "recvfrom" => &["error=EIO", "error=ECONNRESET", "error=EINTR", "retval=0"],
        "sendto" | "write" | "writev" => &["error=EPIPE", "error=EAGAIN", "error=EINTR"],
        "exit_group" | "geteuid" | "getpid" | "gettid" => &[], // cannot fail
        _ => &["error=EIO", "error=ENOMEM", "retval=0"],
    }
}

/// The injections to try: each fault in each call alone, and in `make soak` also from each call on. EINTR is
/// never injected forever, because Linux never does that.
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

/// Runs a login with every `step`th injection, and prints how many ended in which way.
fn sweep(
    step: usize,
    application: &Application,
    (user, phase): (&str, &str),
    due: impl Fn(&Injection) -> Due + Sync,
) {
    let trace = Trace::new();
    under(&trace, None, application, user, phase);
    let calls = calls_between(&trace.record_with(FIRST_FILE).unwrap(), FIRST_FILE, &SYSLOG);
    let injections: Vec<_> = injections(&calls).into_iter().step_by(step).collect();
    let took_place = AtomicUsize::new(0);
    let login = |injection: &Injection| {
        let trace = Trace::new();
        let ran = under(&trace, Some(injection), application, user, phase);
        took_place.fetch_add(trace.injected_into(FIRST_FILE).into(), Ordering::Relaxed);
        ran
    };
    let ends = logins(&injections, login, due);
    let (all, took_place) = (injections.len(), took_place.into_inner());
    println!("{user}, {phase}: {} kinds of calls, {all} injections: {ends:?}", calls.len());
    // Some injections never happen, because a login that ends early makes fewer calls.
    assert!(took_place > all - all / 10, "{took_place} took place");
}

#[test]
fn no_failing_system_call_lets_anybody_in_who_is_denied() {
    let (_world, application) = decided_at_once();
    let phases: &[&str] = if is_thorough() { &["auth", "account", "session"] } else { &["auth"] };
    for phase in phases {
        assert!(application.run(APPROVED, phase, 1).granted(), "the bed lets nobody in at all");
        sweep(1, &application, (DENIED, phase), |_| Due::Refusal);
    }
}

/// A server that asks about everybody, without limits, and the application.
fn asked_about() -> (World, Application) {
    let no_limits = ["pending_per_user", "pending_per_machine", "asks_per_user", "asks_per_machine"];
    let world = World::with(&no_limits.map(|key| ("login", key, "100000")));
    let application = Application::new(Unprivileged::new(&world, "desk", STACK));
    (world, application)
}

/// These logins wait, and are abandoned. Each takes its whole deadline.
#[test]
fn no_failing_system_call_lets_anybody_in_without_an_answer() {
    let (_world, application) = asked_about();
    let step = if is_thorough() { 3 } else { 20 };
    sweep(step, &application, (DENIED, "auth"), |_| Due::Refusal);
}

#[test]
fn a_login_that_cannot_wait_does_not_poll_the_server_in_a_loop() {
    let (_world, application) = asked_about();
    let trace = Trace::new();
    let poll = Injection { call: "ppoll".into(), fault: "error=ENOMEM".into(), when: "6+".into() };
    let ran = under(&trace, Some(&poll), &application, DENIED, "auth");
    let polls = trace.record_with(FIRST_FILE).unwrap().matches("ppoll(").count();
    assert!(!ran.granted() && ran.took < LONGEST, "{ran:?}");
    assert!((7..50).contains(&polls), "{polls} times it tried to wait");
}

#[test]
fn no_failing_system_call_lets_anybody_in_while_no_server_is_there() {
    let (world, application) = decided_at_once();
    world.server.stop();
    sweep(1, &application, (APPROVED, "account"), |_| Due::Refusal);
}

/// A denied user gets in only if the fault is in the network itself, so that no server can be reached or none
/// answers.
fn network_alone_opens(injection: &Injection) -> Due {
    match (injection.call.as_str(), injection.fault.as_str(), injection.is_for_good()) {
        ("connect", "error=ECONNREFUSED" | "error=ENETUNREACH", _) | ("ppoll", "retval=0", true) => {
            Due::Either
        }
        _ => Due::Refusal,
    }
}

#[test]
fn with_on_unreachable_allow_a_fault_of_the_machine_is_not_one_of_the_network() {
    let (_world, application) = decided_at_once();
    application.set("on_unreachable", "\"allow\"");
    sweep(1, &application, (DENIED, "account"), network_alone_opens);
}

#[test]
fn whatever_system_call_fails_who_is_approved_is_let_in_or_refused_in_time() {
    let (_world, application) = decided_at_once();
    sweep(1, &application, (APPROVED, "account"), |_| Due::Either);
}

/// A stack whose reporting line is `required`, although the recipes make it `optional`.
const REPORTING: &str = "session required pam_permit.so\nsession required MODULE log_only\n";

#[test]
fn whatever_system_call_fails_a_report_refuses_nobody() {
    let world = World::new();
    let application = Application::new(Unprivileged::new(&world, "desk", REPORTING));
    sweep(1, &application, (DENIED, "session"), |_| Due::Grant);
    world.server.stop();
    sweep(1, &application, (DENIED, "session"), |_| Due::Grant);
}
