//! One of the server's loops hangs. `/readyz` names it, systemd's watchdog is no longer fed, and the process
//! ends and is started again. Each loop hangs once; `/metrics` lists the loops.

use kbmfa_tests::chat::ChatWorld;
use kbmfa_tests::files::put;
use kbmfa_tests::server::Server;
use kbmfa_tests::systemd::Systemd;
use kbmfa_tests::wait::{pass, until};
use kbmfa_tests::world::World;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::gets_in;
use crate::keybase::Asked;

/// systemd's watchdog must be fed within this time. The server feeds it three times as often.
const WATCHDOG_MS: u32 = 1500;

/// Exit code of a process that ends because a loop is lost.
const EXIT_HUNG: Option<i32> = Some(70);

/// Longest time for which the process may still report what it knew before a loop was late.
const SETTLING: Duration = Duration::from_millis(500);

/// Number of worlds in which loops hang at the same time.
const AT_ONCE: usize = 3;

/// Makes loops of a server hang.
struct Hang(PathBuf);

impl Hang {
    /// At first nothing hangs. The server reads the file from its next start on.
    fn of(world: &World) -> Self {
        let file = world.dir().join("hang");
        world.server.set_variable("KBMFA_TEST_HANG", file.to_str().unwrap());
        Self(file)
    }

    fn tell(&self, how: &str, name: &str) {
        let whole = self.0.with_extension("new");
        put(&whole, 0o644, format!("{how} {name}\n"));
        fs::rename(&whole, &self.0).unwrap();
    }

    fn end(&self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// The loops that this server has.
fn loops(server: &Server) -> BTreeSet<String> {
    let metrics = server.status("/metrics").unwrap();
    let named = |line: &str| {
        Some(line.split_once("kbmfa_loop_seconds_since_round{loop=\"")?.1.split_once('"')?.0.to_owned())
    };
    metrics.lines().filter_map(named).collect()
}

/// Hangs this loop until the process ends. Leaves the server down.
fn hang_until_it_ends(world: &World, (hang, systemd): (&Hang, &Systemd), name: &str) {
    let hangs = format!("the loop {name:?} hangs");
    hang.tell("hang", name);
    world.server.wait_for_log(&hangs);
    // If the status listener hangs, nobody can ask it.
    if name != "status listener" {
        let answer = world.server.status("/readyz").unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(&hangs), "{name}: {answer}");
    }
    // Reports that are already on their way do not matter.
    systemd.reports();
    pass(SETTLING);
    systemd.reports();
    pass(Duration::from_millis(WATCHDOG_MS.into()));
    let reports = systemd.reports();
    assert!(!reports.iter().any(|report| report.contains("WATCHDOG=1")), "{name}: {reports:?}");
    hang.tell("abandon", name);
    assert_eq!(world.server.wait_for_end(), EXIT_HUNG, "{name}");
    let log = world.server.log();
    assert!(
        log.contains(&format!("{hangs}: "))
            && log.contains("this process exits so that systemd starts it again"),
        "{name}: {log}"
    );
    hang.end();
}

/// Hangs each of these loops once, spread over several worlds.
fn hang_each(names: BTreeSet<String>, make: impl Fn() -> World + Sync) {
    let left = Mutex::new(names);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let world = make();
                let bed = (&Hang::of(&world), &Systemd::over(&world.server, world.dir(), WATCHDOG_MS));
                loop {
                    let Some(name) = left.lock().unwrap().pop_first() else { break };
                    world.server.start();
                    bed.1.wait_for("WATCHDOG=1");
                    hang_until_it_ends(&world, bed, &name);
                }
            });
        }
    });
}

#[test]
fn each_loop_that_hangs_is_named_starves_the_watchdog_and_ends_the_process() {
    let names = {
        let world = World::down(None);
        let _systemd = Systemd::over(&world.server, world.dir(), WATCHDOG_MS);
        world.server.start();
        until("the word index to be complete", || {
            (!loops(&world.server).contains("word index")).then_some(())
        });
        loops(&world.server)
    };
    assert!(names.len() >= 12, "this story has lost sight of the loops: {names:?}");
    hang_each(names, || World::down(None));
}

/// Loops that run only while this server holds the lease to ask in Keybase.
#[test]
fn the_loops_of_keybase_that_hang_are_named_and_end_the_process() {
    let world = ChatWorld::down("team = \"acme\"\nchannel = \"sudo\"\n", "");
    let bed = (&Hang::of(&world), &Systemd::over(&world.server, world.dir(), WATCHDOG_MS));
    world.server.start();
    let names: Vec<_> = loops(&world.server).into_iter().filter(|name| name.contains("keybase")).collect();
    assert_eq!(names, ["keybase health check", "keybase supervisor"]);
    for name in names {
        hang_until_it_ends(&world, bed, &name);
        world.server.start();
    }
    let machine = world.machine().start();
    Asked::new(&world, &machine).approve();
}

#[test]
fn a_loop_that_comes_back_in_time_makes_the_server_ready_again() {
    let world = World::down(None);
    let hang = Hang::of(&world);
    world.server.start();
    hang.tell("hang", "sweep");
    world.server.wait_for_log("the loop \"sweep\" hangs");
    world.server.wait_for_status("/readyz", "the loop \"sweep\" hangs");
    hang.end();
    world.server.wait_for_status("/readyz", "HTTP/1.1 200");
    world.server.wait_for_log("the loop \"sweep\" makes progress again");
    let machine = world.machine().start();
    gets_in(&world, &machine);
}

/// The runtime has one thread for all tasks, and it is blocked: neither a request nor a timer is handled.
#[test]
fn a_stalled_runtime_ends_the_process() {
    let world = World::down(None);
    let hang = Hang::of(&world);
    world.server.set_variable("TOKIO_WORKER_THREADS", "1");
    world.server.start();
    hang.tell("block", "sweep");
    assert_eq!(world.server.wait_for_end(), EXIT_HUNG);
    world.server.wait_for_log("this process exits so that systemd starts it again");
}

/// Every loop has a limit of at least 20 seconds. The whole process was stopped for longer than some of the
/// limits.
#[test]
fn a_process_that_was_stopped_goes_on_and_no_loop_is_late() {
    let world = World::new();
    let machine = world.machine().start();
    world.server.hang();
    pass(Duration::from_secs(25));
    world.server.go_on();
    let answer = world.server.status("/readyz").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    gets_in(&world, &machine);
    assert!(!world.server.log().contains("hangs"), "{}", world.server.log());
}
