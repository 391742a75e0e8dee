//! Stops processes for a while: the server, Keybase's programs that it runs, and the process in which the
//! module waits.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kbmfa_tests::wait::pass;

use super::Run;
use super::dice::Dice;

/// Longest pause between two stalls, in milliseconds.
const PAUSE_MS: u64 = 6000;
/// Longest stall, in milliseconds. Keybase's programs have 5 s for a reply.
const STALL_MS: u64 = 3000;
/// Longest stall of the module's process, in milliseconds. The module requests an approval again if it reads
/// it more than 5 s late; the approval counts for 15 s.
const MODULE_STALL_MS: u64 = 8000;

/// What a stall affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// The server is killed and started again.
    Restart,
    Server,
    Keybase,
    /// Keybase is slow, or loses a reply.
    Chat,
    Module,
}

struct Stall {
    victim: Victim,
    begun: Instant,
    ended: Option<Instant>,
}

/// What was stalled, and when.
#[derive(Default)]
pub(super) struct Stalls(Mutex<Vec<Stall>>);

impl Stalls {
    pub(super) fn begin(&self, victim: Victim) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(Stall { victim, begun: Instant::now(), ended: None });
        all.len() - 1
    }

    pub(super) fn end(&self, stall: usize) {
        self.0.lock().unwrap()[stall].ended = Some(Instant::now());
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Time between two moments in which any of the counted ones was stalled. Simultaneous stalls count once.
    pub(super) fn within(&self, from: Instant, to: Instant, counts: impl Fn(Victim) -> bool) -> Duration {
        let (mut total, mut counted_to) = (Duration::ZERO, from);
        for stall in self.0.lock().unwrap().iter().filter(|stall| counts(stall.victim)) {
            let (begun, ended) = (stall.begun.max(counted_to), stall.ended.unwrap_or(to).min(to));
            total += ended.saturating_duration_since(begun);
            counted_to = counted_to.max(ended);
        }
        total
    }
}

/// Makes one stall after another until the run is over.
pub(super) fn run(run: &Run, dice: &mut Dice) {
    while run.goes_on() {
        pass(Duration::from_millis(dice.below(PAUSE_MS)));
        if run.is_quiet() {
            continue;
        }
        let server = run.server.load(Ordering::Relaxed);
        let (victim, pid, longest_ms) = match dice.below(3) {
            0 => (Victim::Server, server, STALL_MS),
            1 => (Victim::Keybase, pick(&children(server), dice), STALL_MS),
            _ => (Victim::Module, run.module.load(Ordering::Relaxed), MODULE_STALL_MS),
        };
        let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        let stall = run.stalls.begin(victim);
        // The process may have ended meanwhile.
        if kill_process(process, Signal::STOP).is_ok() {
            pass(Duration::from_millis(dice.below(longest_ms)));
            let _ = kill_process(process, Signal::CONT);
        }
        run.stalls.end(stall);
    }
}

fn pick(pids: &[u32], dice: &mut Dice) -> u32 {
    let count = u64::try_from(pids.len()).unwrap();
    if count == 0 { 0 } else { pids[usize::try_from(dice.below(count)).unwrap()] }
}

/// The children of all threads of a process.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return vec![] };
    let of_thread = |path: std::path::PathBuf| fs::read_to_string(path.join("children")).unwrap_or_default();
    let lines: Vec<String> = threads.flatten().map(|thread| of_thread(thread.path())).collect();
    lines.iter().flat_map(|line| line.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}
