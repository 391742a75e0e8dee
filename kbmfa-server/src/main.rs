//! The program `kbmfa-server`: runs a verb and prints its error, if there is one.

use clap::Parser;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use kbmfa_server::admin::{Exit, Failure};
use kbmfa_server::cli::{self, Cli};

fn main() -> ExitCode {
    start_logging(io::stderr().is_terminal());
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let done = match Cli::try_parse() {
        Ok(cli) => cli::run(cli),
        Err(error) if error.use_stderr() && wants_json => Err(Failure::usage(error.render())),
        Err(error) => {
            let status = if error.use_stderr() { Exit::Usage.status() } else { 0 };
            // If both streams are closed the error cannot be reported.
            let _ = error.print();
            return status.into();
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = if wants_json { failure.to_json() } else { failure.to_string() };
            if matches!(failure.exit(), Exit::Failed | Exit::Usage) {
                // If stderr is closed the error cannot be reported.
                let _ = writeln!(io::stderr(), "{text}");
            }
            failure.exit().status().into()
        }
    }
}

/// At a terminal, each line begins with its level in words. Elsewhere it begins with `<N>`, which journald
/// reads as the priority (sd-daemon(3)).
fn start_logging(is_terminal: bool) {
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .filter_module("kbmfa", log::LevelFilter::Debug)
        .format(move |out, record| {
            let (priority, word) = match record.level() {
                log::Level::Error => (3, "error"),
                log::Level::Warn => (4, "warning"),
                log::Level::Info => (6, "info"),
                log::Level::Debug | log::Level::Trace => (7, "debug"),
            };
            if is_terminal {
                writeln!(out, "kbmfa-server: {word}: {}", record.args())
            } else {
                writeln!(out, "<{priority}>{}: {}", record.target(), record.args())
            }
        })
        .init();
    // Debug lines are only written if the level is raised.
    log::set_max_level(log::LevelFilter::Info);
}
