//! Measures what the module adds to a process and to a login: its size and memory, the time from an answer to
//! its return, and what one login costs the server, each beside sshd alone, `pam_unix` or the old tool's
//! script. It reports figures and has no pass or fail. Usage: bench-module [LOGINS]

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

mod answer;
#[path = "../keybase/client.rs"]
mod client;
mod cost;
mod figures;
mod fresh;
mod joined;
mod old;
mod proxy;
#[path = "../keybase/sshd.rs"]
mod sshd;

use std::env;
use std::fs;

/// Number of logins of each kind.
const LOGINS: usize = 30;

fn main() {
    let logins = env::args().nth(1).map_or(LOGINS, |number| number.parse().expect("a number of logins"));
    println!("{logins} of each; medians (least - most). Load {} at first", load_average());
    fresh::measure(logins);
    answer::measure(logins);
    cost::measure(logins);
    println!("\nLoad {} at last", load_average());
}

/// The computer's load in the last minute.
fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().to_owned()
}
