//! Watches the loops from a plain thread, which runs even if the async runtime stalls. While every loop makes
//! progress, it feeds systemd's watchdog. When a loop has hung for too long, it ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::systemd::Systemd;
use crate::db::Db;
use crate::http::status::{Readiness, late_loop};
use crate::progress::{Progress, Registry, Silence, TICK};

/// Interval at which the database's writer must make a round.
const WRITER_INTERVAL: Duration = Duration::from_secs(5);

/// Time for writing the last log line, because the write may block.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// Exit status if a loop is lost.
const EXIT_HUNG: i32 = 70;

/// False if a restart would help, by the last error of the database. Shared with the thread, which then does
/// not feed the watchdog.
pub(super) type IsWell = Arc<AtomicBool>;

/// Starts the thread.
pub(super) fn start(registry: Registry, is_well: IsWell, systemd: Systemd) -> std::io::Result<()> {
    let watchdog = sd_notify::watchdog_enabled().map(|period| Watchdog {
        every: period / 3,
        fed: Duration::MAX,
        systemd,
    });
    let thread = thread::Builder::new().name("supervision".into());
    thread.spawn(move || supervise(&registry, &is_well, watchdog)).map(drop)
}

/// systemd's watchdog interval, counted in ticks, so that a pause of the whole process skips no feed.
struct Watchdog {
    every: Duration,
    fed: Duration,
    systemd: Systemd,
}

impl Watchdog {
    fn feed_in_time(&mut self) {
        self.fed = self.fed.saturating_add(TICK);
        if self.fed >= self.every {
            self.fed = Duration::ZERO;
            self.systemd.feed();
        }
    }
}

fn supervise(registry: &Registry, is_well: &AtomicBool, mut watchdog: Option<Watchdog>) {
    let mut known: Vec<&'static str> = Vec::new();
    loop {
        thread::park_timeout(TICK);
        registry.tick();
        let late = registry.late();
        tell(&late, &mut known);
        let hopeless: Vec<Silence> = late.iter().copied().filter(Silence::is_hopeless).collect();
        if !hopeless.is_empty() {
            end(&hopeless);
        }
        if let Some(watchdog) =
            watchdog.as_mut().filter(|_| late.is_empty() && is_well.load(Ordering::Relaxed))
        {
            watchdog.feed_in_time();
        }
    }
}

/// Logs which loops have become late, and which are back in time.
fn tell(late: &[Silence], known: &mut Vec<&'static str>) {
    let new: Vec<String> =
        late.iter().filter(|silence| !known.contains(&silence.name)).map(late_loop).collect();
    let is_back = |name: &&'static str| !late.iter().any(|silence| silence.name == *name);
    let back: Vec<&'static str> = known.iter().copied().filter(is_back).collect();
    if new.is_empty() && back.is_empty() {
        return;
    }
    *known = late.iter().map(|silence| silence.name).collect();
    say(move || {
        for line in new {
            log::error!("{line}; logins may not be served");
        }
        for name in back {
            log::info!("the loop {name:?} makes progress again");
        }
    });
}

/// Ends the process, whatever hangs in it. The next process continues from the database.
fn end(hopeless: &[Silence]) -> ! {
    let lines: Vec<String> = hopeless.iter().map(late_loop).collect();
    if let Some(logged) = say(move || {
        for line in lines {
            log::error!("{line}; this process exits so that systemd starts it again");
        }
    }) {
        let ticks = LAST_WORDS_TIME.as_millis() / TICK.as_millis();
        for _ in 0..ticks {
            if logged.is_finished() {
                break;
            }
            thread::park_timeout(TICK);
        }
    }
    #[expect(clippy::disallowed_methods, reason = "a task that hangs cannot be dropped")]
    std::process::exit(EXIT_HUNG)
}

/// Logs from a separate thread, because writing to the log may block.
fn say(work: impl FnOnce() + Send + 'static) -> Option<thread::JoinHandle<()>> {
    thread::Builder::new().name("last-words".into()).spawn(work).ok()
}

/// Has the database's writer make a round at intervals. Where systemd has a watchdog, also checks that a
/// write succeeds. Ends when the writer ends.
pub(super) async fn writer(db: Db, readiness: Readiness, is_well: IsWell, progress: Progress) {
    let probe_every = sd_notify::watchdog_enabled().map(|period| period / 3);
    let mut since_probe = Duration::MAX;
    loop {
        // An error needs no handling here: the callers whose work failed log it.
        let _ = db.writer_goes_round().await;
        progress.round().await;
        if probe_every.is_some_and(|every| since_probe >= every) {
            since_probe = Duration::ZERO;
            let result = readiness.probe.check().await;
            is_well.store(result.err().is_none_or(|error| !error.may_end_by_restart()), Ordering::Relaxed);
        }
        tokio::select! {
            () = db.writer_ends() => return,
            () = tokio::time::sleep(WRITER_INTERVAL) => {}
        }
        since_probe = since_probe.saturating_add(WRITER_INTERVAL);
    }
}
