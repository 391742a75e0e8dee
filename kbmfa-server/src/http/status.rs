//! The loopback listener for the operator's own tools: is it alive, can it serve, how much.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::listen::Seen;
use crate::db::Db;
use crate::logins::{Error, Logins, store};
use crate::sessions::{self, Sessions};

/// `/healthz`, `/readyz`, `/metrics`.
pub fn routes(db: Db, logins: Logins, sessions: Sessions, seen: Arc<Seen>) -> BoxedFilter<(Response,)> {
    let health = warp::path!("healthz").map(|| "ok\n".into_response());
    let writer = db.clone();
    let ready = warp::path!("readyz").then(move || readiness(writer.clone()));
    let live = Live { logins, sessions, seen };
    let metrics = warp::path!("metrics").then(move || metrics(db.clone(), live.clone()));
    let all = warp::get().and(health.or(ready).unify().or(metrics).unify());
    all.recover(super::reply::no_route).unify().boxed()
}

/// A login can be served when the database takes a write.
async fn readiness(db: Db) -> Response {
    match probe(&db).await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            let text = format!("not ready: {error}\n");
            warp::reply::with_status(text, StatusCode::SERVICE_UNAVAILABLE).into_response()
        }
    }
}

/// Makes the writer do its round, with nothing to write.
///
/// # Errors
/// What the database says.
pub async fn probe(db: &Db) -> Result<(), Error> {
    db.write("probe", |_| Ok::<_, Error>(())).await
}

/// What is counted in memory.
#[derive(Clone)]
struct Live {
    logins: Logins,
    sessions: Sessions,
    seen: Arc<Seen>,
}

/// What is counted in the database.
struct Stored {
    pending: u64,
    sessions_open: u64,
    newest_event: i64,
}

async fn metrics(db: Db, live: Live) -> Response {
    let stored = db.read(|tx| {
        let (pending, sessions_open) = (store::count_pending(tx)?, sessions::store::count_open(tx)?);
        Ok::<_, Error>(Stored { pending, sessions_open, newest_event: crate::audit::store::head(tx)?.seq })
    });
    match stored.await {
        Ok(stored) => render(&db, &live, &stored).into_response(),
        Err(error) => {
            let text = format!("# the database cannot be read: {error}\n");
            warp::reply::with_status(text, StatusCode::SERVICE_UNAVAILABLE).into_response()
        }
    }
}

/// Prometheus's text format.
fn render(db: &Db, Live { logins, sessions, seen }: &Live, stored: &Stored) -> String {
    let (held, opened, told) = logins.counts();
    let (jobs, commits) = db.counters();
    let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        let _ =
            write!(text, "# HELP kbmfa_{name} {help}\n# TYPE kbmfa_{name} {kind}\nkbmfa_{name} {value}\n");
    };
    metric("logins_pending", "gauge", "Logins that wait for an answer.", stored.pending);
    metric("logins_polled", "gauge", "Logins that a machine polls at this server now.", held as u64);
    metric("logins_opened_total", "counter", "Requests that opened a login.", opened);
    metric("sessions_open", "gauge", "Sessions reported open and not yet closed.", stored.sessions_open);
    metric("reports_taken_total", "counter", "Reports that machines handed in.", sessions.taken());
    metric("connections", "gauge", "Connections open now.", load(&seen.open));
    metric("connections_accepted_total", "counter", "Connections accepted.", load(&seen.accepted));
    metric(
        "connections_refused_total",
        "counter",
        "Connections refused for being too many.",
        load(&seen.refused),
    );
    metric(
        "tls_handshakes_failed_total",
        "counter",
        "TLS handshakes that failed.",
        load(&seen.handshakes_failed),
    );
    metric("db_jobs_total", "counter", "Write transactions done.", jobs);
    metric("db_commits_total", "counter", "Commits that they shared.", commits);
    metric("audit_events", "gauge", "Number of the newest audit event.", stored.newest_event.unsigned_abs());
    let _ = writeln!(text, "# HELP kbmfa_logins_told_total Final states told to machines.");
    let _ = writeln!(text, "# TYPE kbmfa_logins_told_total counter");
    for (state, count) in told {
        let state = format!("{state:?}").to_lowercase();
        let _ = writeln!(text, "kbmfa_logins_told_total{{state=\"{state}\"}} {count}");
    }
    text
}
