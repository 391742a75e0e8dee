//! The state machine of a login: one pure function, which gets the time as an argument. Final states never
//! change.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::channels::Answer;
use crate::clock::Time;

/// The state of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody has decided yet.
    Pending,
    /// A person or the policy approved it. The machine has to collect the approval.
    Approved,
    /// A person or the policy denied it.
    Denied,
    /// Nobody answered within the window.
    Expired,
    /// The machine cancelled it, or fell silent.
    Cancelled,
    /// A dry run has ended.
    Rehearsed,
}

impl State {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Rehearsed => "rehearsed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`State`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no login state {0:?}: use pending, approved, denied, expired, cancelled or rehearsed")]
pub struct UnknownState(String);

impl FromStr for State {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let all =
            [Self::Pending, Self::Approved, Self::Denied, Self::Expired, Self::Cancelled, Self::Rehearsed];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// The part of a login that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The current state.
    pub state: State,
    /// End of the window.
    pub expires_at: Time,
    /// While pending: when the login ends unless the machine polls.
    pub lapses_at: Time,
    /// When the state became final.
    pub decided_at: Option<Time>,
    /// When the machine read the approval.
    pub collected_at: Option<Time>,
    /// When the approval expired uncollected. Never set together with `collected_at`.
    pub lapsed_at: Option<Time>,
}

/// How long a machine may be silent, and since when its silence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// Time that a machine may be silent.
    pub length: Duration,
    /// Start of this server. Silence before it proves nothing. `None` in the command line, which hears no
    /// machine.
    pub listening_since: Option<Time>,
}

/// An input to [`step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing but the passing of time.
    Tick,
    /// The machine polls, and will wait this long for the reply.
    Poll(Duration),
    /// The machine cancels.
    Cancel,
    /// An answer that counts.
    Answer(Answer),
    /// The login must not go on.
    Revoke(Revocation),
}

/// The reason why a login must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The employee is suspended.
    Suspended,
    /// The employee was removed.
    Removed,
    /// The key that was used is revoked.
    RevokedKey,
    /// The key that was used waits for an approval.
    PendingKey,
    /// The employee has no live grant any more.
    NoGrant,
    /// The machine was removed.
    MachineRemoved,
    /// The chat was found to be down after the start of the server.
    RelayDown,
    /// The login comes from a restored backup. Decisions after the backup are not known.
    Restored,
}

/// The change that a step makes; at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// No change of the state.
    None,
    /// It was approved.
    Approved,
    /// It was denied.
    Denied,
    /// It was denied because it must not go on.
    Revoked(Revocation),
    /// Its window ended.
    Expired,
    /// The machine cancelled it.
    Cancelled,
    /// The machine fell silent.
    MachineGone,
    /// The machine collected the approval.
    Collected,
    /// The approval expired uncollected.
    Lapsed,
}

/// Applies an input. Time comes first: what is overdue at `now` has expired, however late that is noticed,
/// and the input applies to the result.
#[must_use]
pub fn step(life: Life, input: Input, now: Time, grace: Grace) -> (Life, Change) {
    let (life, change) = run_out(life, now, grace);
    if change != Change::None {
        return (life, change);
    }
    match (life.state, input) {
        (State::Pending, Input::Answer(Answer::Approve)) => end(life, State::Approved, now, Change::Approved),
        (State::Pending, Input::Answer(Answer::Deny)) => end(life, State::Denied, now, Change::Denied),
        (State::Pending, Input::Revoke(why)) => end(life, State::Denied, now, Change::Revoked(why)),
        (State::Pending, Input::Cancel) => end(life, State::Cancelled, now, Change::Cancelled),
        (State::Pending, Input::Poll(wait)) => {
            let lapses_at = life.lapses_at.max(now + wait + grace.length);
            (Life { lapses_at, ..life }, Change::None)
        }
        (State::Approved, Input::Poll(_)) if is_uncollected(&life) => {
            (Life { collected_at: Some(now), ..life }, Change::Collected)
        }
        (State::Approved, Input::Cancel | Input::Revoke(_)) if is_uncollected(&life) => {
            (Life { lapsed_at: Some(now), ..life }, Change::Lapsed)
        }
        _ => (life, Change::None),
    }
}

/// True while the machine may use the approval: for the length of the grace after it was collected, because
/// the reply to that poll may have been lost.
pub fn lets_in(life: &Life, now: Time, grace: Duration) -> bool {
    life.state == State::Approved && life.collected_at.is_some_and(|at| now < at + grace)
}

/// True if a poll that waits this long has nothing to write: the login is pending, and will not lapse before
/// the end of the poll and half of the grace.
pub fn is_present(life: &Life, now: Time, wait: Duration, grace: Grace) -> bool {
    let is_pending = life.state == State::Pending && run_out(*life, now, grace).1 == Change::None;
    is_pending && life.lapses_at >= now + wait + grace.length / 2
}

fn run_out(life: Life, now: Time, grace: Grace) -> (Life, Change) {
    let heard_by = |at: Time| grace.listening_since.map(|since| at.max(since + grace.length));
    match life.state {
        State::Pending if now >= life.expires_at => end(life, State::Expired, now, Change::Expired),
        State::Pending if heard_by(life.lapses_at).is_some_and(|limit| now >= limit) => {
            end(life, State::Cancelled, now, Change::MachineGone)
        }
        State::Approved if is_uncollected(&life) => {
            let limit = life.decided_at.and_then(|at| heard_by(at + grace.length));
            if limit.is_some_and(|limit| now >= limit) {
                (Life { lapsed_at: Some(now), ..life }, Change::Lapsed)
            } else {
                (life, Change::None)
            }
        }
        _ => (life, Change::None),
    }
}

fn is_uncollected(life: &Life) -> bool {
    life.collected_at.is_none() && life.lapsed_at.is_none()
}

fn end(life: Life, state: State, now: Time, change: Change) -> (Life, Change) {
    (Life { state, decided_at: Some(now), ..life }, change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRACE: Duration = Duration::from_secs(15);
    const WINDOW: Duration = Duration::from_secs(60);

    fn at(second: u64) -> Time {
        Time::from_micros(0) + Duration::from_secs(second)
    }

    fn pending() -> Life {
        Life {
            state: State::Pending,
            expires_at: at(0) + WINDOW,
            lapses_at: at(0) + GRACE,
            decided_at: None,
            collected_at: None,
            lapsed_at: None,
        }
    }

    fn listening() -> Grace {
        Grace { length: GRACE, listening_since: Some(at(0)) }
    }

    /// Applies inputs at the given seconds; returns the changes.
    fn play(inputs: &[(u64, Input)]) -> Vec<Change> {
        let mut life = pending();
        let changes = inputs.iter().map(|&(second, input)| {
            let (next, change) = step(life, input, at(second), listening());
            life = next;
            change
        });
        changes.filter(|&change| change != Change::None).collect()
    }

    const YES: Input = Input::Answer(Answer::Approve);
    const NO: Input = Input::Answer(Answer::Deny);
    const POLL: Input = Input::Poll(Duration::from_secs(25));

    #[test]
    fn each_story_has_its_end() {
        assert_eq!(play(&[(0, POLL), (5, YES), (5, POLL)]), [Change::Approved, Change::Collected]);
        assert_eq!(play(&[(0, POLL), (5, NO), (6, YES), (7, POLL)]), [Change::Denied]);
        assert_eq!(play(&[(0, POLL), (5, Input::Cancel), (6, YES)]), [Change::Cancelled]);
        assert_eq!(play(&[(0, POLL), (25, POLL), (50, POLL), (60, YES)]), [Change::Expired]);
        assert_eq!(play(&[(14, Input::Tick), (15, Input::Tick)]), [Change::MachineGone]);
        assert_eq!(play(&[(5, YES), (19, Input::Tick), (20, POLL)]), [Change::Approved, Change::Lapsed]);
        assert_eq!(play(&[(5, YES), (6, Input::Cancel), (7, POLL)]), [Change::Approved, Change::Lapsed]);
        let revoke = Input::Revoke(Revocation::Suspended);
        assert_eq!(play(&[(5, revoke), (6, YES)]), [Change::Revoked(Revocation::Suspended)]);
        assert_eq!(play(&[(5, YES), (6, revoke), (7, POLL)]), [Change::Approved, Change::Lapsed]);
        assert_eq!(play(&[(5, YES), (6, POLL), (7, Input::Cancel)]), [Change::Approved, Change::Collected]);
    }

    #[test]
    fn an_answer_counts_to_the_last_microsecond_of_the_window_and_not_after() {
        let polled = step(pending(), Input::Poll(WINDOW), at(0), listening()).0;
        let last = Time::from_micros(at(60).micros() - 1);
        assert_eq!(step(polled, YES, last, listening()).1, Change::Approved);
        assert_eq!(step(polled, YES, at(60), listening()).1, Change::Expired);
    }

    #[test]
    fn silence_proves_nothing_before_somebody_has_listened_for_the_grace() {
        let just_started = Grace { length: GRACE, listening_since: Some(at(40)) };
        assert_eq!(step(pending(), Input::Tick, at(54), just_started).1, Change::None);
        assert_eq!(step(pending(), Input::Tick, at(55), just_started).1, Change::MachineGone);
        let nobody = Grace { length: GRACE, listening_since: None };
        assert_eq!(step(pending(), YES, at(59), nobody).1, Change::Approved);
    }

    #[test]
    fn an_approval_may_be_read_again_while_the_first_reply_could_be_lost() {
        let approved = step(pending(), YES, at(1), listening()).0;
        assert!(!lets_in(&approved, at(1), GRACE));
        let collected = step(approved, POLL, at(2), listening()).0;
        assert!(lets_in(&collected, at(16), GRACE));
        assert!(!lets_in(&collected, at(17), GRACE));
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Tick),
            (0..=30_u64).prop_map(|wait| Input::Poll(Duration::from_secs(wait))),
            Just(Input::Cancel),
            Just(YES),
            Just(NO),
            Just(Input::Revoke(Revocation::Suspended)),
        ]
    }

    proptest! {
        #[test]
        fn no_path_leads_out_of_a_final_state(inputs in prop::collection::vec((0..5_u64, input()), 0..40)) {
            let (mut life, mut now, mut decisions) = (pending(), at(0), 0);
            for (pause, input) in inputs {
                now = now + Duration::from_secs(pause);
                let (next, change) = step(life, input, now, listening());
                if life.state != State::Pending {
                    prop_assert_eq!(next.state, life.state);
                    prop_assert_eq!(next.decided_at, life.decided_at);
                }
                decisions += u32::from(next.state != life.state);
                prop_assert!(next.collected_at.is_none() || next.lapsed_at.is_none());
                prop_assert!(next.collected_at.is_none() || next.state == State::Approved);
                if change == Change::Approved {
                    prop_assert_eq!(input, YES);
                    prop_assert!(now < life.expires_at);
                }
                life = next;
            }
            prop_assert!(decisions <= 1);
        }

        #[test]
        fn nobody_is_let_in_without_an_approval_in_time(inputs in prop::collection::vec((0..9_u64, input()), 0..40)) {
            let (mut life, mut now, mut approved) = (pending(), at(0), false);
            for (pause, input) in inputs {
                now = now + Duration::from_secs(pause);
                approved |= input == YES && now < pending().expires_at;
                life = step(life, input, now, listening()).0;
                prop_assert!(approved || !lets_in(&life, now, GRACE));
            }
        }
    }
}
