//! Starts a service if a client finds none, which the real client does by default.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::environment::{CLOUD, cloud_socket};
use super::failure::{Result, log};
use super::invocation::Invocation;

/// What an automatically started service prints to stdout once it accepts calls.
pub(crate) const READY: &str = "ready";

/// Starts a service without a login, and waits until it accepts calls.
#[expect(clippy::disallowed_methods, reason = "the only place where the program starts another")]
pub(crate) fn start(invocation: &Invocation) -> Result<()> {
    log("INFO", "fork_server.go:71", "Starting background server");
    let place = &invocation.place;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--home")
        .arg(&place.home)
        .arg("--socket-file")
        .arg(&place.socket)
        .args(["service", "--auto-forked"])
        .env(CLOUD, cloud_socket())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut String::new())?;
    }
    Ok(())
}
