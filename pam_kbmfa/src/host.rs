//! `kbmfa-host`, the program that sets a machine up and looks after it. Its command line and its errors;
//! a file per verb. Nothing here runs during a login.

use clap::{Parser, Subcommand};
use std::fmt;
use std::io::{self, Write};

mod doctor;
mod join;
mod names;
mod pem;
mod place;
mod refresh;
mod status;

/// Prepares this machine to have its logins approved.
#[derive(Debug, Parser)]
#[command(name = "kbmfa-host", version, after_help = EXAMPLE)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLE: &str = "\
Example, with a token and the pin that the server printed:
  kbmfa-host join --server https://kbmfa.example:8443 --pin sha256:6f0c.. --token-file token.txt
  kbmfa-host status
Then add to /etc/pam.d/sshd, and keep a root shell open until a login has worked:
  account required pam_kbmfa.so
and let it all be looked at:
  kbmfa-host doctor";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Trade a one-time token for a credential, and write /etc/kbmfa.
    Join(join::Args),
    /// Look at everything that a login needs here, and rehearse one.
    Doctor(doctor::Args),
    /// Show whether every server can be reached and knows this machine.
    Status(status::Args),
    /// Look up where the servers are, and fetch the list of CAs to trust.
    #[command(alias = "refresh-ca")]
    Refresh(refresh::Args),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// An [`Error`] to be printed.
    pub fn run(&self, out: &mut impl Write) -> Result<(), Error> {
        match &self.verb {
            Verb::Join(args) => join::run(args, out),
            Verb::Doctor(args) => doctor::run(args, out),
            Verb::Status(args) => status::run(args, out),
            Verb::Refresh(args) => refresh::run(args, out),
        }
    }
}

/// What went wrong, line by line, and what may help.
#[derive(Debug)]
pub struct Error {
    what: Vec<String>,
    hint: Option<String>,
}

impl Error {
    fn new(what: impl fmt::Display) -> Self {
        Self { what: vec![what.to_string()], hint: None }
    }

    fn all<T: fmt::Display>(what: &[T]) -> Self {
        Self { what: what.iter().map(ToString::to_string).collect(), hint: None }
    }

    fn hint(self, hint: impl fmt::Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.iter().try_for_each(|what| writeln!(f, "kbmfa-host: error: {what}"))?;
        self.hint.iter().try_for_each(|hint| writeln!(f, "hint: {hint}"))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
