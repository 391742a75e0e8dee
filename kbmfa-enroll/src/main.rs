//! The program `kbmfa-enroll`. `kbmfa-enroll --help` describes its verbs.

#![forbid(unsafe_code)]

use clap::Parser;
use kbmfa_enroll::{Cli, Terminal};
use std::io::{self, Write};
use std::process::ExitCode;

/// `EX_USAGE` of `sysexits.h`.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json => {
            let text = serde_json::json!({ "error": error.render().to_string(), "code": null });
            // If standard error is closed, the error cannot be reported, here and below.
            let _ = writeln!(io::stderr(), "{text}");
            return USAGE.into();
        }
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let Err(error) = cli.run(&mut Terminal, &mut io::stdout().lock()) else { return ExitCode::SUCCESS };
    let text = if wants_json { error.to_json() } else { format!("kbmfa-enroll: {error}") };
    let _ = writeln!(io::stderr(), "{text}");
    if error.is_usage() { USAGE.into() } else { ExitCode::FAILURE }
}
