//! Reports to systemd: readiness, watchdog, and the line that `systemctl status` shows.

use sd_notify::NotifyState;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::http::status::Readiness;
use crate::policy::Channel;
use crate::progress::Progress;

/// Interval of the status line. Each line costs a probe of the database, and is sent only if it differs from
/// the last one.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum number of reports to systemd that wait. Further ones are dropped.
const REPORTS_MAX: usize = 4;

/// Reports to systemd, if systemd started this process. A separate thread sends them, because a full socket
/// would block the caller. Clones share it.
#[derive(Clone)]
pub(super) struct Systemd(Option<SyncSender<Report>>);

enum Report {
    Ready,
    Stopping,
    Alive,
    Status(String),
}

impl Systemd {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        if !was_told_where() {
            return Ok(Self(None));
        }
        let (reports, waiting) = sync_channel(REPORTS_MAX);
        thread::Builder::new().name("systemd".into()).spawn(move || run(&waiting))?;
        Ok(Self(Some(reports)))
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn ready(&self) {
        self.report(Report::Ready);
    }

    pub(super) fn stopping(&self) {
        self.report(Report::Stopping);
    }

    pub(super) fn feed(&self) {
        self.report(Report::Alive);
    }

    fn status(&self, line: String) {
        self.report(Report::Status(line));
    }

    fn report(&self, report: Report) {
        if let Some(reports) = &self.0 {
            let _ = reports.try_send(report);
        }
    }
}

fn run(waiting: &Receiver<Report>) {
    for report in waiting {
        let state = match &report {
            Report::Ready => NotifyState::Ready,
            Report::Stopping => NotifyState::Stopping,
            Report::Alive => NotifyState::Watchdog,
            Report::Status(line) => NotifyState::Status(line),
        };
        if let Err(error) = sd_notify::notify(&[state]) {
            log::warn!("systemd could not be notified: {error}");
        }
    }
}

/// Keeps the line that `systemctl status` shows up to date.
pub(super) async fn status_line(
    listen: SocketAddr,
    readiness: Readiness,
    systemd: Systemd,
    progress: Progress,
) {
    let mut shown = String::new();
    while systemd.is_there() {
        progress.round().await;
        let line = line(listen, &readiness).await;
        if line != shown {
            systemd.status(line.clone());
            shown = line;
        }
        tokio::time::sleep(STATUS_INTERVAL).await;
    }
    progress.finish();
    std::future::pending::<()>().await;
}

async fn line(listen: SocketAddr, readiness: &Readiness) -> String {
    let state = match readiness.find_out().await {
        Ok(_) => {
            let channel = readiness.logins.rules().chat.unwrap_or(Channel::Console);
            format!("ready, relay {channel} up")
        }
        Err(why) => format!("NOT READY: {}", why.replace('\n', " ")),
    };
    match readiness.count_waiting().await {
        Ok(waiting) => format!("{state}; listening on {listen}; logins waiting: {waiting}"),
        Err(_) => format!("{state}; listening on {listen}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "systemd passes it in a variable")]
fn was_told_where() -> bool {
    std::env::var("NOTIFY_SOCKET").is_ok()
}
