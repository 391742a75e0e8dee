//! Measures logins per second, over lasting connections and over a new one for each, beside the same requests
//! to a handler that does nothing.

use kbmfa_proto::login::State;
use kbmfa_proto::names::LoginId;
use kbmfa_server::random;
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::approver::{self, Approver};
use crate::bed::{Bed, Running, this_program};
use crate::client::{Dialer, Line};
use crate::database;
use crate::figures::{cpu_ms, spread};

/// Number of connections at the same time.
const CONNECTIONS: usize = 64;

/// Seconds for which a poll may be held.
const WAIT_S: u64 = 25;

/// Measures and prints everything in this file. Each part has a database of its own.
pub(crate) fn measure(seconds: u64) {
    println!(
        "\nLogins a second, {CONNECTIONS} at a time, {seconds} s each; `done` in ms (median, p99, most)"
    );
    let bed = Bed::new();
    println!("4 KiB and fdatasync, one after the other: {:.0}/s", database::syncs(&bed));
    let [logins, commits, cpu] = database::logins(&bed, CONNECTIONS, Duration::from_secs(seconds));
    println!(
        "the same transactions alone, in one process: {logins:.0}/s, in {commits:.0} commits/s; CPU each: {cpu:.2} ms"
    );
    for cold in [false, true] {
        let bed = Bed::new();
        let bare = run_against(&bed, &bed.serve_bare(), seconds, cold, None);
        let ours = of_server(&bed, seconds, cold);
        println!("  of the handler's: {:.2}, of the database's alone: {:.2}", ours / bare, ours / logins);
    }
}

fn of_server(bed: &Bed, seconds: u64, cold: bool) -> f64 {
    const COUNTS: [&str; 2] = ["kbmfa_db_jobs_total", "kbmfa_db_commits_total"];
    let (server, socket) = (bed.serve(), bed.socket());
    let approver = Approver::new(&bed.config).listen(&socket);
    let before = COUNTS.map(|name| bed.metric(name));
    let rate = run_against(bed, &server, seconds, cold, Some(&socket));
    let [jobs, commits] =
        [0, 1].map(|n| (bed.metric(COUNTS[n]) - before[n]) as f64 / (rate * seconds as f64));
    println!("  the server's transactions for each: {jobs:.1}, in {commits:.2} commits");
    approver::end(&socket);
    approver.join().unwrap();
    rate
}

/// Runs the generator once, in its own process. Returns logins per second.
fn run_against(bed: &Bed, server: &Running, seconds: u64, cold: bool, socket: Option<&Path>) -> f64 {
    let way = if cold { "cold" } else { "kept" };
    let mut command = this_program(&["load", way, &seconds.to_string(), &server.port.to_string()]);
    command.arg(&bed.state_dir).args(socket).stdout(Stdio::piped());
    let before = cpu_ms(server.child.id());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let server_ms = cpu_ms(server.child.id()) - before;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| told[name].as_f64().unwrap();
    let (logins, rate) = (number("logins"), number("logins") / number("seconds"));
    let what = if socket.is_some() { "kbmfa" } else { "a handler that does nothing" };
    let way = if cold { "a new connection each" } else { "connections that stay" };
    println!(
        "{what}, {way}: {rate:.0}/s; done {:.1}, {:.1}, {:.1}; CPU each: server {:.2} ms, generator {:.2} ms",
        number("p50"),
        number("p99"),
        number("most"),
        server_ms / logins,
        number("cpu_ms") / logins
    );
    rate
}

/// The generator process: `kept|cold SECONDS PORT STATE_DIR [APPROVER]`.
pub(crate) fn run(arguments: &[&str]) {
    let [way, seconds, port, state_dir, approver @ ..] = arguments else { panic!("{arguments:?}") };
    let (seconds, cold): (u64, _) = (seconds.parse().unwrap(), *way == "cold");
    let dialer = Dialer::new(state_dir.as_ref(), port.parse().unwrap());
    let approver = approver.first().map(|path| {
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(path).unwrap();
        Arc::new(socket)
    });
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut times = runtime.block_on(async {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|n| tokio::spawn(work(dialer.clone(), approver.clone(), n, end, cold)))
            .collect();
        let mut times = Vec::new();
        for worker in workers {
            times.extend(worker.await.unwrap());
        }
        times
    });
    let (logins, cpu, took) = (times.len(), cpu_ms(std::process::id()), begun.elapsed().as_secs_f64());
    let [p50, p99, most] = spread(&mut times);
    println!(
        "{}",
        json!({"logins": logins, "seconds": took, "p50": p50, "p99": p99, "most": most, "cpu_ms": cpu})
    );
}

/// Runs logins of many machines, one after the other. Returns how long each took, in milliseconds.
async fn work(
    dialer: Dialer,
    approver: Option<Arc<UnixDatagram>>,
    first: usize,
    end: Instant,
    cold: bool,
) -> Vec<f64> {
    let mut line = if cold { None } else { Some(dialer.dial().await) };
    let mut times = Vec::new();
    for n in (first..).step_by(CONNECTIONS) {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        match &mut line {
            Some(line) => log_in(line, approver.as_deref(), n).await,
            None => log_in(&mut dialer.dial().await, approver.as_deref(), n).await,
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times
}

/// Opens a login, names it to the approver, and waits for the decision as the module does.
async fn log_in(line: &mut Line, approver: Option<&UnixDatagram>, n: usize) {
    let id: LoginId = random::hex::<16>().unwrap().parse().unwrap();
    assert_eq!(line.open(&id, n).await.state, State::Pending);
    let Some(approver) = approver else {
        line.poll(&id, n, 0).await;
        return;
    };
    approver.send(id.as_str().as_bytes()).unwrap();
    assert_eq!(line.poll(&id, n, WAIT_S).await.state, State::Approved);
}
