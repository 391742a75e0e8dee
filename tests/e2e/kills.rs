//! The server is killed at a random moment of a login. No login may be lost or doubled, and none may be
//! missing in the audit log.

use kbmfa_tests::settings::number;
use kbmfa_tests::wait;
use kbmfa_tests::world::World;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use crate::story::LET_IN;

/// The usual time from the start of a login to its decision, in milliseconds.
const SPREAD_MS: u64 = 400;

fn random_moment() -> Duration {
    let mut bytes = [0; 8];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    Duration::from_millis(u64::from_ne_bytes(bytes) % SPREAD_MS)
}

/// Number of rounds: more in `make soak`.
fn rounds() -> usize {
    number("KBMFA_KILLS").unwrap_or(10)
}

/// Checks that the events of a login that was let in have each thing once. It may have been approved before a
/// server was there to post the ask.
fn assert_told_once(story: &[String], round: usize) {
    let (asks, rest): (Vec<_>, Vec<_>) =
        story.iter().map(String::as_str).partition(|kind| *kind == "ask.posted");
    let expected: Vec<_> = LET_IN.into_iter().filter(|kind| *kind != "ask.posted").collect();
    assert!(asks.len() <= 1 && rest == expected, "round {round}: {story:?}");
}

#[test]
fn killed_at_random_moments_the_server_loses_and_doubles_nothing() {
    let world = World::with(&[("login", "asks_per_user", "100000"), ("login", "asks_per_machine", "100000")]);
    let machine = world.machine().start();
    let (mut known, mut let_in) = (BTreeSet::new(), 0);
    for round in 0..rounds() {
        let login = machine.ssh("alice", &["echo", "in"]);
        wait::pass(random_moment());
        world.server.kill();
        world.server.start();
        let opened = wait::until("the login to be opened or refused", || {
            let new = world.admin.logins(&[]).into_iter().find(|(id, _)| !known.contains(id));
            let is_over = login.stderr().contains("approval server");
            (new.is_some() || is_over).then_some(new)
        });
        let Some((id, _)) = opened else {
            // No server was there when it was opened, so it was refused at once, as documented.
            assert_eq!(login.wait().code, 255, "round {round}");
            continue;
        };
        known.insert(id.clone());
        // It may have ended already: refused, because the connection broke while it was being opened, and no
        // later attempt reached a server.
        let _ = world.admin.try_run(&["login", "approve", &id]);
        let finished = login.wait();
        if finished.code == 0 {
            assert_eq!(finished.stdout, "in\n", "round {round}");
            assert_told_once(&world.admin.story(&id), round);
            let_in += 1;
        } else {
            assert!(finished.stderr.contains("approval server"), "round {round}: {}", finished.stderr);
            assert!(!world.admin.story(&id).contains(&"login.collected".to_owned()), "round {round}");
        }
        world.admin.audit_verify();
    }
    assert!(let_in >= rounds() / 4, "{let_in} of {} were let in: this shows too little", rounds());
    machine.assert_nothing_left();
}
