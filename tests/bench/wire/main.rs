//! Measures the server's capacity: logins per second over lasting and over new connections, and ten thousand
//! polls that it holds, each beside its lower bound: the database alone, and a handler that does nothing
//! behind the same accept loop. It reports figures and has no pass or fail. Usage: wire [SECONDS [POLLS]]

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench starts processes, reads the clock, prints, and fails by a loud panic"
)]

mod approver;
mod bare;
mod bed;
mod client;
mod database;
mod figures;
mod hold;
mod load;

use std::env;

/// Seconds for which each way of logging in is measured.
const SECONDS: u64 = 10;

/// Number of polls that are held.
const POLLS: usize = 10_000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The other processes, except the server, are this program with other arguments.
        ["bare", config, port] => bare::run(config.as_ref(), port.parse().unwrap()),
        ["load", rest @ ..] => load::run(rest),
        ["hold", rest @ ..] => hold::run(rest),
        rest => {
            let number = |at: usize| rest.get(at).map(|word| word.parse::<usize>().unwrap());
            let seconds = number(0).map_or(SECONDS, |seconds| seconds as u64);
            println!("Load {} at first", figures::load_average());
            load::measure(seconds);
            hold::measure(number(1).unwrap_or(POLLS));
            println!("\nLoad {} at last", figures::load_average());
        }
    }
}
