//! `login show`: one login's whole story in the order of time.

mod pruned;

use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

use super::super::audit::search::{actor, details, time, with_seal};
use super::super::print::{self, Column};
use super::super::{Admin, Failure, session};
use super::{Shown, WithSessions};
use crate::audit::store::archive;
use crate::audit::store::search::{Filter, Found, search};
use crate::clock::Time;
use crate::logins::store::Login;
use crate::logins::{Error, service};

/// Events of one login that are shown: far more than one has, unless somebody answers again and again.
const EVENTS_MAX: i64 = 10_000;

/// The login as `list` has it, with what happened to it.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    login: Shown,
    sessions: Vec<session::Shown>,
    verdict: String,
    window_ms: u64,
    story: Vec<Value>,
}

pub(super) fn run(admin: &Admin, id: &str) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let read = db.read_blocking(|tx| {
        let login = match service::find(tx, id) {
            Err(Error::NotFound(_)) => return Ok(None),
            found => found?,
        };
        let filter = Filter { login: Some(login.id.to_string()), limit: EVENTS_MAX, ..Filter::default() };
        let events = search(tx, &filter)?;
        Ok::<_, Error>(Some((WithSessions::read(tx, login.clone())?, login, events, archive::newest(tx)?)))
    });
    let Some((WithSessions { login: shown, sessions }, login, events, archived)) =
        read.map_err(Failure::new)?
    else {
        return pruned::tell(admin, &db, id);
    };
    let story: Vec<Value> = events.iter().map(|event| with_time_since(event, login.opened_at)).collect();
    if admin.json {
        return print::print_json(&Told {
            verdict: login.verdict.clone(),
            window_ms: u64::try_from(window(&login).as_millis()).unwrap_or(u64::MAX),
            login: shown,
            sessions,
            story,
        });
    }
    print::say(&facts(admin, &login))?;
    if let Some(cut) = archived.filter(|_| story.is_empty()) {
        print::say(&format!("its events are archived; the newest archive is {}", cut.archive.file))?;
    } else {
        let rows: Vec<_> = story.iter().map(|event| cells(admin, event)).collect();
        print::say(&print::table(COLUMNS, &rows, print::screen()))?;
    }
    if sessions.is_empty() {
        return Ok(());
    }
    print::say("")?;
    admin.print(&sessions, session::COLUMNS, |session| session.cells(admin))
}

fn window(login: &Login) -> Duration {
    login.life.expires_at.since(login.opened_at)
}

/// What is known of it, a line for each thing.
fn facts(admin: &Admin, login: &Login) -> String {
    let shown = Shown::from(login.clone());
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let why = shown.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let by = shown.decided_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let lines = [
        ("login", login.id.to_string()),
        ("user", shown.account()),
        ("from", or_dash(shown.source)),
        ("machine", shown.machine.to_string()),
        ("service", shown.service.to_string()),
        ("key", or_dash(shown.key)),
        ("signed", or_dash(login.certificate().map(|certificate| certificate.to_string()))),
        ("opened", admin.time(shown.opened)),
        ("verdict", login.verdict.clone()),
        ("window", format!("{:#}, to {}", rounded(window(login)), admin.time(shown.expires))),
        ("state", format!("{}{by}{why}", shown.state)),
    ];
    lines.iter().fold(String::new(), |text, (name, value)| text + &format!("{name:<9}{value}\n"))
}

const COLUMNS: &[Column] = &[
    Column::whole("EVENT").rank(3),
    Column::whole("TIME").rank(1),
    Column::whole("AFTER").rank(2),
    Column::short("ACTOR", 10),
    Column::whole("WHAT"),
    Column::short("DETAIL", 12),
];

fn cells(admin: &Admin, event: &Value) -> Vec<String> {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let after = event.get("after_ms").and_then(Value::as_u64).map(Duration::from_millis);
    vec![
        event.get("seq").map(ToString::to_string).unwrap_or_default(),
        time(admin, event),
        after.map(|after| format!("{:#}", rounded(after))).unwrap_or_default(),
        actor(event),
        text("kind"),
        details(event),
    ]
}

/// `4s 12ms`, when it is printed with `#`.
fn rounded(length: Duration) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
}

fn with_time_since(event: &Found, opened: Time) -> Value {
    let mut told = with_seal(event);
    if let Some(fields) = told.as_object_mut() {
        let at = fields.get("at").and_then(Value::as_i64).map(Time::from_micros);
        let after = at.and_then(|at| u64::try_from(at.since(opened).as_millis()).ok());
        fields.insert("after_ms".into(), after.into());
    }
    told
}
