//! The server as a login sees it: fails over between all addresses of all servers.
//!
//! Only if no address gave a TCP connection, the server counts as unreachable. A server that is reached and
//! then fails does not.

use kbmfa_proto::client::Error;
use kbmfa_proto::login::{LoginReply, OpenLogin};
use kbmfa_proto::names::LoginId;
use kbmfa_proto::problem::Problem;
use kbmfa_proto::session::{Reports, SessionReport, Taken};
use serde_json::value::RawValue;
use std::time::{Duration, Instant};

mod https;

pub(crate) use https::Https;

use crate::clock::Clock;
use crate::config::ADDRESS_TIME;

/// Longest time that the server is asked to hold one poll, in seconds. It is less than the server's own
/// limit, and less than common idle limits of network devices.
const HOLD_MAX_S: u64 = 25;

/// Longest time to cancel a login at the server. The deadline of a login includes it.
pub(crate) const CANCEL_TIME: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No address accepted a TCP connection.
    Unreachable(String),
    /// A server was reached and failed temporarily: it may be restarting.
    Passing(String),
    /// A server was reached and failed permanently.
    Final(String),
    /// The person left.
    HungUp,
}

/// The server's reply, with the earliest time at which it can have been true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimedReply {
    pub(crate) reply: LoginReply,
    /// The server looked the login up at this moment or later. If the process was stopped, a reply in its
    /// socket may be much older than the moment at which it is read.
    pub(crate) as_of: Instant,
}

/// One login at the server.
pub(crate) trait Server {
    /// Opens the login.
    fn open(&mut self, login: &OpenLogin, until: Instant) -> Result<TimedReply, Failure>;
    /// Polls once for its decision.
    fn wait(&mut self, until: Instant) -> Result<TimedReply, Failure>;
    /// Cancels it, if the server can be reached.
    fn cancel(&mut self);
}

/// The calls to one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    Open(&'a OpenLogin),
    Wait { hold_s: u64 },
    Cancel,
}

/// One address of one server.
pub(crate) trait Address {
    fn call(&self, path: &str, call: Call<'_>, time: Duration) -> Result<LoginReply, Error>;
}

/// Session reports to send in one call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReportBatch<'a> {
    One(&'a SessionReport),
    Kept(&'a Reports<Box<RawValue>>),
}

/// One address of one server, for reports.
pub(crate) trait Post {
    fn post(&self, handover: ReportBatch<'_>, time: Duration) -> Result<Taken, Error>;
}

/// All addresses of all servers, as one server.
pub(crate) struct Failover<A, C> {
    addresses: Vec<A>,
    clock: C,
    path: String,
    /// The address that is tried first: the one that answered last.
    first: usize,
    /// Whether that address answered the last call. If so, it may hold the next one.
    warm: bool,
}

impl<A: Address, C: Clock> Failover<A, C> {
    pub(crate) fn new(addresses: Vec<A>, clock: C, id: &LoginId) -> Self {
        Self { addresses, clock, path: format!("/v1/logins/{id}"), first: 0, warm: false }
    }

    /// Every address, the one that answered last first.
    pub(crate) fn addresses(&self) -> Vec<&A> {
        let (before, after) = self.addresses.split_at(self.first.min(self.addresses.len()));
        after.iter().chain(before).collect()
    }

    /// Tries each address once.
    fn round(&mut self, mut call: Call<'_>, until: Instant) -> Result<TimedReply, Failure> {
        let count = self.addresses.len();
        let mut tally = Tally::default();
        for turn in 0..count {
            let index = (self.first + turn) % count;
            let Some(address) = self.addresses.get(index) else { break };
            let time = time_for(call, self.clock.left(until), count - turn);
            let asked = self.clock.now();
            match address.call(&self.path, call, time) {
                Ok(reply) => {
                    (self.first, self.warm) = (index, true);
                    let as_of = as_of(&reply, asked, self.clock.now());
                    return Ok(TimedReply { reply, as_of });
                }
                Err(error) => tally.add(call, error)?,
            }
            // The first call to another address does not ask it to hold the poll, so that a dead server is
            // noticed soon.
            if let Call::Wait { hold_s } = &mut call {
                *hold_s = 0;
            }
        }
        self.warm = false;
        Err(tally.failure())
    }
}

impl<A: Address, C: Clock> Server for Failover<A, C> {
    /// Opens the login. A broken connection may or may not have delivered the request; opening the same login
    /// again has no effect.
    fn open(&mut self, login: &OpenLogin, until: Instant) -> Result<TimedReply, Failure> {
        match self.round(Call::Open(login), until) {
            Err(Failure::Passing(_)) => {
                self.round(Call::Open(login), until).map_err(|failure| match failure {
                    // A server was reached a moment ago, so this is temporary.
                    Failure::Unreachable(why) => Failure::Passing(why),
                    other => other,
                })
            }
            first => first,
        }
    }

    fn wait(&mut self, until: Instant) -> Result<TimedReply, Failure> {
        let left_s = self.clock.left(until).as_secs();
        let hold_s = if self.warm { left_s.min(HOLD_MAX_S) } else { 0 };
        self.round(Call::Wait { hold_s }, until)
    }

    fn cancel(&mut self) {
        let until = self.clock.now() + CANCEL_TIME;
        // If this fails, the server notices that the polls have stopped.
        let _ = self.round(Call::Cancel, until);
    }
}

/// Earliest moment at which the server looked this up: the start of the call plus the time for which the
/// server held it.
fn as_of(reply: &LoginReply, asked: Instant, now: Instant) -> Instant {
    let held = Duration::from_millis(reply.held_ms.unwrap_or(0));
    asked.checked_add(held).map_or(now, |as_of| as_of.min(now))
}

/// The time for one address: the usual time, or an equal share of what is left for it and the remaining
/// addresses, if that is less.
fn time_for(call: Call<'_>, left: Duration, addresses: usize) -> Duration {
    let share = left / u32::try_from(addresses).unwrap_or(u32::MAX);
    match call {
        Call::Wait { hold_s: hold_s @ 1.. } => (Duration::from_secs(hold_s) + ADDRESS_TIME).min(left),
        _ => ADDRESS_TIME.min(share),
    }
}

/// The failures of one round.
#[derive(Debug, Default)]
struct Tally {
    unconnected: usize,
    untrusted: usize,
    broken: usize,
    /// The error that explains most: one from a server that was reached, if any.
    why: Option<String>,
}

impl Tally {
    /// Notes an error after which the next address is tried; returns one that ends the round.
    fn add(&mut self, call: Call<'_>, error: Error) -> Result<(), Failure> {
        let why = error.to_string();
        match error {
            Error::HungUp => return Err(Failure::HungUp),
            Error::Refused(problem) if may_pass(call, &problem) => return Err(Failure::Passing(why)),
            Error::Refused(_) | Error::Garbage(_) => return Err(Failure::Final(why)),
            Error::Connect(_) => {
                self.unconnected += 1;
                self.why.get_or_insert(why);
                return Ok(());
            }
            Error::Tls(_) => self.untrusted += 1,
            Error::Timeout | Error::StoodStill | Error::Lost(_) => self.broken += 1,
        }
        self.why = Some(why);
        Ok(())
    }

    fn failure(self) -> Failure {
        let why = self.why.unwrap_or_else(|| "no address to call".into());
        match (self.unconnected, self.untrusted, self.broken) {
            (1.., 0, 0) => Failure::Unreachable(why),
            (0, _, 0) => Failure::Final(why),
            _ => Failure::Passing(why),
        }
    }
}

/// While a login waits, errors of a busy or stopping server are temporary.
fn may_pass(call: Call<'_>, problem: &Problem) -> bool {
    matches!(call, Call::Wait { .. }) && matches!(problem.status, 429 | 500 | 503)
}

#[cfg(test)]
mod tests;
