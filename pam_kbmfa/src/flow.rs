//! One login, from opening it at the server to its end. It knows no PAM code, and gets the clock as an
//! argument.
//!
//! Only an answer about this login that says "approved" leads to [`Outcome::Approved`].

use kbmfa_proto::login::{OpenLogin, Phase, State};
use kbmfa_proto::names::LoginId;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::config::ADDRESS_TIME;
use crate::outcome::{End, OnUnreachable, Outcome};
use crate::pam::{Level, Pam, Tone};
use crate::server::{Failure, Server, TimedReply};

/// First pause before a server that may be restarting is asked again. Each further pause is twice as long, up
/// to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Maximum age of an approval that is passed to PAM, counted from the time that the server vouches for. A
/// call that the server does not hold takes no longer than this. So only an approval that reached a stopped
/// process, or was delayed on its way, is requested again. The server's `poll_grace`, after which it
/// withdraws an approval, is longer.
const FRESH: Duration = ADDRESS_TIME;

/// A login to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) id: LoginId,
    pub(crate) open: OpenLogin,
    /// The deadline.
    pub(crate) until: Instant,
    pub(crate) on_unreachable: OnUnreachable,
}

/// Waits until the login is decided, the person leaves, or the deadline passes.
pub(crate) fn await_decision(pam: &impl Pam, server: &mut impl Server, clock: &impl Clock, ask: &Ask) -> End {
    let end = decide(pam, server, clock, ask);
    finish(server, ask, end)
}

/// The last check before PAM is told to let somebody in. It refuses people who have left meanwhile. It
/// requests an approval again if the server may have withdrawn it.
pub(crate) fn look_again(
    pam: &impl Pam,
    server: &mut impl Server,
    clock: &impl Clock,
    ask: &Ask,
    mut end: End,
) -> End {
    while end.outcome.lets_in() {
        if clock.pause(Duration::ZERO).is_err() {
            server.cancel();
            return End { outcome: Outcome::HungUp, ..end };
        }
        if is_fresh(&end, clock.now()) {
            break;
        }
        pam.log(Level::Notice, &format!("login {}: the approval comes late, asking again", ask.id.short()));
        let again = match next_reply(pam, server, clock, ask) {
            Ok(answer) => poll(pam, server, clock, ask, answer),
            Err(end) => end,
        };
        end = finish(server, ask, again);
    }
    end
}

fn is_fresh(end: &End, now: Instant) -> bool {
    match end.outcome {
        Outcome::Approved => end.as_of.is_some_and(|as_of| now.saturating_duration_since(as_of) <= FRESH),
        // This outcome is not from the server, so the server cannot withdraw it.
        _ => true,
    }
}

/// Cancels the login at the server, if the module stopped waiting before a decision.
fn finish(server: &mut impl Server, ask: &Ask, end: End) -> End {
    if end.outcome.abandons() {
        server.cancel();
    }
    End { login: Some(ask.id.clone()), ..end }
}

fn decide(pam: &impl Pam, server: &mut impl Server, clock: &impl Clock, ask: &Ask) -> End {
    let answer = match server.open(&ask.open, ask.until) {
        Ok(answer) => answer,
        Err(failure) => return not_opened(failure, ask),
    };
    if let (Phase::Auth, true, State::Pending, Some(say)) =
        (ask.open.phase, ask.open.capabilities.text, answer.reply.state, &answer.reply.say)
    {
        pam.tell(Tone::Info, say);
    }
    poll(pam, server, clock, ask, answer)
}

/// Polls until a reply is final.
fn poll(
    pam: &impl Pam,
    server: &mut impl Server,
    clock: &impl Clock,
    ask: &Ask,
    mut answer: TimedReply,
) -> End {
    loop {
        if let Some(end) = outcome_of(answer, ask) {
            return end;
        }
        answer = match next_reply(pam, server, clock, ask) {
            Ok(answer) => answer,
            Err(end) => return end,
        };
    }
}

fn not_opened(failure: Failure, ask: &Ask) -> End {
    match failure {
        Failure::Unreachable(why) => End::new(Outcome::Unreachable(ask.on_unreachable), why),
        Failure::Passing(why) | Failure::Final(why) => End::new(Outcome::Fault, why),
        Failure::HungUp => End::new(Outcome::HungUp, ""),
    }
}

/// The end that a reply causes; `None` while the login is pending.
fn outcome_of(TimedReply { reply, as_of }: TimedReply, ask: &Ask) -> Option<End> {
    if reply.id != ask.id {
        return Some(End::new(Outcome::Fault, "the server answered about another login"));
    }
    let outcome = match reply.state {
        State::Pending if !ask.open.rehearsal => return None,
        State::Rehearsed if ask.open.rehearsal => Outcome::DryRun,
        State::Approved if !ask.open.rehearsal => Outcome::Approved,
        State::Denied => Outcome::Denied,
        State::Expired => Outcome::Expired,
        State::Cancelled => Outcome::Cancelled,
        State::Pending | State::Approved => {
            return Some(End::new(Outcome::Fault, "the server treated the dry run as a login"));
        }
        State::Rehearsed | State::Unknown => {
            return Some(End::new(
                Outcome::Fault,
                "the server answered with a state that does not belong here",
            ));
        }
    };
    let why = reply.reason.unwrap_or_default();
    Some(End { say: reply.say, as_of: Some(as_of), ..End::new(outcome, why) })
}

/// Waits for the next reply, and retries if the connection breaks.
fn next_reply(
    pam: &impl Pam,
    server: &mut impl Server,
    clock: &impl Clock,
    ask: &Ask,
) -> Result<TimedReply, End> {
    let mut length = PAUSE_MIN;
    loop {
        let start = clock.now();
        if start >= ask.until {
            return Err(End::new(Outcome::TimedOut, ""));
        }
        match server.wait(ask.until) {
            Ok(answer) => {
                // Limits the rate of polls at a server that answers at once instead of holding the call.
                if answer.reply.state == State::Pending && clock.now() - start < PAUSE_MIN {
                    pause(clock, ask, PAUSE_MIN)?;
                }
                return Ok(answer);
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
