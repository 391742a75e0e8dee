//! The only place that starts `keybase`. Every child gets an environment of its own making, never starts a service
//! behind our back, and is killed when it is dropped.

use nix::unistd::{Uid, User};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::super::settings::Service;
use crate::secret::Secret;

/// What a child gets of our environment: where programs and, for a service that is not ours, its files are.
const PASSED_ON: [&str; 5] =
    ["PATH", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"];

/// Longest time for a verb that ends by itself.
pub(in crate::channels::keybase) const VERB_TIME: Duration = Duration::from_secs(20);

/// As much as is read of what a child prints that ends by itself.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// Why the client did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::channels::keybase) enum Error {
    /// It said so: nothing was done.
    #[error("keybase: {message}")]
    Refused {
        /// Its words.
        message: String,
        /// How long it will go on saying so.
        pause: Option<Duration>,
    },
    /// It did not say, and never will: what it was asked may be done, or not.
    #[error("keybase: {0}")]
    Broken(String),
    /// It has not said yet: what it was asked may even be done later.
    #[error("keybase: {0}")]
    Late(String),
}

impl Error {
    pub(in crate::channels::keybase) fn broken(what: impl std::fmt::Display) -> Self {
        Self::Broken(what.to_string())
    }

    pub(in crate::channels::keybase) fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), pause: None }
    }
}

/// What becomes of what a child complains about. A pipe that nobody reads would stop it, or end it, one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::channels::keybase) enum Complaints {
    Read,
    Ignored,
}

/// The program, and whose service it talks to.
#[derive(Debug, Clone)]
pub(in crate::channels::keybase) struct Program {
    path: PathBuf,
    home: Option<PathBuf>,
}

impl Program {
    pub(in crate::channels::keybase) fn new(path: &Path, service: &Service) -> Self {
        let home = match service {
            Service::Own { home } => Some(home.clone()),
            Service::Ambient { home } => home.clone(),
        };
        Self { path: path.to_owned(), home }
    }

    /// Starts a child that stays, with pipes to its ends.
    pub(in crate::channels::keybase) fn start(
        &self,
        arguments: &[&str],
        complaints: Complaints,
    ) -> Result<Child, Error> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(match complaints {
            Complaints::Read => Stdio::piped(),
            Complaints::Ignored => Stdio::null(),
        });
        command.spawn().map_err(|error| Error::broken(format_args!("{}: {error}", self.path.display())))
    }

    /// Runs it to its end and returns what it printed.
    pub(in crate::channels::keybase) async fn run(
        &self,
        arguments: &[&str],
        input: Option<&Secret>,
        time: Duration,
    ) -> Result<String, Error> {
        let verb = arguments.first().copied().unwrap_or_default();
        let mut child = self.start(arguments, Complaints::Read)?;
        let done = timeout(time, finish(&mut child, input)).await;
        let done = done.map_err(|_| Error::Late(format!("`{verb}` did not end within {time:?}")))?;
        let (is_well, out, complaint) =
            done.map_err(|error| Error::broken(format_args!("`{verb}`: {error}")))?;
        if is_well { Ok(out) } else { Err(Error::refused(format!("`{verb}`: {}", last_line(&complaint)))) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear().envs(passed_on()).env("KEYBASE_NO_AUTO_FORK", "1").kill_on_drop(true);
        match &self.home {
            Some(home) => {
                command.env("HOME", home).arg("--home").arg(home);
            }
            // Not the environment's: whoever was root a moment ago still has root's there.
            None => drop(own_home().map(|home| command.env("HOME", home))),
        }
        command.arg("--no-auto-fork").args(arguments);
        command
    }
}

fn own_home() -> Option<PathBuf> {
    Some(User::from_uid(Uid::effective()).ok()??.dir)
}

fn passed_on() -> impl Iterator<Item = (&'static str, OsString)> {
    PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

async fn finish(child: &mut Child, input: Option<&Secret>) -> std::io::Result<(bool, String, String)> {
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        pipe.write_all(format!("{}\n", input.reveal()).as_bytes()).await?;
    }
    let (mut out, mut complaint) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (read, complained) =
        tokio::join!(async { Some(stdout?.take(OUTPUT_BYTES_MAX).read_to_end(&mut out).await) }, async {
            Some(stderr?.take(OUTPUT_BYTES_MAX).read_to_end(&mut complaint).await)
        });
    read.transpose()?;
    complained.transpose()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((child.wait().await?.success(), text(out), text(complaint)))
}

/// The last line of what it complained about, without the time and the place in its source.
pub(in crate::channels::keybase) fn last_line(complaint: &str) -> String {
    let line = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
    let after_place = line.split_once("] ").map_or(line, |(_, rest)| rest);
    let words = after_place.split_once(' ').filter(|(number, _)| number.parse::<u32>().is_ok());
    kbmfa_proto::text::SafeText::new(words.map_or(after_place, |(_, rest)| rest)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_told_without_its_time_and_place() {
        let check = |complaint: &str, expected: &str| assert_eq!(last_line(complaint), expected);
        check(
            "2024-01-17T10:00:00.123456Z ▶ [ERRO keybase main.go:86] 001 Login required\n",
            "Login required",
        );
        check("first\nsecond\n\n", "second");
        check("", "it did not say why");
    }
}
