//! `ctl wait`, `ctl stop`, `ping` and `version`, none of which starts a service.

use std::thread;
use std::time::Duration;

use super::client::answers;
use super::environment::cloud_socket;
use super::failure::{Failure, Result, log, print};
use super::flags::{Flag, Flags};
use super::invocation::Invocation;
use super::login::VERSION;
use crate::clock::monotonic_us;
use crate::link::Link;
use crate::wire::Call;

const WAIT: &[Flag] = &[(&["duration", "d"], true), (&["include-kbfs"], false)];
const STOP: &[Flag] = &[(&["shutdown"], false), (&["no-wait"], false), (&["all"], false)];
const SHOW: &[Flag] = &[(&["S"], false), (&["f", "format"], true), (&["svc"], false)];

/// Longest wait of `ctl wait`.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Interval at which the socket is checked.
const TICK: Duration = Duration::from_millis(20);

/// Waits until the service answers.
pub(crate) fn wait(invocation: &Invocation, words: &[&str]) -> Result<()> {
    let (flags, _) = Flags::read(WAIT, words)?;
    invocation.note("ctl wait", false, Vec::new())?;
    let limit = flags.value("duration").map_or(Ok(Duration::from_secs(10)), seconds)?.min(WAIT_MAX);
    let start = monotonic_us();
    loop {
        let left = limit.saturating_sub(Duration::from_micros(monotonic_us() - start));
        if left.is_zero() {
            return Err(Failure::new(format!("service failed to startup: timed out after {limit:?}")));
        }
        if answers(&invocation.place.socket, left) {
            return Ok(());
        }
        thread::park_timeout(TICK);
    }
}

/// Parses a Go duration in one unit, such as `60s`.
fn seconds(text: &str) -> Result<Duration> {
    let bad = || Failure::new(format!("invalid value \"{text}\" for flag -duration"));
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?);
    let number: u64 = number.parse().map_err(|_| bad())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" | "m0s" => Ok(Duration::from_secs(number * 60)),
        _ => Err(bad()),
    }
}

/// Stops the service.
pub(crate) fn stop(invocation: &Invocation, words: &[&str]) -> Result<()> {
    Flags::read(STOP, words)?;
    invocation.note("ctl stop", false, Vec::new())?;
    let Ok(mut link) = Link::dial(&invocation.place.socket) else { return Ok(()) };
    link.send(&Call::Stop)?;
    // The connection ends when the service ends.
    while let Ok(Some(_)) = link.receive::<serde_json::Value>() {}
    Ok(())
}

/// Reports on stderr whether the servers answer.
pub(crate) fn ping(invocation: &Invocation) -> Result<()> {
    invocation.note("ping", true, Vec::new())?;
    let unreachable = |error| Failure::new(format!("API network error: {error}"));
    Link::dial(&cloud_socket()).map_err(unreachable)?;
    log("INFO", "cmd_ping.go:39", "Received reply from https://api-1.core.keybaseapi.com");
    Ok(())
}

/// Prints the versions of client and service.
pub(crate) fn version(invocation: &Invocation, words: &[&str]) -> Result<()> {
    let (flags, _) = Flags::read(SHOW, words)?;
    invocation.note("version", false, Vec::new())?;
    if flags.value("f") == Some("s") {
        return print(&format!("{VERSION}\n"));
    }
    let has_service = !flags.is_on("S") && answers(&invocation.place.socket, Duration::from_secs(1));
    let service = if has_service { format!("Service: {VERSION}\n") } else { String::new() };
    print(&format!("Client:  {VERSION}\n{service}"))
}
