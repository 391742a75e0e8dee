//! The loopback listener for the operator's own tools: is it alive, can it serve, how much.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::connections::Seen;
use super::strangers::Strangers;
use crate::ca::Dates;
use crate::ca::due::{self, Standing};
use crate::clock::Time;
use crate::db::Db;
use crate::logins::{Error, Logins, store};
use crate::sessions::{self, Sessions};

/// `/healthz`, `/readyz`, `/metrics`.
pub fn routes(
    db: Db,
    logins: Logins,
    sessions: Sessions,
    (seen, strangers): (Arc<Seen>, Strangers),
    dates: watch::Receiver<Dates>,
) -> BoxedFilter<(Response,)> {
    let health = warp::path!("healthz").map(|| "ok\n".into_response());
    let (writer, known, relay) = (db.clone(), dates.clone(), logins.clone());
    let ready =
        warp::path!("readyz").then(move || readiness(writer.clone(), relay.rules().relay, *known.borrow()));
    let live = Live { logins, sessions, seen, strangers };
    let metrics = warp::path!("metrics").then(move || metrics(db.clone(), live.clone(), *dates.borrow()));
    let all = warp::get().and(health.or(ready).unify().or(metrics).unify());
    all.recover(super::reply::no_route).unify().boxed()
}

/// A login can be served when the database takes a write, machines accept the certificate, and people can be asked.
async fn readiness(db: Db, relay: &'static str, dates: Dates) -> Response {
    let not_ready = |why: String| {
        let text = format!("not ready: {why}\n");
        warp::reply::with_status(text, StatusCode::SERVICE_UNAVAILABLE).into_response()
    };
    let certificates = match probe(&db).await {
        Ok(now) => certificates(&dates, now),
        Err(error) => return not_ready(error.to_string()),
    };
    match (certificates, why_down(&db, relay).await) {
        (Ok(notes), Ok(None)) => format!("ready\n{notes}").into_response(),
        (Ok(_), Ok(Some(why))) => not_ready(format!("the relay {relay} does not reach people: {why}")),
        (Err(why), _) => not_ready(why),
        (_, Err(error)) => not_ready(error.to_string()),
    }
}

/// The console is always there.
async fn why_down(db: &Db, relay: &'static str) -> Result<Option<String>, Error> {
    if relay == "console" {
        return Ok(None);
    }
    db.read(move |tx| Ok::<_, Error>(store::reach::why_down(tx, relay)?)).await
}

/// What is to be said about certificates that end soon; the error is that one has ended.
fn certificates(dates: &Dates, now: Time) -> Result<String, String> {
    let mut notes = String::new();
    for (which, end) in dates.each() {
        match due::standing(end, now) {
            Standing::Good => {}
            Standing::EndsSoon => {
                let _ = writeln!(notes, "the {which} certificate ends on {end}");
            }
            Standing::Ended => return Err(format!("the {which} certificate ended on {end}")),
        }
    }
    Ok(notes)
}

/// Makes the writer do its round, with nothing to write; returns when that was.
///
/// # Errors
/// What the database says.
pub async fn probe(db: &Db) -> Result<Time, Error> {
    db.write("probe", |tx| Ok::<_, Error>(tx.now)).await
}

/// What is counted in memory.
#[derive(Clone)]
struct Live {
    logins: Logins,
    sessions: Sessions,
    seen: Arc<Seen>,
    strangers: Strangers,
}

/// What is counted in the database.
struct Stored {
    pending: u64,
    sessions_open: u64,
    newest_event: i64,
    relay_is_up: bool,
}

async fn metrics(db: Db, live: Live, dates: Dates) -> Response {
    let relay_is_up = why_down(&db, live.logins.rules().relay).await.is_ok_and(|why| why.is_none());
    let stored = db.read(move |tx| {
        let (pending, sessions_open) = (store::count_pending(tx)?, sessions::store::count_open(tx)?);
        let newest_event = crate::audit::store::head(tx)?.seq;
        Ok::<_, Error>(Stored { pending, sessions_open, newest_event, relay_is_up })
    });
    match stored.await {
        Ok(stored) => (render(&db, &live, &stored) + &render_dates(&dates)).into_response(),
        Err(error) => {
            let text = format!("# the database cannot be read: {error}\n");
            warp::reply::with_status(text, StatusCode::SERVICE_UNAVAILABLE).into_response()
        }
    }
}

/// Prometheus's text format.
fn render(db: &Db, Live { logins, sessions, seen, strangers }: &Live, stored: &Stored) -> String {
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
    metric("relay_up", "gauge", "1 while the relay reaches people.", u64::from(stored.relay_is_up));
    metric("connections", "gauge", "Connections open now.", load(&seen.open));
    metric("connections_accepted_total", "counter", "Connections accepted.", load(&seen.accepted));
    metric(
        "connections_refused_total",
        "counter",
        "Connections with a credential refused for being too many.",
        load(&seen.refused),
    );
    let unproven = seen.unproven.load(Ordering::Relaxed) as u64;
    metric("connections_unproven", "gauge", "Connections open now without a proven credential.", unproven);
    let help = "Connections without a proven credential closed to make room for others.";
    metric("connections_evicted_total", "counter", help, load(&seen.evicted));
    let help = "Connections closed since they proved no credential in time.";
    metric("connections_overdue_total", "counter", help, load(&seen.overdue));
    metric(
        "strangers_busy_total",
        "counter",
        "Requests of strangers told to come back later.",
        load(&seen.busy),
    );
    metric("requests_total", "counter", "HTTP requests that came.", load(&seen.requests));
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
    let _ = writeln!(
        text,
        "# HELP kbmfa_callers_refused_total Requests whose credential or token was not accepted."
    );
    let _ = writeln!(text, "# TYPE kbmfa_callers_refused_total counter");
    for (what, count) in strangers.counts() {
        let _ = writeln!(text, "kbmfa_callers_refused_total{{what=\"{}\"}} {count}", what.as_str());
    }
    text
}

fn render_dates(dates: &Dates) -> String {
    let name = "kbmfa_certificate_not_after_seconds";
    let mut text =
        format!("# HELP {name} When a certificate ends, in seconds since 1970.\n# TYPE {name} gauge\n");
    for (which, end) in dates.each() {
        let _ = writeln!(text, "{name}{{which=\"{which}\"}} {}", end.micros() / 1_000_000);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn an_end_within_thirty_days_is_mentioned_and_one_in_the_past_is_not_ready() {
        let now = Time::from_micros(1_795_262_400_000_000);
        let said = |server, ca| certificates(&Dates { server, ca }, now);
        assert_eq!(said(now + DAY * 31, Some(now + DAY * 9000)), Ok(String::new()));
        assert_eq!(said(now + DAY * 31, None), Ok(String::new()));
        let soon = "the server certificate ends on 2026-12-21T12:00:00Z\n";
        assert_eq!(said(now + DAY * 30, None), Ok(soon.to_owned()));
        assert!(said(now, None).is_err());
        assert!(said(now + DAY * 60, Some(now)).is_err());
    }

    #[test]
    fn the_dates_are_metrics() {
        let dates = Dates { server: Time::from_micros(5_000_000), ca: Some(Time::from_micros(7_000_000)) };
        insta::assert_snapshot!(render_dates(&dates), @r#"
        # HELP kbmfa_certificate_not_after_seconds When a certificate ends, in seconds since 1970.
        # TYPE kbmfa_certificate_not_after_seconds gauge
        kbmfa_certificate_not_after_seconds{which="server"} 5
        kbmfa_certificate_not_after_seconds{which="ca"} 7
        "#);
    }
}
