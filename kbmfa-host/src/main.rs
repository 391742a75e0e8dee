//! The program `kbmfa-host`. `kbmfa-host --help` describes its verbs.

#![forbid(unsafe_code)]

use clap::Parser;
use kbmfa_host::{Cli, Error};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let done = match Cli::try_parse() {
        Ok(cli) => cli.run(&mut io::stdout().lock()),
        Err(error) if error.use_stderr() && wants_json => Err(Error::usage(error.render())),
        Err(error) => {
            let status = if error.use_stderr() { Error::usage("").status() } else { 0 };
            // If standard output and error are both closed, the error cannot be reported.
            let _ = error.print();
            return status.into();
        }
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if let Some(text) = error.text(wants_json) {
        // If standard error is closed, the error cannot be reported.
        let _ = writeln!(io::stderr(), "{text}");
    }
    error.status().into()
}
