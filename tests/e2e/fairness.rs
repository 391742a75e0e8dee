//! Somebody who has stolen the credential of one machine can neither keep people out of other machines, nor
//! slow their logins down, nor flood the approvers. Also: old rows are removed without losing an event.

use kbmfa_tests::machine::Machine;
use kbmfa_tests::wait::{timed, until};
use kbmfa_tests::wire::Client;
use kbmfa_tests::world::World;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Maximum number of reports in one batch.
const BATCH: usize = 64;

/// Joins as the machine `name`. Returns the header with its credential.
fn stolen(world: &World, name: &str) -> String {
    let secret = format!("kbmfa_{name}");
    let hash = Sha256::digest(&secret).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let token = world.admin.add_machine(name);
    let body = format!(r#"{{"token":"{token}","credential_sha256":"{hash}","module_version":"0"}}"#);
    assert!(post(&Client::of(&world.server), "/v1/machines/join", "", &body).starts_with("HTTP/1.1 200"));
    format!("Authorization: Bearer {secret}\r\n")
}

fn post(client: &Client, route: &str, header: &str, body: &str) -> String {
    let length = body.len();
    let head =
        format!("POST {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nKbmfa-Version: 1\r\n");
    client.send(&format!("{head}{header}Content-Length: {length}\r\n\r\n{body}"))
}

/// A batch of this many false alarms, with ids from `first` on.
fn alarms(first: usize) -> String {
    let one = |n: usize| {
        format!(
            r#"{{"id":"{n:032x}","event":"let-in-unreachable","service":"sshd","user":"alice","rhost":null,"tty":null,
                "connection":{{"id":"x","ssh":null}},"at_us":0,"module_version":"0"}}"#
        )
    };
    let all: Vec<String> = (first..first + BATCH).map(one).collect();
    format!(r#"{{"reports":[{}]}}"#, all.join(","))
}

/// alice logs in and is approved. Returns how long that took after the approval.
fn lets_in(world: &World, machine: &Machine) -> Duration {
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    let (finished, took) = timed(|| login.wait());
    assert_eq!(finished.stdout, "in\n");
    took
}

#[test]
fn a_stolen_credential_that_floods_reports_neither_slows_logins_nor_floods_people() {
    let world = World::with(&[("login", "cool_down", "\"0s\"")]);
    let machine = world.machine().start();
    let thief = stolen(&world, "web2");
    let watch = world.admin.watch();
    lets_in(&world, &machine);
    // It prints only events after its start.
    until("the watch to print", || watch.printed().contains("approved").then_some(()));
    let (done, slowed) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let client = Client::of(&world.server);
        let (done, slowed, thief) = (&done, &slowed, &thief);
        scope.spawn(move || {
            let mut batches = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = post(&client, "/v1/reports", thief, &alarms(batches * BATCH));
                slowed.fetch_or(answer.starts_with("HTTP/1.1 429"), Ordering::Relaxed);
                batches += 1;
            }
        });
        until("the thief to be slowed down", || slowed.load(Ordering::Relaxed).then_some(()));
        for _ in 0..3 {
            let took = lets_in(&world, &machine);
            assert!(took < Duration::from_secs(5), "it took {took:?} after the approval");
        }
        done.store(true, Ordering::Relaxed);
    });
    let told = || watch.printed().lines().filter(|line| line.starts_with('!')).count();
    until("the alarm", || (told() > 0).then_some(()));
    assert_eq!(told(), 1, "{}", watch.printed());
    world.admin.audit_verify();
    machine.assert_nothing_left();
}

#[test]
fn asks_at_one_machine_do_not_lock_a_user_out_of_another() {
    let world = World::with(&[("login", "asks_per_user", "1"), ("login", "cool_down", "\"0s\"")]);
    let (other, own) = (world.machine().start(), world.machine().start());
    let first = other.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(first.wait().stdout, "in\n");
    let refused = other.ssh("alice", &["echo", "in"]).wait();
    assert!(refused.transcript().contains("Too many logins asked for an approval"), "{}", refused.stderr);
    let login = own.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
}

#[test]
fn a_login_that_was_pruned_says_so_and_its_events_stay() {
    let (world, clock) = World::on_clock(&[("login", "keep", "\"7d\"")]);
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert_eq!(login.wait().stdout, "in\n");
    assert!(!world.admin.run(&["audit", "verify"]).contains("pruned"));
    world.server.stop();
    clock.set(8 * 86_400);
    world.server.start();
    until("the login to be pruned", || world.admin.logins(&[]).is_empty().then_some(()));
    let shown = world.admin.run(&["login", "show", &id]);
    assert!(
        shown.contains("was pruned: it is older than [login] keep") && shown.contains("login.collected"),
        "{shown}"
    );
    assert!(world.admin.run(&["audit", "verify"]).contains("their events are kept"));
    let unknown = world.admin.try_run(&["login", "show", "0123456789"]).unwrap_err();
    assert!(unknown.contains("were pruned"), "{unknown}");
}
