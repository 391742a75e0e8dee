//! `kbmfa-host status`: calls every address as a login would, and reports what is wrong.

use kbmfa_finding::Finding;
use kbmfa_proto::client::{Client, Error as CallError, Method, Target};
use kbmfa_proto::machine::Machine;
use kbmfa_proto::names::PoolName;
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::cures::{self, Stage};
use super::{Error, names};
use pam_kbmfa::clock::wall_us;
use pam_kbmfa::config::access::Access;
use pam_kbmfa::config::{ADDRESS_TIME, Config};

/// Difference of clocks, in seconds, from which on certificates and logs become unreliable.
const CLOCK_S_MAX: i64 = 30;

/// Show whether every server can be reached and knows this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 0 means that a server knows this machine and nothing is wrong.")]
pub(super) struct Args {
    /// The module's configuration
    #[arg(long, default_value = pam_kbmfa::args::CONFIG, value_name = "FILE")]
    config: PathBuf,
}

/// What one address answered.
struct Answer {
    target: Target,
    machine: Result<Machine, CallError>,
    /// How far this machine's clock is ahead of the server's, in seconds.
    ahead_s: i64,
}

pub(super) fn run(args: &Args, as_json: bool, out: &mut impl Write) -> Result<(), Error> {
    let config = super::load(&args.config)?;
    let access = Access::read(&config).map_err(|faults| Error::all(&faults))?;
    let answers: Vec<Answer> = config.targets.iter().map(|target| ask(target, &access)).collect();
    let complaints: Vec<String> = answers.iter().filter_map(|answer| complain(answer, &config)).collect();
    let notes = compare_names(&config);
    if as_json {
        let addresses: Vec<Value> = answers.iter().map(answer_json).collect();
        let ok = complaints.is_empty();
        let report = json!({ "ok": ok, "addresses": addresses, "complaints": complaints, "notes": notes });
        writeln!(out, "{report:#}")?;
    } else {
        print(&answers, &notes, out)?;
    }
    if complaints.is_empty() {
        return Ok(());
    }
    let mut hints: Vec<String> =
        answers.iter().filter(|answer| complain(answer, &config).is_some()).map(fix).collect();
    hints.dedup();
    Err(hints.iter().fold(Error::all(&complaints), Error::hint))
}

/// The same answers, as findings of `doctor`.
pub(super) fn findings(config: &Config, access: &Access) -> Vec<Finding> {
    let of_answer = |answer: Answer| {
        let what = format!("server {}", answer.target.address);
        match (complain(&answer, config), &answer.machine) {
            (None, Ok(machine)) => Finding::ok(what, describe(machine, answer.ahead_s)),
            (complaint, _) => Finding::fault(what, complaint.unwrap_or_default()).fix(fix(&answer)),
        }
    };
    let mut findings: Vec<Finding> =
        config.targets.iter().map(|target| of_answer(ask(target, access))).collect();
    findings.extend(compare_names(config).into_iter().map(|note| Finding::weak("addresses", note)));
    findings
}

/// The fix for a bad answer.
fn fix(answer: &Answer) -> String {
    match &answer.machine {
        Err(error) => cures::cure(error, &answer.target.host, Stage::Joined),
        Ok(_) if answer.ahead_s.abs() > CLOCK_S_MAX => "set the clock and synchronise it (NTP)".into(),
        Ok(_) => "the times must nest: docs/recipes.md, Times".into(),
    }
}

/// What the servers call this machine, if one of the first two answers.
pub(super) fn machine_name(config: &Config) -> Option<String> {
    let access = Access::read(config).ok()?;
    let answers = config.targets.iter().take(2).map(|target| ask(target, &access));
    answers.filter_map(|answer| answer.machine.ok()).map(|machine| machine.name.to_string()).next()
}

fn ask(target: &Target, access: &Access) -> Answer {
    let nothing: Option<&()> = None;
    let start_us = wall_us();
    let machine: Result<Machine, CallError> =
        Client::new(target, &access.trust, Some(&access.authorization()), None)
            .and_then(|client| client.call(Method::GET, "/v1/machines/self", nothing, ADDRESS_TIME));
    // The server read its clock between our two readings.
    let here_us = i64::midpoint(start_us, wall_us());
    let ahead_us = machine.as_ref().map_or(0, |machine| here_us.saturating_sub(machine.server_time_us));
    Answer { target: target.clone(), machine, ahead_s: ahead_us / 1_000_000 }
}

/// The fault of an answer, if any.
fn complain(answer: &Answer, config: &Config) -> Option<String> {
    let address = answer.target.address;
    let deadline_s = config.deadline.as_secs();
    match &answer.machine {
        Err(error) => Some(format!("{address}: {error}")),
        Ok(machine) if deadline_s <= machine.window_s => Some(format!(
            "{address}: the server waits {}s for an answer, but the deadline here is {deadline_s}s",
            machine.window_s
        )),
        Ok(machine) if failing_over_s(config) >= machine.poll_grace_s => Some(format!(
            "{address}: trying every server takes up to {}s, but this one drops a silent machine after {}s",
            failing_over_s(config),
            machine.poll_grace_s
        )),
        Ok(_) if answer.ahead_s.abs() > CLOCK_S_MAX => {
            Some(format!("{address}: the clocks differ by {}s", answer.ahead_s.abs()))
        }
        Ok(_) => None,
    }
}

/// How long a module may be silent while it tries one address after the other.
fn failing_over_s(config: &Config) -> u64 {
    ADDRESS_TIME.as_secs().saturating_mul(u64::try_from(config.targets.len()).unwrap_or(u64::MAX))
}

/// Servers whose addresses in pam.toml differ from the resolver's.
fn compare_names(config: &Config) -> Vec<String> {
    let mut notes: Vec<String> = config.targets.iter().filter_map(|target| compare(target, config)).collect();
    notes.dedup();
    notes
}

fn compare(target: &Target, config: &Config) -> Option<String> {
    let Target { host, address } = target;
    let of_host =
        config.targets.iter().filter(|other| other.host == *host && other.address.port() == address.port());
    let mut on_file: Vec<SocketAddr> = of_host.map(|other| other.address).collect();
    let mut now = match names::look_up(host, address.port()) {
        Ok(now) => now,
        Err(error) => return Some(format!("{host} cannot be looked up: {error}; logins do not need that")),
    };
    on_file.sort();
    now.sort();
    let list = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
    };
    (now != on_file).then(|| {
        let (on_file, now) = (list(&on_file), list(&now));
        format!("{host} is {on_file} in pam.toml and {now} by its name; edit [addresses] if it has moved")
    })
}

fn print(answers: &[Answer], notes: &[String], out: &mut impl Write) -> Result<(), Error> {
    let width = answers.iter().map(|answer| answer.target.address.to_string().len()).max().unwrap_or(0);
    for answer in answers {
        let Target { host, address } = &answer.target;
        let address = address.to_string();
        let found = match &answer.machine {
            Ok(machine) => format!("ok, {}", describe(machine, answer.ahead_s)),
            Err(error) => format!("{}, {error}", word(error)),
        };
        writeln!(out, "{address:width$}  {host}  {found}")?;
    }
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

fn describe(machine: &Machine, ahead_s: i64) -> String {
    let pools: Vec<&str> = machine.pools.iter().map(PoolName::as_str).collect();
    let pools = if pools.is_empty() { "none".to_owned() } else { pools.join(",") };
    format!("machine {}, pools {pools}, window {}s, clock {ahead_s:+}s", machine.name, machine.window_s)
}

/// How far a call got, in one word.
fn word(error: &CallError) -> &'static str {
    match error {
        CallError::Connect(_) => "unreachable",
        CallError::Tls(_) => "untrusted",
        CallError::Refused(_) => "refused",
        CallError::Timeout
        | CallError::StoodStill
        | CallError::Lost(_)
        | CallError::Garbage(_)
        | CallError::HungUp => "broken",
    }
}

fn answer_json(answer: &Answer) -> Value {
    let Target { host, address } = &answer.target;
    match &answer.machine {
        Ok(machine) => json!({
            "host": host,
            "address": address.to_string(),
            "state": "ok",
            "machine": machine.name,
            "pools": machine.pools,
            "window_s": machine.window_s,
            "clock_ahead_s": answer.ahead_s,
        }),
        Err(error) => json!({
            "host": host,
            "address": address.to_string(),
            "state": word(error),
            "error": error.to_string(),
        }),
    }
}
