//! The loopback listener for the operator's own tools: liveness, readiness and metrics.

use kbmfa_proto::login::State;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::connections::Seen;
use super::rejected_callers::RejectedCallers;
use super::session_reports::Sessions;
use crate::ca::Dates;
use crate::ca::due::{self, Validity};
use crate::clock::Time;
use crate::db::Db;
use crate::db::probe::Probe;
use crate::deliveries::store::{Counts, Drifts, counts, drifts};
use crate::logins::{Error, store};
use crate::long_poll::Logins;
use crate::machines::host_keys::store::count_quarantined;
use crate::policy::Channel;
use crate::progress::{Registry, Silence};
use crate::sessions;

/// Longest time of a readiness check. After that the server counts as not ready.
const READINESS_TIME: Duration = Duration::from_secs(9);

/// The routes `/healthz`, `/readyz` and `/metrics`.
pub fn routes(
    readiness: Readiness,
    sessions: Sessions,
    (seen, strangers): (Arc<Seen>, RejectedCallers),
) -> BoxedFilter<(Response,)> {
    let health = warp::path!("healthz").map(|| "ok\n".into_response());
    let asked = readiness.clone();
    let ready = warp::path!("readyz").then(move || {
        let readiness = asked.clone();
        async move {
            match readiness.find_out().await {
                Ok(notes) => format!("ready\n{notes}").into_response(),
                Err(why) => {
                    let text = format!("not ready: {why}\n");
                    warp::reply::with_status(text, StatusCode::SERVICE_UNAVAILABLE).into_response()
                }
            }
        }
    });
    let live = Live { readiness, sessions, seen, strangers };
    let metrics = warp::path!("metrics").then(move || metrics(live.clone()));
    let all = warp::get().and(health.or(ready).unify().or(metrics).unify());
    all.recover(super::reply::no_route).unify().boxed()
}

/// What a login needs from the server.
#[derive(Clone)]
pub struct Readiness {
    /// Logins, and the rules in force.
    pub logins: Logins,
    /// Expiry dates of the certificates in force.
    pub dates: watch::Receiver<Dates>,
    /// Checks whether the database accepts a write.
    pub probe: Probe,
    /// Whether every loop makes progress.
    pub loops: Registry,
}

impl Readiness {
    /// Checks readiness: every loop makes progress, the database accepts a write, machines accept the
    /// certificate, and people can be asked. Returns warnings, or the reason why it is not ready.
    pub async fn find_out(&self) -> Result<String, String> {
        // Checked first and without the database, because the loop that hangs may block the database.
        let late: Vec<String> = self.loops.late().iter().map(late_loop).collect();
        if !late.is_empty() {
            return Err(late.join("; "));
        }
        let found = tokio::time::timeout(READINESS_TIME, self.look()).await;
        found.map_err(|_| format!("the check took longer than {READINESS_TIME:?}"))?
    }

    async fn look(&self) -> Result<String, String> {
        let now = self.probe.check().await.map_err(|error| error.to_string())?;
        let found = self.logins.db().read(|tx| {
            Ok::<_, Error>(on_machines(&counts(tx)?, drifts(tx)?.as_ref(), count_quarantined(tx)?))
        });
        let machines = found.await;
        let notes =
            certificates(&self.dates.borrow(), now)? + &machines.map_err(|error| error.to_string())?;
        match self.why_relay_down().await {
            Ok(None) => Ok(notes),
            Ok(Some(why)) => {
                let chat = self.logins.rules().chat.map_or("chat", Channel::as_str);
                Err(format!("the relay {chat} does not reach people: {why}"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn why_relay_down(&self) -> Result<Option<String>, Error> {
        let Some(chat) = self.logins.rules().chat else { return Ok(None) };
        self.logins.db().read(move |tx| Ok::<_, Error>(store::reach::why_down(tx, chat)?)).await
    }

    /// Logins that wait for an answer.
    pub async fn count_waiting(&self) -> Result<u64, Error> {
        self.logins.db().read(|tx| Ok::<_, Error>(store::count_pending(tx)?)).await
    }
}

/// The sentence about a loop that is past its limit.
pub fn late_loop(silence: &Silence) -> String {
    format!("the loop {:?} hangs: no round for {} s", silence.name, silence.silent.as_secs())
}

/// The warnings about certificates that expire soon; the error if one has expired.
fn certificates(dates: &Dates, now: Time) -> Result<String, String> {
    let mut notes = String::new();
    for (which, end) in dates.each() {
        match due::validity(end, now) {
            Validity::Valid => {}
            Validity::ExpiresSoon => {
                let _ = writeln!(notes, "the {which} certificate expires on {end}");
            }
            Validity::Expired => return Err(format!("the {which} certificate expired on {end}")),
        }
    }
    Ok(notes)
}

/// What machines have not confirmed. A machine that is down keeps nobody from logging in to the others, so it is no reason
/// not to be ready.
fn on_machines(deliveries: &Counts, drifts: Option<&Drifts>, isolated: u64) -> String {
    let mut notes = String::new();
    let Counts { machines, unconfirmed, failing, oldest, hindered, oldest_check } = *deliveries;
    if unconfirmed > 0 || failing > 0 {
        let since = oldest.map(|since| format!(", the first of them since {since}")).unwrap_or_default();
        let _ = writeln!(
            notes,
            "{unconfirmed} of {machines} machines have not confirmed their accounts and keys{since}; the last pass failed on \
             {failing}; see `kbmfa-server provision status`"
        );
    }
    if hindered > 0 {
        let _ = writeln!(notes, "on {hindered} of {machines} machines something is left as it is");
    }
    if let Some(oldest) = oldest_check {
        let _ = writeln!(notes, "the oldest last check-up of a machine was at {oldest}");
    }
    if let Some(Drifts { count, last_at, machine }) = drifts {
        let _ = writeln!(
            notes,
            "changes on machines that were put right: {count}, the last on {machine} at {last_at}"
        );
    }
    if isolated > 0 {
        let _ = writeln!(notes, "machines in quarantine: {isolated}");
    }
    notes
}

/// Counters in memory.
#[derive(Clone)]
struct Live {
    readiness: Readiness,
    sessions: Sessions,
    seen: Arc<Seen>,
    strangers: RejectedCallers,
}

/// Counters in the database.
struct Stored {
    pending: u64,
    sessions_open: u64,
    newest_event: i64,
    relay_is_up: bool,
    quarantined: u64,
    deliveries: Counts,
    drifts: u64,
    now: Time,
}

async fn metrics(live: Live) -> Response {
    let db = live.readiness.logins.db();
    let relay_is_up = live.readiness.why_relay_down().await.is_ok_and(|why| why.is_none());
    let stored = db.read(move |tx| {
        let (pending, sessions_open) = (store::count_pending(tx)?, sessions::store::count_open(tx)?);
        let newest_event = crate::audit::store::head(tx)?.seq;
        let quarantined = count_quarantined(tx)?;
        let (deliveries, now) = (counts(tx)?, tx.now);
        let drifts = drifts(tx)?.map_or(0, |drifts| drifts.count);
        Ok::<_, Error>(Stored {
            pending,
            sessions_open,
            newest_event,
            relay_is_up,
            quarantined,
            deliveries,
            drifts,
            now,
        })
    });
    match stored.await {
        Ok(stored) => {
            let dates = render_dates(&live.readiness.dates.borrow());
            (render(db, &live, &stored)
                + &render_deliveries(&stored)
                + &dates
                + &render_loops(&live.readiness.loops.all()))
                .into_response()
        }
        Err(error) => {
            let text = format!("# the database cannot be read: {error}\n");
            warp::reply::with_status(text, StatusCode::SERVICE_UNAVAILABLE).into_response()
        }
    }
}

/// Writes the counters in Prometheus's text format.
fn render(db: &Db, Live { readiness, sessions, seen, strangers }: &Live, stored: &Stored) -> String {
    let (held, opened, told) = readiness.logins.counts();
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
    let help = "Machines that report other host keys than those that are pinned.";
    metric("machines_quarantined", "gauge", help, stored.quarantined);
    let unproven = seen.unproven.load(Ordering::Relaxed) as u64;
    metric("connections_unproven", "gauge", "Connections open now without a proven credential.", unproven);
    let help = "Connections without a proven credential closed to make room for others.";
    metric("connections_evicted_total", "counter", help, load(&seen.evicted));
    let help = "Connections closed since they proved no credential in time.";
    metric("connections_overdue_total", "counter", help, load(&seen.overdue));
    metric(
        "strangers_busy_total",
        "counter",
        "Requests of unknown callers that were answered with busy.",
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
    metric("db_writes_failed_total", "counter", "Write transactions that failed.", db.failed_writes());
    metric("audit_events", "gauge", "Number of the newest audit event.", stored.newest_event.unsigned_abs());
    render_by_kind(text, &told, strangers)
}

/// Machines to which keys are delivered.
fn render_deliveries(Stored { deliveries, drifts, now, .. }: &Stored) -> String {
    let oldest = deliveries.oldest.map_or(0, |since| now.since(since).as_secs());
    let rows = [
        ("deliveries", "Machines to which keys are delivered.", deliveries.machines),
        (
            "deliveries_unconfirmed",
            "Machines that have not confirmed what they should have.",
            deliveries.unconfirmed,
        ),
        ("deliveries_failing", "Machines of which the last pass failed.", deliveries.failing),
        ("deliveries_unconfirmed_seconds", "Age of the oldest state that is not confirmed.", oldest),
        (
            "deliveries_hindered",
            "Machines on which an account or a key is left as it is.",
            deliveries.hindered,
        ),
        (
            "deliveries_check_up_seconds",
            "Age of the oldest last check-up of a machine.",
            deliveries.oldest_check.map_or(0, |at| now.since(at).as_secs()),
        ),
    ];
    let text = rows.iter().fold(String::new(), |text, (name, help, value)| {
        text + &format!("# HELP kbmfa_{name} {help}\n# TYPE kbmfa_{name} gauge\nkbmfa_{name} {value}\n")
    });
    let name = "kbmfa_deliveries_drifts_total";
    text + &format!(
        "# HELP {name} Passes that put right what somebody else had changed.\n# TYPE {name} counter\n{name} {drifts}\n"
    )
}

/// The counters that have a label.
fn render_by_kind(mut text: String, told: &[(State, u64)], strangers: &RejectedCallers) -> String {
    let _ = writeln!(text, "# HELP kbmfa_logins_told_total Final states sent to machines.");
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
        format!("# HELP {name} When a certificate expires, in seconds since 1970.\n# TYPE {name} gauge\n");
    for (which, end) in dates.each() {
        let _ = writeln!(text, "{name}{{which=\"{which}\"}} {}", end.micros() / 1_000_000);
    }
    text
}

fn render_loops(loops: &[Silence]) -> String {
    let name = "kbmfa_loop_seconds_since_round";
    let mut text = format!(
        "# HELP {name} Time since the loop last finished a round, in seconds.\n# TYPE {name} \
                 gauge\n"
    );
    for silence in loops {
        let _ = writeln!(text, "{name}{{loop=\"{}\"}} {}", silence.name, silence.silent.as_secs_f64());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn an_expiry_within_thirty_days_is_mentioned_and_a_past_one_is_not_ready() {
        let now = Time::from_micros(1_795_262_400_000_000);
        let said = |server, ca| certificates(&Dates { server, ca }, now);
        assert_eq!(said(now + DAY * 31, Some(now + DAY * 9000)), Ok(String::new()));
        assert_eq!(said(now + DAY * 31, None), Ok(String::new()));
        let soon = "the server certificate expires on 2026-12-21T12:00:00Z\n";
        assert_eq!(said(now + DAY * 30, None), Ok(soon.to_owned()));
        assert!(said(now, None).is_err());
        assert!(said(now + DAY * 60, Some(now)).is_err());
    }

    #[test]
    fn what_machines_have_not_confirmed_is_said_by_a_server_that_is_ready() {
        assert_eq!(on_machines(&Counts::default(), None, 0), "");
        let at = |s: i64| Some(Time::from_micros(1_795_262_400_000_000 + s * 1_000_000));
        let counts = Counts {
            machines: 412,
            unconfirmed: 3,
            failing: 2,
            oldest: at(0),
            hindered: 1,
            oldest_check: at(60),
        };
        let drifts = Drifts {
            count: 4,
            last_at: Time::from_micros(1_795_262_400_000_000),
            machine: "web1".parse().unwrap(),
        };
        insta::assert_snapshot!(on_machines(&counts, Some(&drifts), 1), @r"
        3 of 412 machines have not confirmed their accounts and keys, the first of them since 2026-11-21T12:00:00Z; the last pass failed on 2; see `kbmfa-server provision status`
        on 1 of 412 machines something is left as it is
        the oldest last check-up of a machine was at 2026-11-21T12:01:00Z
        changes on machines that were put right: 4, the last on web1 at 2026-11-21T12:00:00Z
        machines in quarantine: 1
        ");
    }

    #[test]
    fn the_loops_are_metrics_and_a_late_one_is_named() {
        let silence =
            Silence { name: "sweep", silent: Duration::from_millis(20_250), bound: Duration::from_secs(20) };
        insta::assert_snapshot!(render_loops(&[silence]), @r#"
        # HELP kbmfa_loop_seconds_since_round Time since the loop last finished a round, in seconds.
        # TYPE kbmfa_loop_seconds_since_round gauge
        kbmfa_loop_seconds_since_round{loop="sweep"} 20.25
        "#);
        assert_eq!(late_loop(&silence), r#"the loop "sweep" hangs: no round for 20 s"#);
    }

    #[test]
    fn the_dates_are_metrics() {
        let dates = Dates { server: Time::from_micros(5_000_000), ca: Some(Time::from_micros(7_000_000)) };
        insta::assert_snapshot!(render_dates(&dates), @r#"
        # HELP kbmfa_certificate_not_after_seconds When a certificate expires, in seconds since 1970.
        # TYPE kbmfa_certificate_not_after_seconds gauge
        kbmfa_certificate_not_after_seconds{which="server"} 5
        kbmfa_certificate_not_after_seconds{which="ca"} 7
        "#);
    }
}
