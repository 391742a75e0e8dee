//! Sets a machine up for kbmfa and maintains it; see `kbmfa-host --help`.

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
            // Nowhere to say it if both are gone.
            let _ = error.print();
            return status.into();
        }
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if let Some(text) = error.text(wants_json) {
        // If standard error is closed there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{text}");
    }
    error.status().into()
}
