//! Shows which of the server's loops make progress.
//!
//! Each long-lived loop holds a [`Progress`], by which it reports every round, and a [`Registry`] knows them
//! all. Silence is counted in ticks of the checking thread, not in time. While the whole process is stopped
//! (SIGSTOP, a suspended machine) there are no ticks, so no loop looks late because of that.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::shared::Shared;

/// Time between two ticks of the checking thread.
pub const TICK: Duration = Duration::from_millis(250);

/// A loop that is silent for this multiple of its limit counts as lost, and the process exits.
const GIVE_UP_AFTER: u32 = 3;

/// Interval at which a loop that waits for an external event reports a round; shorter than any limit.
const WAITING_INTERVAL: Duration = Duration::from_secs(2);

/// Every loop of this process. Clones share everything.
#[derive(Clone, Default)]
pub struct Registry(Arc<Shared<Vec<Arc<Entry>>>>);

struct Entry {
    name: &'static str,
    bound: Duration,
    /// Ticks since the last round.
    silent: AtomicU32,
}

/// How long one loop has been silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// The loop.
    pub name: &'static str,
    /// Time since its last round, without the time in which the process was stopped.
    pub silent: Duration,
    /// Longest time that a round may take.
    pub bound: Duration,
}

impl Silence {
    /// True if the loop is past its limit. Logins may not be served then.
    pub fn is_late(&self) -> bool {
        self.silent >= self.bound
    }

    /// True if the loop counts as lost. Only a restart helps.
    pub fn is_hopeless(&self) -> bool {
        self.silent >= self.bound * GIVE_UP_AFTER
    }
}

impl Registry {
    /// Registers a loop whose rounds take at most `bound`, until the [`Progress`] is dropped.
    pub fn register(&self, name: &'static str, bound: Duration) -> Progress {
        let entry = Arc::new(Entry { name, bound, silent: AtomicU32::new(0) });
        self.0.with(|entries| entries.push(Arc::clone(&entry)));
        Progress { entry, registry: self.clone() }
    }

    /// Counts one [`TICK`]. Only the checking thread calls this, each time it wakes.
    pub fn tick(&self) {
        self.0.with(|entries| entries.iter().for_each(|entry| entry.stay_silent(1)));
    }

    /// Every loop, in the order in which they were started.
    pub fn all(&self) -> Vec<Silence> {
        self.0.with(|entries| entries.iter().map(|entry| entry.silence()).collect())
    }

    /// The loops that are past their limit.
    pub fn late(&self) -> Vec<Silence> {
        self.all().into_iter().filter(Silence::is_late).collect()
    }
}

impl Entry {
    fn stay_silent(&self, ticks: u32) {
        let _ = self
            .silent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |silent| Some(silent.saturating_add(ticks)));
    }

    fn silence(&self) -> Silence {
        let silent = TICK * self.silent.load(Ordering::Relaxed);
        Silence { name: self.name, silent, bound: self.bound }
    }
}

/// One loop's own handle. If the loop does not call [`Progress::round`] it is late after its limit.
pub struct Progress {
    entry: Arc<Entry>,
    registry: Registry,
}

impl Progress {
    /// Reports a round. Called once in each round, at its beginning.
    pub async fn round(&self) {
        self.entry.silent.store(0, Ordering::Relaxed);
        #[cfg(debug_assertions)]
        hang::while_told(&self.entry).await;
    }

    /// Waits for an event from outside, such as a caller, that may never come. Reports a round now and at
    /// intervals. Do not use it for work that ends by itself (a query, a call with a deadline), because a
    /// hang in that would not be noticed.
    pub async fn waiting<T>(&self, event: impl Future<Output = T>) -> T {
        let mut event = pin!(event);
        loop {
            self.round().await;
            if let Ok(happened) = tokio::time::timeout(WAITING_INTERVAL, &mut event).await {
                return happened;
            }
        }
    }

    /// A handle for a part of this loop that has rounds of its own.
    #[must_use]
    pub fn part(&self, name: &'static str, bound: Duration) -> Self {
        self.registry.register(name, bound)
    }

    /// Ends the registration: the loop has finished its work and will report no more rounds.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.registry.0.with(|entries| entries.retain(|entry| !Arc::ptr_eq(entry, &self.entry)));
    }
}

/// Hangs a loop on purpose, for tests; not in a release build. The variable `KBMFA_TEST_HANG` names a file of
/// one line. `hang LOOP` hangs the loop until it is late, `abandon LOOP` until it counts as lost, and `block
/// LOOP` also blocks its thread. The silence of such a loop grows faster, so that no test takes minutes.
#[cfg(debug_assertions)]
mod hang {
    use super::{Entry, TICK};
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    #[expect(clippy::disallowed_methods, reason = "tests alone set it, and a release build does not read it")]
    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var("KBMFA_TEST_HANG").ok().map(PathBuf::from));

    const PAUSE: Duration = Duration::from_millis(100);

    /// Number of pauses after which the loop is late.
    const PAUSES_TO_BOUND: u32 = 10;

    pub(super) async fn while_told(entry: &Entry) {
        let mut has_hung = false;
        while let Some(how) = told(entry.name) {
            has_hung = true;
            match how {
                How::Hang | How::Abandon => tokio::time::sleep(PAUSE).await,
                How::Block => std::thread::park_timeout(PAUSE),
            }
            if how != How::Hang || !entry.silence().is_late() {
                let ticks = (entry.bound / PAUSES_TO_BOUND).as_millis() / TICK.as_millis();
                entry.stay_silent(u32::try_from(ticks).unwrap_or(u32::MAX).max(1));
            }
        }
        if has_hung {
            entry.silent.store(0, Ordering::Relaxed);
        }
    }

    #[derive(PartialEq, Eq)]
    enum How {
        Hang,
        Abandon,
        Block,
    }

    fn told(name: &str) -> Option<How> {
        let line = std::fs::read_to_string(FILE.as_ref()?).ok()?;
        let (how, told) = line.trim().split_once(' ')?;
        (told == name).then_some(match how {
            "block" => How::Block,
            "abandon" => How::Abandon,
            _ => How::Hang,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    fn pass(registry: &Registry, time: Duration) {
        (0..time.as_millis() / TICK.as_millis()).for_each(|_| registry.tick());
    }

    fn late(registry: &Registry) -> Vec<&'static str> {
        registry.late().iter().map(|silence| silence.name).collect()
    }

    #[tokio::test]
    async fn a_silent_loop_is_late_after_its_limit_and_lost_after_three_times_that() {
        let registry = Registry::default();
        let (slow, quick) = (registry.register("slow", BOUND), registry.register("quick", BOUND / 2));
        pass(&registry, BOUND / 2);
        assert_eq!(late(&registry), ["quick"]);
        quick.round().await;
        pass(&registry, BOUND / 2);
        assert_eq!(late(&registry), ["slow", "quick"]);
        quick.finish();
        pass(&registry, (BOUND * 2).checked_sub(TICK).unwrap());
        assert!(!registry.all()[0].is_hopeless());
        pass(&registry, TICK);
        assert!(registry.all()[0].is_hopeless());
        slow.round().await;
        assert!(registry.late().is_empty());
    }

    #[tokio::test]
    async fn a_part_counts_until_it_is_dropped() {
        let registry = Registry::default();
        let whole = registry.register("whole", BOUND);
        let part = whole.part("part", BOUND);
        pass(&registry, BOUND);
        whole.round().await;
        assert_eq!(late(&registry), ["part"]);
        drop(part);
        assert!(late(&registry).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_waits_on_purpose_is_not_late() {
        let registry = Registry::default();
        let progress = registry.register("patient", BOUND);
        let ticks = async {
            for _ in 0..400 {
                tokio::time::sleep(TICK).await;
                registry.tick();
                assert!(registry.late().is_empty());
            }
        };
        tokio::select! {
            () = progress.waiting(std::future::pending()) => {}
            () = ticks => {}
        }
    }

    /// The checking thread was stopped, too, so there were no ticks.
    #[tokio::test(start_paused = true)]
    async fn time_without_checks_makes_no_loop_late() {
        let registry = Registry::default();
        let _progress = registry.register("stopped", BOUND);
        tokio::time::sleep(BOUND * 100).await;
        registry.tick();
        assert!(registry.late().is_empty());
    }
}
