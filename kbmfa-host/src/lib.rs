//! `kbmfa-host` sets a machine up and maintains it: the command line, its errors, and a file for each verb.
//! Nothing here runs during a login. It reads the machine's files with the module's own code, so both always
//! agree.

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::path::Path;

use pam_kbmfa::config::Config;

mod cures;
mod doctor;
mod error;
mod host_keys;
mod join;
mod leave;
mod names;
mod pem;
mod place;
mod refresh;
mod report;
mod status;

pub use error::Error;
use report::Report;

/// Sets this machine up to have its logins approved.
#[derive(Debug, Parser)]
#[command(name = "kbmfa-host", version, after_help = EXAMPLE)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON, errors included
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLE: &str = "\
Example, with a token and the pin that the server printed:
  kbmfa-host join --server https://kbmfa.example:8443 --pin sha256:6f0c.. --token-file token.txt
  kbmfa-host status
Then add to /etc/pam.d/sshd, and keep a root shell open until a login has worked:
  account required pam_kbmfa.so
and check everything:
  kbmfa-host doctor";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Exchange a one-time token for a credential, and write /etc/kbmfa.
    Join(join::Args),
    /// Check everything that a login needs on this machine, and do a dry run of one.
    Doctor(doctor::Args),
    /// Show whether every server can be reached and knows this machine.
    Status(status::Args),
    /// Update the servers' addresses, and the list of CAs to trust.
    #[command(alias = "refresh-ca")]
    Refresh(refresh::Args),
    /// Remove kbmfa's files from this machine, once no line of PAM or sshd names it.
    Leave(leave::Args),
}

impl Cli {
    /// Runs the verb.
    pub fn run(&self, out: &mut impl Write) -> Result<(), Error> {
        let mut report = |work: &dyn Fn(&mut Report<'_>) -> Result<(), Error>| {
            let mut report = Report::new(out, self.json);
            let done = work(&mut report);
            report.finish()?;
            done
        };
        match &self.verb {
            Verb::Join(args) => report(&|report| join::run(args, report)),
            Verb::Doctor(args) => doctor::run(args, self.json, out),
            Verb::Status(args) => status::run(args, self.json, out),
            Verb::Refresh(args) => report(&|report| refresh::run(args, report)),
            Verb::Leave(args) => report(&|report| leave::run(args, report)),
        }
    }
}

/// The settings of a machine that has joined.
fn load(path: &Path) -> Result<Config, Error> {
    if is_missing(path) {
        return Err(Error::new(not_joined(path)).hint(JOIN_FIRST));
    }
    Config::load(path).map_err(|faults| Error::all(&faults))
}

fn is_missing(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn not_joined(path: &Path) -> String {
    format!("this machine has not joined a server: there is no {}", path.display())
}

/// The fix for a machine that has not joined.
const JOIN_FIRST: &str = "join first: `kbmfa-host join --server https://HOST:PORT --pin sha256:HEX --token-file FILE`; on \
                          the server's host `kbmfa-server ca show` prints the pin, `kbmfa-server machine add NAME` and \
                          `kbmfa-server machine join-token NAME` the token";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
