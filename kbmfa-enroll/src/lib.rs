//! `kbmfa-enroll`: enrols the ssh key of an employee's computer with an invite, and manages the person's keys
//! afterwards.

#![forbid(unsafe_code)]

mod ask;
mod config;
mod enrol;
mod error;
#[cfg(test)]
mod fake;
mod files;
mod key;
mod keygen;
mod me;
mod os;
mod password;
mod print;
mod profile;
mod progress;
mod server;
mod session;

use kbmfa_proto::pin::Pin;
use std::io::Write;
use std::time::Duration;

pub use ask::{Ask, Terminal};
pub use error::Error;
use os::Computer;
use print::Report;
use profile::Profile;
use server::{Https, Location};
use session::Session;

/// Enrols the ssh key of this computer with your invite. Afterwards its verbs show and manage your keys.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub struct Cli {
    /// The server, as https://HOST:PORT [default: the one of your last enrolment]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<Location>,
    /// Pin of the server's CA, as sha256:HEX [default: the one of your last enrolment]
    #[arg(long, global = true)]
    pin: Option<Pin>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    enrol: enrol::Args,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show you, your keys and your machines
    Status(me::Status),
    /// Show your keys
    List(me::By),
    /// Enrol one more key, by a key that is enrolled
    Add(me::Add),
    /// Enrol a new key in the place of the one that signs
    Rotate(me::Add),
    /// Revoke one of your keys
    Revoke(me::Revoke),
    /// Choose or remove the password of your account on the machines
    Password(me::Password),
}

impl Cli {
    /// Runs the verb.
    ///
    /// # Errors
    /// Every [`Error`].
    pub fn run(self, ask: &mut dyn Ask, out: &mut dyn Write) -> Result<(), Error> {
        if self.verb.is_some() && self.enrol != enrol::Args::default() {
            return Err(Error::Usage("put the options behind the verb"));
        }
        let computer = Computer::here()?;
        let known = Profile::read(&computer)?;
        let (location, pin) = profile::server(self.server, self.pin, known.as_ref())?;
        let server = Https::new(&location, pin)?;
        let known = known.filter(|known| known.server == location);
        let keys = known.map(|known| known.keys).unwrap_or_default();
        let mut session = Session {
            computer: &computer,
            server: &server,
            ask,
            out: Report { out, json: self.json },
            profile: Profile { server: location, pin, keys },
            in_agent: &|| keygen::in_agent(computer.os),
            sleep: &sleep,
        };
        match self.verb {
            None => enrol::run(&self.enrol, &mut session),
            Some(Verb::Status(args)) => me::status(&args, &mut session),
            Some(Verb::List(by)) => me::list(&by, &mut session),
            Some(Verb::Add(args)) => me::add(&args, &mut session),
            Some(Verb::Rotate(args)) => me::rotate(&args, &mut session),
            Some(Verb::Revoke(args)) => me::revoke(&args, &mut session),
            Some(Verb::Password(args)) => me::password(&args, &mut session),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program has nothing to do between two questions to the server"
)]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_one_that_clap_accepts() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_option_of_enrolling_before_a_verb_is_refused_and_not_ignored() {
        let cli = Cli::try_parse_from(["kbmfa-enroll", "--yes", "revoke", "SHA256:x"]).unwrap();
        let done = cli.run(&mut fake::Script::new(&[]), &mut Vec::new());
        assert!(matches!(done, Err(Error::Usage(_))));
    }
}
