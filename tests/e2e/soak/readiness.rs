//! Checks the answers of `/readyz` against the stalls that the test has made. It must say ready whenever
//! nothing keeps the server from serving logins. The excuses are computed from the server's own constants,
//! which are read from its source, so that nothing is excused without need.
//!
//! - A stopped process of Keybase makes a call late only if it is stopped for the whole time of the call. One
//!   stall is shorter, so it excuses nothing; several in a row may. After two late health checks, or two late
//!   lists of members, the relay is down, until a later one succeeds and is published.
//! - A stopped server answers late, correctly. Only time in which it runs counts for its loops, so their
//!   limits, of which the shortest is 20 s, are not reached.
//! - A killed server does not answer until it is back. The test waited for it until it was ready.

use kbmfa_tests::server::status_at;
use kbmfa_tests::wait::pass;
use std::time::{Duration, Instant};

use super::Run;
use super::stalls::{Stalls, Victim};

/// Time between two requests to `/readyz`.
const LOOK: Duration = Duration::from_millis(300);

/// Longest time of a call to Keybase on a busy computer. For a call to be late, the rest of its time must be
/// a stall.
const BUSY: Duration = Duration::from_secs(1);

/// Steps in which past times are checked for one at which a call may have been late.
const STEP: Duration = Duration::from_millis(100);

/// Minimum percentage of answers without an excuse. With fewer, a run shows nothing.
pub(super) const UNEXCUSED_PERCENT_MIN: usize = 25;

/// The server's own time limits.
struct Times {
    /// Longest time for an answer of `/readyz`.
    answer: Duration,
    /// Longest time for one call to Keybase.
    call: Duration,
    /// Longest time from the end of a stall that made calls late until `/readyz` knows that the relay is up.
    recovery: Duration,
}

impl Times {
    fn read() -> Self {
        let answer = constant(include_str!("../../../kbmfa-server/src/http/status.rs"), "READINESS_TIME");
        let probe = constant(include_str!("../../../kbmfa-server/src/db/probe.rs"), "TIME");
        assert!(probe < answer, "what takes longest in an answer has no time to say that it failed");
        let supervisor = include_str!("../../../kbmfa-server/src/channels/keybase/supervisor.rs");
        let pause = constant(supervisor, "PAUSE_MIN");
        let call =
            constant(include_str!("../../../kbmfa-server/src/channels/keybase/process/api.rs"), "CALL_TIME");
        let publish = constant(include_str!("../../../kbmfa-server/src/outbox/relay_monitor.rs"), "INTERVAL");
        // The current call fails. After one pause a health check of two calls succeeds, or after three pauses
        // a list of members.
        let check = (pause + call * 2).max(pause * 3 + call);
        Self { answer, call, recovery: call + check + publish }
    }
}

/// The value of a constant in this source, in whole seconds.
fn constant(source: &str, name: &str) -> Duration {
    let definition = format!("const {name}: Duration = Duration::from_secs(");
    let value = source.split_once(&definition).and_then(|(_, rest)| rest.split_once(')'));
    let (seconds, _) = value.unwrap_or_else(|| panic!("no {definition}..) in the server's source"));
    Duration::from_secs(seconds.parse().unwrap())
}

/// The answers of `/readyz`, and how many there were.
#[derive(Default)]
pub(super) struct Looks {
    pub(super) all: usize,
    /// Number of answers for which the server had no excuse, so that it had to be ready.
    pub(super) unexcused: usize,
}

impl Looks {
    pub(super) fn show_enough(&self) -> bool {
        self.unexcused * 100 >= self.all * UNEXCUSED_PERCENT_MIN
    }
}

/// Requests `/readyz` until the run is over.
pub(super) fn watch(run: &Run, port: u16) -> Looks {
    let (times, mut looks) = (Times::read(), Looks::default());
    while run.goes_on() {
        let asked = Instant::now();
        let answer = status_at(port, "/readyz");
        let answered = Instant::now();
        let is_ready = answer.as_ref().is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
        let excused = is_excused(&run.stalls, &times, asked, answered);
        assert!(is_ready || excused || !run.goes_on(), "not ready, and nothing keeps it: {answer:?}");
        let took = (answered - asked).saturating_sub(run.stalls.within(asked, answered, |_| true));
        assert!(took <= times.answer + BUSY, "an answer took {took:?} beside any stall");
        looks.all += 1;
        looks.unexcused += usize::from(!excused);
        pass(LOOK);
    }
    looks
}

/// Whether a stall can make calls late. A fault of Keybase with an ask affects only the call that posts it.
fn makes_calls_late(victim: Victim) -> bool {
    matches!(victim, Victim::Server | Victim::Keybase | Victim::Restart)
}

/// Whether `/readyz` may have said "not ready" between these moments.
fn is_excused(stalls: &Stalls, times: &Times, asked: Instant, answered: Instant) -> bool {
    let is_restart = |victim| victim == Victim::Restart;
    if !stalls.within(asked, answered, is_restart).is_zero() {
        return true;
    }
    // A call that ended at one of these times may have been late.
    let mut ends = asked.checked_sub(times.recovery).unwrap_or(asked);
    while ends <= answered {
        let begun = ends.checked_sub(times.call).unwrap_or(ends);
        if stalls.within(begun, ends, makes_calls_late) + BUSY >= times.call {
            return true;
        }
        ends += STEP;
    }
    false
}
