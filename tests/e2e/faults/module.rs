//! Faults of the module and of its process: system calls fail or take very long, memory runs out, the module
//! is loaded a thousand times.

mod calls;
mod delays;
mod growth;
mod loading;
mod memory;
mod sanitizers;
mod sshd;

use kbmfa_tests::application::{Application, Ran};
use kbmfa_tests::pamtester::Unprivileged;
use kbmfa_tests::settings::is_thorough;
use kbmfa_tests::world::World;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Longest time of a login: the deadline on the test bed, and extra time for strace and a busy computer.
const LONGEST: Duration = Duration::from_secs(6 + 6);

/// Number of logins at the same time. A login mostly waits.
const AT_ONCE: usize = 4;

/// The first file that the module reads. Earlier calls are libpam's.
const FIRST_FILE: &str = "pam.toml";

/// The last thing that the module does is to log. Later calls are the application's.
const SYSLOG: [&str; 2] = ["/dev/log\"", "pam_kbmfa("];

/// A user whom a rule exempts. Every other user is refused at once, because nobody may answer.
const APPROVED: &str = "root";
const DENIED: &str = "nobody";

/// A stack in which a module that returned "ignore" would let in, like one that returned "success".
const STACK: &str = "auth required pam_permit.so\nauth required MODULE\n\
    account required pam_permit.so\naccount required MODULE\n\
    session required pam_permit.so\nsession required MODULE\n";

/// A server that decides at once, and the application that uses it.
fn decided_at_once() -> (World, Application) {
    let world = world_of_rules(APPROVED, "desk");
    let application = Application::new(Unprivileged::new(&world, "desk", STACK));
    (world, application)
}

/// A server that lets this user into this machine at once, and refuses everybody else.
fn world_of_rules(user: &str, machine: &str) -> World {
    let world = World::with(&[
        ("policy", "approvers", "\"not-self\""),
        ("login", "asks_per_user", "100000"),
        ("login", "asks_per_machine", "100000"),
        ("server", "requests_per_machine", "1000000"),
    ]);
    world.server.append(&format!(
        "[[policy.rule]]\nusers = [{user:?}]\nmachines = [{machine:?}]\n\
        from = [\"127.0.0.0/8\"]\nexempt = true\n"
    ));
    world.server.restart();
    world
}

/// Number of logins by outcome.
type Ends = BTreeMap<String, usize>;

/// How a login must end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Refusal,
    Grant,
    Either,
}

/// Runs one login for each fault. Each must end in time, and as expected.
fn logins<F: Display + Sync>(
    faults: &[F],
    login: impl Fn(&F) -> Ran + Sync,
    due: impl Fn(&F) -> Due + Sync,
) -> Ends {
    let next = AtomicUsize::new(0);
    let (ends, complaints) = (Mutex::new(Ends::new()), Mutex::new(vec![]));
    let work = || {
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ran = login(fault);
            let wrong = if ran.granted() { Due::Refusal } else { Due::Grant };
            if ran.took > LONGEST || due(fault) == wrong {
                complaints.lock().unwrap().push(format!("{fault}: {ran:?}"));
            }
            *ends.lock().unwrap().entry(ran.status.to_string()).or_default() += 1;
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "ended in another way, or too late:\n{}", complaints.join("\n"));
    ends.into_inner().unwrap()
}
