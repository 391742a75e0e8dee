//! Memory runs out: each allocation fails once, and the process gets less and less address space.

use super::{APPROVED, DENIED, Due, Ends, decided_at_once, logins};
use kbmfa_tests::application::Application;

/// Limits on the address space, in KiB: from too little to start, to more than enough.
const LIMITS: (u32, u32) = (2_500, 6_500);
const STEP: usize = 20;

/// Runs a login with each `step`th allocation failing.
fn with_failing_allocations(application: &Application, user: &str, step: usize, due: Due) -> Ends {
    let allocations = application.run(user, "auth", 1).numbers("allocations")[0];
    let which: Vec<u32> = (1..=allocations).step_by(step).collect();
    let ends = logins(&which, |at| application.run_without_memory(user, "auth", *at), |_| due);
    println!("{user}: {} allocations: {ends:?}", which.len());
    ends
}

#[test]
fn no_failing_allocation_lets_anybody_in_who_is_denied() {
    let (_world, application) = decided_at_once();
    with_failing_allocations(&application, DENIED, 1, Due::Refusal);
    let ends = with_failing_allocations(&application, APPROVED, 10, Due::Either);
    assert!(ends.len() > 1, "no allocation failed: {ends:?}");
}

#[test]
fn no_limit_on_memory_lets_anybody_in_who_is_denied() {
    let (_world, application) = decided_at_once();
    let limits: Vec<u32> = (LIMITS.0..LIMITS.1).step_by(STEP).collect();
    let with_limit = |user: &str, due: Due| {
        let login =
            |kib: &u32| application.run_under(&["prlimit", &format!("--as={}", kib * 1024)], user, "auth");
        let ends = logins(&limits, login, |_| due);
        println!("{user}: {} limits: {ends:?}", limits.len());
        ends
    };
    with_limit(DENIED, Due::Refusal);
    let ends = with_limit(APPROVED, Due::Either);
    assert!(
        ends.len() > 1 && ends.contains_key("exit status: 0"),
        "the limits are not about the login: {ends:?}"
    );
}
