//! Measures what one login costs the server: CPU by a cgroup, bytes by a proxy, and syncs to disk by strace.
//! Each has its own logins, since strace and the proxy have a cost of their own.

use kbmfa_tests::process::{program, signal};
use kbmfa_tests::wait::{pass, until};
use kbmfa_tests::world::World;
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

use crate::answer::LIMITS;
use crate::figures::row;
use crate::joined::Joined;
use crate::proxy::Proxy;
use kbmfa_tests::group::Group;

/// Length of the measurement without logins.
const IDLE: Duration = Duration::from_secs(10);

/// Measures and prints everything in this file.
pub(crate) fn measure(logins: usize) {
    let world = World::with(&LIMITS);
    let joined = Joined::new(&world, "desk");
    let server = Group::new("module-server");
    server.adopt(world.server.pid());
    let idle = {
        let before = server.cpu_ms();
        pass(IDLE);
        (server.cpu_ms() - before) / IDLE.as_secs_f64()
    };
    let cpu: Vec<f64> = (0..logins)
        .map(|_| {
            let before = server.cpu_ms();
            log_in(&world, &joined);
            server.cpu_ms() - before
        })
        .collect();
    let proxy = Proxy::start(world.server.port);
    joined.call(proxy.port);
    let bytes: Vec<[f64; 2]> = (0..logins)
        .map(|_| {
            let before = proxy.bytes();
            log_in(&world, &joined);
            let now = proxy.bytes();
            [now[0] - before[0], now[1] - before[1]].map(|count| f64::from(u32::try_from(count).unwrap()))
        })
        .collect();
    joined.call(world.server.port);
    println!("\nWhat one login costs the server: opened, waited for, approved at the console");
    row("CPU, ms", &[&cpu]);
    println!("{:<44}{idle:>26.2}", "(without logins, ms in each second)");
    row("bytes to it, TLS handshake included", &[&bytes.iter().map(|both| both[0]).collect::<Vec<_>>()]);
    row("bytes from it", &[&bytes.iter().map(|both| both[1]).collect::<Vec<_>>()]);
    println!("{:<44}{:>26.1}", "fsync and fdatasync, mean", syncs(&world, &joined, logins));
}

/// One login, from its opening to the collection of its approval.
fn log_in(world: &World, joined: &Joined) {
    let process = joined.log_in("kbmfa");
    world.admin.approve(&world.admin.pending());
    assert_eq!(process.told()["code"], 0);
}

/// Number of times that the server syncs to disk for each login.
fn syncs(world: &World, joined: &Joined, logins: usize) -> f64 {
    let out = joined.path("strace");
    let pid = world.server.pid().to_string();
    let mut strace = program("strace");
    strace.args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-p", &pid, "-o"]).arg(&out);
    let mut strace = strace.spawn().unwrap();
    let status = format!("/proc/{pid}/status");
    until("strace to hold the server", || {
        (!fs::read_to_string(&status).unwrap().contains("TracerPid:\t0")).then_some(())
    });
    for _ in 0..logins {
        log_in(world, joined);
    }
    signal(&strace, Signal::INT);
    strace.wait().unwrap();
    let count = fs::read_to_string(out).unwrap().lines().filter(|line| line.contains("sync(")).count();
    f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(logins).unwrap())
}
