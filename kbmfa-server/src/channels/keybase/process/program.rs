//! Starts the `keybase` program; no other module does. Every child process gets a clean environment, cannot
//! start a service by itself, and is killed when its handle is dropped.

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

/// Variables that child processes inherit: where programs are, and where the files of an ambient service are.
const PASSED_ON: [&str; 5] =
    ["PATH", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"];

/// Longest time for a verb that exits by itself.
pub(in crate::channels::keybase) const VERB_TIME: Duration = Duration::from_secs(20);

/// Maximum output that is read of a verb that exits by itself, in bytes.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// Why a call to the client failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::channels::keybase) enum Error {
    /// The client refused the request, and did nothing.
    #[error("keybase: {message}")]
    Refused {
        /// The client's message.
        message: String,
        /// How long the client will refuse further requests, if it is a rate limit.
        pause: Option<Duration>,
    },
    /// No valid reply, and none will follow. It is unknown whether the request was executed.
    #[error("keybase: {0}")]
    Broken(String),
    /// No reply in time. The request may even be executed later.
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

/// What to do with a child's stderr. A full pipe without a reader would block the child, and a closed one
/// could end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::channels::keybase) enum Stderr {
    /// Through a pipe, which the caller must read.
    Read,
    /// Discarded.
    Ignored,
}

/// The program, and the home of its service.
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

    /// Starts a long-lived child process with pipes to its standard streams.
    pub(in crate::channels::keybase) fn start(
        &self,
        arguments: &[&str],
        stderr: Stderr,
    ) -> Result<Child, Error> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(match stderr {
            Stderr::Read => Stdio::piped(),
            Stderr::Ignored => Stdio::null(),
        });
        command.spawn().map_err(|error| Error::broken(format_args!("{}: {error}", self.path.display())))
    }

    /// Runs a verb until it exits, and returns its standard output.
    pub(in crate::channels::keybase) async fn run(
        &self,
        arguments: &[&str],
        input: Option<&Secret>,
        time: Duration,
    ) -> Result<String, Error> {
        let verb = arguments.first().copied().unwrap_or_default();
        let mut child = self.start(arguments, Stderr::Read)?;
        let done = timeout(time, finish(&mut child, input)).await;
        let done = done.map_err(|_| Error::Late(format!("`{verb}` did not finish within {time:?}")))?;
        let (is_success, stdout, stderr) =
            done.map_err(|error| Error::broken(format_args!("`{verb}`: {error}")))?;
        if is_success { Ok(stdout) } else { Err(Error::refused(format!("`{verb}`: {}", last_line(&stderr)))) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear().envs(passed_on()).env("KEYBASE_NO_AUTO_FORK", "1").kill_on_drop(true);
        match &self.home {
            Some(home) => {
                command.env("HOME", home).arg("--home").arg(home);
            }
            // Not $HOME, because if root started this process and it has changed its account, $HOME is still
            // root's.
            None => drop(own_home().map(|home| command.env("HOME", home))),
        }
        command.arg("--no-auto-fork").args(arguments);
        command
    }
}

fn own_home() -> Option<PathBuf> {
    Some(User::from_uid(Uid::effective()).ok()??.dir)
}

#[expect(clippy::disallowed_methods, reason = "the client needs them, and reads them from its environment")]
fn passed_on() -> impl Iterator<Item = (&'static str, OsString)> {
    PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

async fn finish(child: &mut Child, input: Option<&Secret>) -> std::io::Result<(bool, String, String)> {
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        pipe.write_all(format!("{}\n", input.reveal()).as_bytes()).await?;
    }
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (read_output, read_errors) =
        tokio::join!(async { Some(stdout?.take(OUTPUT_BYTES_MAX).read_to_end(&mut output).await) }, async {
            Some(stderr?.take(OUTPUT_BYTES_MAX).read_to_end(&mut errors).await)
        });
    read_output.transpose()?;
    read_errors.transpose()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((child.wait().await?.success(), text(output), text(errors)))
}

/// The last line of the client's stderr, without time and source location.
pub(in crate::channels::keybase) fn last_line(stderr: &str) -> String {
    let line = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no error message");
    let after_location = line.split_once("] ").map_or(line, |(_, rest)| rest);
    let message = after_location.split_once(' ').filter(|(number, _)| number.parse::<u32>().is_ok());
    kbmfa_proto::text::SafeText::new(message.map_or(after_location, |(_, rest)| rest)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_message_has_no_time_and_no_source_location() {
        let check = |stderr: &str, expected: &str| assert_eq!(last_line(stderr), expected);
        check(
            "2024-01-17T10:00:00.123456Z ▶ [ERRO keybase main.go:86] 001 Login required\n",
            "Login required",
        );
        check("first\nsecond\n\n", "second");
        check("", "no error message");
    }
}
