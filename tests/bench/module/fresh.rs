//! Measures the module in a new process: loading it, and one login that the server answers at once, beside
//! `pam_unix`, which asks nobody, and the old tool's script with a server that answers at once.

use kbmfa_tests::built;
use kbmfa_tests::process::program;
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;
use std::process::{Child, Stdio};

use crate::figures::{heads, middle, row};
use crate::joined::Joined;
use crate::old;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/module/fresh.py");

/// A rule that exempts the login, so that the server answers at once.
const EXEMPT: &str = "[[policy.rule]]\nmachines = [\"desk\"]\nfrom = [\"127.0.0.0/8\"]\nexempt = true\n";

/// A process of `fresh.py`, in a pid namespace of its own.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = program("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "/usr/bin/python3", SCRIPT]);
        Self(command.args(arguments).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits for its results.
    pub(crate) fn told(self) -> Value {
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success(), "fresh.py failed");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Measures and prints everything in this file.
pub(crate) fn measure(logins: usize) {
    let module = built::module();
    println!("\nThe module: {} bytes", fs::metadata(&module).unwrap().len());
    let loaded: Vec<Value> =
        (0..logins).map(|_| Process::start(&["load", module.to_str().unwrap()]).told()).collect();
    println!("\nLoaded into a process that has libpam");
    for (name, key) in
        [("dlopen, ms", "ms"), ("memory, kB", "rss_kb"), ("of which private, kB", "private_kb")]
    {
        row(name, &[&each(&loaded, key)]);
    }
    compare(logins);
}

/// Runs one login of each variant in turn, this many times.
fn compare(logins: usize) {
    let world = World::down(None);
    world.server.append(EXEMPT);
    world.server.start();
    let (joined, server) = (Joined::new(&world, "desk"), old::Server::start());
    joined.service("old", &server.stack(&joined.path("client.sh")));
    let mut told: [Vec<Value>; 3] = Default::default();
    let requests = requests(&world);
    for _ in 0..logins {
        for (service, told) in ["kbmfa", "old", "unix"].into_iter().zip(&mut told) {
            let process = joined.log_in(service).told();
            assert_eq!(process["code"], 0, "{service}: {process}");
            told.push(process);
        }
    }
    let requests = [self::requests(&world) - requests, server.requests()];
    println!("\nOne login that the server answers at once, from pam_start to pam_end in a new process");
    heads(&["kbmfa", "the old way's script", "pam_unix"]);
    for (name, key) in [
        ("time, ms", "ms"),
        ("CPU, children included, ms", "cpu_ms"),
        ("processes started", "processes"),
        ("memory that it leaves in the process, kB", "rss_kb"),
        ("of which private, kB", "private_kb"),
        ("threads afterwards", "threads"),
    ] {
        let columns = told.each_ref().map(|told| each(told, key));
        row(name, &columns.each_ref().map(Vec::as_slice));
    }
    let requests =
        requests.map(|count| [f64::from(u32::try_from(count).unwrap() / u32::try_from(logins).unwrap())]);
    row("HTTP requests", &[&requests[0], &requests[1]]);
    let ratio = |key| middle(&each(&told[1], key)) / middle(&each(&told[0], key));
    println!("old : kbmfa - time {:.1}, CPU {:.1}", ratio("ms"), ratio("cpu_ms"));
}

fn requests(world: &World) -> u64 {
    let metrics = world.server.status("/metrics").expect("metrics");
    let count = metrics.lines().find_map(|line| line.strip_prefix("kbmfa_requests_total "));
    count.expect("a count of requests").parse().unwrap()
}

fn each(told: &[Value], key: &str) -> Vec<f64> {
    told.iter().map(|told| told[key].as_f64().unwrap()).collect()
}
