//! The command line of the real program: global flags, then a command.

mod api;
mod autofork;
mod client;
mod ctl;
mod double;
mod environment;
mod failure;
mod fate;
mod flags;
mod invocation;
mod json;
mod listen;
mod login;
mod place;
mod service;
mod signals;
mod stream;

use std::process::ExitCode;

use crate::wire::Family;
use failure::{Failure, Result};
use invocation::Invocation;

/// Runs the program with the arguments of this process.
pub fn run() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "double") {
        return double::run();
    }
    match invocation::parse(&words).and_then(|invocation| fate::end(dispatch(&invocation))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(invocation: &Invocation) -> Result<()> {
    invocation.refuse_root()?;
    if invocation.command.first().is_some_and(|command| command != "service") {
        signals::on_signal(signals::interrupt)?;
    }
    let words: Vec<&str> = invocation.command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["service", rest @ ..] => service::run(invocation, rest),
        ["ctl", "wait", rest @ ..] => ctl::wait(invocation, rest),
        ["ctl", "stop", rest @ ..] => ctl::stop(invocation, rest),
        ["version", rest @ ..] => ctl::version(invocation, rest),
        ["ping", ..] => ctl::ping(invocation),
        ["chat", "api", rest @ ..] => api::run(invocation, Family::Chat, rest),
        ["team", "api", rest @ ..] => api::run(invocation, Family::Team, rest),
        ["chat", "api-listen", rest @ ..] => listen::run(invocation, rest),
        ["chat", "notification-settings", ..] => login::notification_settings(invocation),
        ["whoami", rest @ ..] => login::whoami(invocation, rest),
        ["status", rest @ ..] => login::status(invocation, rest),
        ["oneshot", rest @ ..] => login::oneshot(invocation, rest),
        ["logout", ..] => login::logout(invocation),
        other => Err(Failure::new(format!("Command not found: {}", other.join(" ")))),
    }
}
