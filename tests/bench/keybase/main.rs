//! Measures how long a login waits after somebody has approved it in Keybase, and what it costs: through
//! kbmfa, and through a re-creation of the old tool on the same kind of machine with the same double of
//! Keybase. It reports figures and has no pass or fail. Usage: bench-keybase [LOGINS]

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench starts processes, prints, and fails by a loud panic"
)]

mod client;
mod login;
mod old;
mod ours;
mod plain;
mod sshd;
mod table;

use kbmfa_tests::wait::pass;
use std::env;
use std::fmt;
use std::fs;
use std::time::Duration;

use login::{Sample, Way, log_in};
use old::Old;
use ours::Ours;
use plain::Plain;

/// Number of logins of each variant, for each kind of approver.
const LOGINS: usize = 20;

/// Number of logins before the ones that count.
const WARM_UP: usize = 2;

/// How long the slow approver waits before the approval.
const SLOW: Duration = Duration::from_secs(5);

/// Length of the measurement without logins.
const IDLE: Duration = Duration::from_secs(20);

fn main() {
    let logins = env::args().nth(1).map_or(LOGINS, |number| number.parse().expect("a number of logins"));
    let began = load();
    eprintln!("bench: starting a machine with each way of asking, and one with none");
    let (ours, old, plain) = (Ours::start(), Old::start(), Plain::start());
    let ways: [&dyn Way; 3] = [&ours, &old, &plain];
    let ((stream, process), sshd) = (old.round_trips(), plain.account_to_shell());
    eprintln!("bench: looking at the two servers while nobody logs in");
    let (idle_ours, idle_old) = (Idle::of(&ours), Idle::of(&old));
    println!("{logins} logins each way, in turns; medians (least - most). Load {began} at first");
    println!("\nThe double's own round trip of one `read`, ms");
    table::line("on a `chat api` that stays", &stream);
    table::line("by a `chat api` of its own", &process);
    println!("\nsshd's own time, ms");
    table::line("account phase to the shell", &sshd);
    println!("\nIn a minute without logins\n{:<46}{idle_ours}\n{:<46}{idle_old}", "kbmfa", "the old way");
    for (approver, delay) in [("at once", Duration::ZERO), ("after 5 s", SLOW)] {
        let samples = run(&ways, approver, delay, logins);
        println!("\nApproved {approver}");
        table::print(&samples);
    }
    println!("\nThe double's complaints: kbmfa {}, the old way {}", ours.complaints(), old.complaints());
    println!("Load {} at last", load());
}

/// Runs this many logins of each variant, in turns, so that a busy moment of the computer affects all
/// variants.
fn run(ways: &[&dyn Way; 3], approver: &str, delay: Duration, logins: usize) -> [Vec<Sample>; 3] {
    let mut samples: [Vec<Sample>; 3] = Default::default();
    for number in 0..logins + WARM_UP {
        if number % 5 == 0 {
            eprintln!("bench: approved {approver}: {number} of {} logins each way", logins + WARM_UP);
        }
        for (way, samples) in ways.iter().zip(&mut samples) {
            let sample = log_in(*way, delay);
            if number >= WARM_UP {
                samples.push(sample);
            }
        }
    }
    samples
}

/// Costs of a variant in a minute without logins.
struct Idle {
    cpu_ms: f64,
    keybase_requests: f64,
}

impl Idle {
    fn of(way: &dyn Way) -> Self {
        let look = || (way.server_ms() + way.machine_ms(), login::of_keybase(way).0);
        let (cpu, requests) = look();
        pass(IDLE);
        let (cpu_then, requests_then) = look();
        let requests = f64::from(u32::try_from(requests_then - requests).unwrap());
        let minutes = IDLE.as_secs_f64() / 60.0;
        Self { cpu_ms: (cpu_then - cpu) / minutes, keybase_requests: requests / minutes }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ms of CPU, {:.0} Keybase requests", self.cpu_ms, self.keybase_requests)
    }
}

/// The computer's load in the last minute.
fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    load.split(' ').next().unwrap().to_owned()
}
