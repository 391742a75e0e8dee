//! Sets a machine up for kbmfa and looks after it; see `kbmfa-host --help`.

#![forbid(unsafe_code)]

use clap::Parser;
use pam_kbmfa::host::Cli;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run(&mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed there is nobody left to tell.
            let _ = write!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
