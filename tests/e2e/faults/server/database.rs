//! A database that another program has locked, and one whose disk is full.

use kbmfa_tests::between::{Between, Order, Stage};
use kbmfa_tests::disk::Disk;
use kbmfa_tests::lock::Lock;
use kbmfa_tests::systemd::Systemd;
use kbmfa_tests::wait::{pass, until};
use kbmfa_tests::world::World;
use std::time::Duration;

use super::{gets_in, is_let_in, is_opened_once, lock};
use crate::faults::{DOES_NOT_WORK, Refusal};
use crate::story::LET_IN;

/// The server's log line after the longest wait for a lock.
const LOCKED: &str = "database is locked";
/// The log line of a full disk.
const FULL: &str = "database or disk is full";

#[test]
fn locked_for_three_seconds_it_makes_the_login_wait() {
    is_opened_once(Stage::Passed, lock, |world, lock| {
        pass(Duration::from_secs(3));
        assert!(world.admin.logins(&[]).is_empty());
        drop(lock);
        Order::Pass
    });
}

#[test]
fn locked_for_good_it_refuses_and_a_login_opened_later_is_cancelled() {
    let world = World::with(&[("login", "poll_grace", "\"6s\"")]);
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    let lock = Lock::on(&world.server.state_dir);
    let within = Duration::from_secs(12);
    Refusal { prompt: DOES_NOT_WORK, log: "refused, no decision", within }.meets(&machine);
    world.server.wait_for_log(LOCKED);
    drop(lock);
    // The request may still wait for the lock after its machine has given up.
    until("the server to be at rest", || {
        let logins = world.admin.logins(&[]);
        logins.iter().all(|(id, _)| world.admin.state(id) == "cancelled").then_some(())
    });
    assert_eq!(world.admin.count(["login.approved", "login.collected"]), [0, 0]);
    gets_in(&world, &machine);
}

#[test]
fn locked_under_a_waiting_login_it_takes_no_answer_and_loses_nothing() {
    let world = World::new();
    let machine = world.machine().start();
    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let lock = Lock::on(&world.server.state_dir);
    let refused = world.admin.try_run(&["login", "approve", &id]).unwrap_err();
    assert!(refused.contains(LOCKED), "{refused}");
    world.server.wait_for_log(LOCKED);
    drop(lock);
    is_let_in(&world, login, &id);
    machine.assert_nothing_left();
}

/// A world whose server has a small disk for its state.
fn on_small_disk() -> (World, Disk) {
    let world = World::down(None);
    let disk = Disk::under(&world.server.state_dir);
    world.server.start();
    (world, disk)
}

#[test]
fn on_a_full_disk_it_refuses_at_once_and_goes_on_when_there_is_room() {
    let (world, disk) = on_small_disk();
    let machine = world.machine().start();
    machine.set("on_unreachable", "\"allow\"");
    disk.fill();
    world.server.wait_for_log(FULL);
    let log = "refused, no decision (the database cannot be used right now (unavailable))";
    Refusal { prompt: DOES_NOT_WORK, log, within: Duration::from_secs(1) }.meets(&machine);
    disk.clear();
    assert!(world.admin.logins(&[]).is_empty());
    gets_in(&world, &machine);
    world.server.stop();
}

/// How long the log is watched. Each loop would fail several times in this time.
const LASTING: Duration = Duration::from_secs(8);

#[test]
fn on_a_full_disk_it_is_not_ready_and_says_so_once() {
    let (world, disk) = on_small_disk();
    disk.fill();
    world.server.wait_for_status("/readyz", FULL);
    let before = world.server.log();
    pass(LASTING);
    let answer = world.server.status("/readyz").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(FULL), "{answer}");
    let log = world.server.log();
    let later: Vec<_> = log.strip_prefix(&before).unwrap().lines().collect();
    let mut distinct = later.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(later.len(), distinct.len(), "a line came twice: {later:?}");
    // There is one line for each loop that writes. Before, there were four lines a second.
    assert!(later.len() < 10, "{later:?}");
    let failed = world.server.status("/metrics").unwrap();
    let failed = failed.lines().find_map(|line| line.strip_prefix("kbmfa_db_writes_failed_total "));
    assert!(failed.unwrap().parse::<u32>().unwrap() >= 5, "{failed:?}");
    disk.clear();
    world.server.wait_for_status("/readyz", "HTTP/1.1 200");
    world.server.wait_for_log("works again");
    let machine = world.machine().start();
    gets_in(&world, &machine);
    world.server.stop();
}

/// A server that exits could not be reached, and then `on_unreachable` would apply.
#[test]
fn on_a_full_disk_it_keeps_running_and_its_watchdog_is_fed() {
    let (world, disk) = on_small_disk();
    world.server.stop();
    let systemd = Systemd::over(&world.server, world.dir(), 1500);
    world.server.start();
    disk.fill();
    world.server.wait_for_status("/readyz", FULL);
    systemd.wait_for("STATUS=NOT READY: ");
    for _ in 0..10 {
        systemd.wait_for("WATCHDOG=1");
    }
    disk.clear();
    systemd.wait_for("STATUS=ready");
    world.server.stop();
}

#[test]
fn on_a_full_disk_nothing_is_approved() {
    let (world, disk) = on_small_disk();
    let machine = world.machine().start();
    let mut login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    disk.fill();
    let refused = world.admin.try_run(&["login", "approve", &id]).unwrap_err();
    assert!(refused.contains(FULL), "{refused}");
    world.server.wait_for_log(FULL);
    assert!(login.running());
    disk.clear();
    assert_eq!(world.admin.state(&id), "pending");
    is_let_in(&world, login, &id);
    machine.assert_nothing_left();
    world.server.stop();
}

#[test]
fn an_approval_is_not_collected_on_a_full_disk_and_not_lost_by_it() {
    let (world, disk) = on_small_disk();
    let machine = world.machine().start();
    let between = Between::stopping(&world, &machine, "GET", Stage::Asked);
    let mut login = machine.ssh("alice", &["echo", "in"]);
    between.reached();
    let id = world.admin.pending();
    world.admin.approve(&id);
    disk.fill();
    between.order(Order::Pass);
    world.server.wait_for_log("transaction login.poll: database: database or disk is full");
    assert!(login.running());
    disk.clear();
    assert_eq!(login.wait().transcript(), "in\nexit 0\n");
    world.admin.assert_story(&id, &LET_IN);
    drop(between);
    machine.assert_nothing_left();
    world.server.stop();
}
