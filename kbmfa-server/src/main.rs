//! Starts the program, and prints the error if there is one.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // journald reads the <N> at the head of a line as its priority.
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .filter_module("kbmfa", log::LevelFilter::Debug)
        .format(|out, record| {
            let priority = match record.level() {
                log::Level::Error => 3,
                log::Level::Warn => 4,
                log::Level::Info => 6,
                log::Level::Debug | log::Level::Trace => 7,
            };
            writeln!(out, "<{priority}>{}: {}", record.target(), record.args())
        })
        .init();
    // Our own debug lines come out only if somebody turns this up.
    log::set_max_level(log::LevelFilter::Info);
    match kbmfa_server::cli::run(kbmfa_server::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nowhere to say it if stderr is gone.
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::FAILURE
        }
    }
}
