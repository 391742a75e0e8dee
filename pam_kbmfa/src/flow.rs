//! One login, from opening it at the server to its end. It knows no PAM code, and reads time only by the
//! clock that it is given.
//!
//! Only an answer about this very login that says "approved" ends in [`Outcome::Approved`].

use kbmfa_proto::login::{LoginReply, OpenLogin, Phase, State};
use kbmfa_proto::names::LoginId;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::outcome::{End, OnUnreachable, Outcome};
use crate::pam::{Level, Pam, Tone};
use crate::server::{Failure, Server};

/// First pause before a server that may be restarting is asked again; each is twice as long ..
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// .. up to this.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A login to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) id: LoginId,
    pub(crate) open: OpenLogin,
    /// When to give up.
    pub(crate) until: Instant,
    pub(crate) on_unreachable: OnUnreachable,
}

/// Holds the login until it is decided, the person leaves, or time is up.
pub(crate) fn await_decision(pam: &impl Pam, server: &mut impl Server, clock: &impl Clock, ask: &Ask) -> End {
    let mut end = decide(pam, server, clock, ask).unwrap_or_else(|end| end);
    if end.outcome.abandons() {
        server.cancel();
    }
    end.login = Some(ask.id.clone());
    end
}

/// The last thing before PAM is told to let somebody in: nobody who has left meanwhile gets in.
pub(crate) fn look_again(server: &mut impl Server, clock: &impl Clock, end: End) -> End {
    if !end.outcome.lets_in() || clock.pause(Duration::ZERO).is_ok() {
        return end;
    }
    server.cancel();
    End { outcome: Outcome::HungUp, ..end }
}

fn decide(pam: &impl Pam, server: &mut impl Server, clock: &impl Clock, ask: &Ask) -> Result<End, End> {
    let mut reply = server.open(&ask.open, ask.until).map_err(|failure| not_opened(failure, ask))?;
    if let (Phase::Auth, true, State::Pending, Some(say)) =
        (ask.open.phase, ask.open.capabilities.text, reply.state, &reply.say)
    {
        pam.tell(Tone::Info, say);
    }
    loop {
        if let Some(end) = outcome_of(reply, ask) {
            return Ok(end);
        }
        reply = next_reply(pam, server, clock, ask)?;
    }
}

fn not_opened(failure: Failure, ask: &Ask) -> End {
    match failure {
        Failure::Unreachable(why) => End::new(Outcome::Unreachable(ask.on_unreachable), why),
        Failure::Passing(why) | Failure::Final(why) => End::new(Outcome::Fault, why),
        Failure::HungUp => End::new(Outcome::HungUp, ""),
    }
}

/// What the server's answer means; `None` while nobody has decided.
fn outcome_of(reply: LoginReply, ask: &Ask) -> Option<End> {
    if reply.id != ask.id {
        return Some(End::new(Outcome::Fault, "the server answered about another login"));
    }
    let outcome = match reply.state {
        State::Pending if !ask.open.rehearsal => return None,
        State::Rehearsed if ask.open.rehearsal => Outcome::Rehearsed,
        State::Approved if !ask.open.rehearsal => Outcome::Approved,
        State::Denied => Outcome::Denied,
        State::Expired => Outcome::Expired,
        State::Cancelled => Outcome::Cancelled,
        State::Pending | State::Approved => {
            return Some(End::new(Outcome::Fault, "the server took the rehearsal for a login"));
        }
        State::Rehearsed | State::Unknown => {
            return Some(End::new(Outcome::Fault, "the server answered with a state that decides nothing"));
        }
    };
    let why = reply.reason.unwrap_or_default();
    Some(End { say: reply.say, ..End::new(outcome, why) })
}

/// The next answer, however often the connection breaks meanwhile.
fn next_reply(
    pam: &impl Pam,
    server: &mut impl Server,
    clock: &impl Clock,
    ask: &Ask,
) -> Result<LoginReply, End> {
    let mut length = PAUSE_MIN;
    loop {
        let start = clock.now();
        if start >= ask.until {
            return Err(End::new(Outcome::TimedOut, ""));
        }
        match server.wait(ask.until) {
            Ok(reply) => {
                // A server that does not hold the call must not be asked without end.
                if reply.state == State::Pending && clock.now() - start < PAUSE_MIN {
                    pause(clock, ask, PAUSE_MIN)?;
                }
                return Ok(reply);
            }
            Err(Failure::Final(why)) => return Err(End::new(Outcome::Fault, why)),
            Err(Failure::HungUp) => return Err(End::new(Outcome::HungUp, "")),
            Err(Failure::Unreachable(why) | Failure::Passing(why)) => {
                pam.log(Level::Debug, &format!("login {}: asking again: {why}", ask.id.short()));
            }
        }
        pause(clock, ask, length)?;
        length = (length * 2).min(PAUSE_MAX);
    }
}

fn pause(clock: &impl Clock, ask: &Ask, length: Duration) -> Result<(), End> {
    clock.pause(length.min(clock.left(ask.until))).map_err(|_| End::new(Outcome::HungUp, ""))
}

#[cfg(test)]
pub(crate) mod tests;
