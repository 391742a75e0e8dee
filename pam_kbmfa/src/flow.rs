//! One login, from opening it at the server to its end. It knows no PAM code, and reads time only by the
//! clock that it is given.
//!
//! Only an answer about this very login that says "approved" ends in [`Outcome::Approved`].

use kbmfa_proto::login::{OpenLogin, Phase, State};
use kbmfa_proto::names::LoginId;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::config::ADDRESS_TIME;
use crate::outcome::{End, OnUnreachable, Outcome};
use crate::pam::{Level, Pam, Tone};
use crate::server::{Failure, Server, TimedReply};

/// First pause before a server that may be restarting is asked again; each is twice as long ..
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// .. up to this.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Longest age of an approval when PAM is told, by what the server vouches for. A call that it does not hold takes no longer,
/// so only one that reached a process that stood still, or was held up on its way, is asked for once more. The server's
/// `poll_grace`, beyond which it takes an approval back, is longer than this.
const FRESH: Duration = ADDRESS_TIME;

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
    let end = decide(pam, server, clock, ask);
    settle(server, ask, end)
}

/// The last thing before PAM is told to let somebody in: nobody gets in who has left meanwhile, nor by an approval that the
/// server may have taken back since it gave it.
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
        let again = next_reply(pam, server, clock, ask);
        let again = again.and_then(|answer| conclude(pam, server, clock, ask, answer));
        end = settle(server, ask, again);
    }
    end
}

fn is_fresh(end: &End, now: Instant) -> bool {
    match end.outcome {
        Outcome::Approved => end.as_of.is_some_and(|as_of| now.saturating_duration_since(as_of) <= FRESH),
        // Nobody gave it, so nobody can take it back.
        _ => true,
    }
}

/// Tells the server if nobody waits for its decision any more.
fn settle(server: &mut impl Server, ask: &Ask, end: Result<End, End>) -> End {
    let end = end.unwrap_or_else(|end| end);
    if end.outcome.abandons() {
        server.cancel();
    }
    End { login: Some(ask.id.clone()), ..end }
}

fn decide(pam: &impl Pam, server: &mut impl Server, clock: &impl Clock, ask: &Ask) -> Result<End, End> {
    let answer = server.open(&ask.open, ask.until).map_err(|failure| not_opened(failure, ask))?;
    if let (Phase::Auth, true, State::Pending, Some(say)) =
        (ask.open.phase, ask.open.capabilities.text, answer.reply.state, &answer.reply.say)
    {
        pam.tell(Tone::Info, say);
    }
    conclude(pam, server, clock, ask, answer)
}

/// Asks until an answer decides.
fn conclude(
    pam: &impl Pam,
    server: &mut impl Server,
    clock: &impl Clock,
    ask: &Ask,
    mut answer: TimedReply,
) -> Result<End, End> {
    loop {
        if let Some(end) = outcome_of(answer, ask) {
            return Ok(end);
        }
        answer = next_reply(pam, server, clock, ask)?;
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
fn outcome_of(TimedReply { reply, as_of }: TimedReply, ask: &Ask) -> Option<End> {
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

/// The next answer, however often the connection breaks meanwhile.
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
                // A server that does not hold the call must not be asked without end.
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
