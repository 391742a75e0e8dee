//! `login show`: prints one login with all its events in the order of time.

use jiff::SignedDuration;
use serde_json::Value;
use std::time::Duration;

use super::super::audit::search::{actor, details, time};
use super::super::print::{self, Column};
use super::super::{Admin, Failure, session};
use super::{Source, account};
use crate::admin_socket::logins::{LoginDetails, LoginStory, PrunedLogin};

pub(super) fn run(admin: &Admin, source: &Source, id: &str) -> Result<(), Failure> {
    match source.show(id)? {
        LoginDetails::Known(story) => print_story(admin, *story),
        LoginDetails::Pruned(login) => print_pruned(admin, &login),
    }
}

fn print_story(admin: &Admin, mut login: LoginStory) -> Result<(), Failure> {
    let archive = login.archive.take();
    if admin.json {
        return print::print_json(&login);
    }
    print::say(&facts(admin, &login))?;
    if let Some(file) = archive {
        print::say(&format!("its events are in an archive; the newest archive is {file}"))?;
    } else {
        print_events(admin, &login.story)?;
    }
    if login.sessions.is_empty() {
        return Ok(());
    }
    print::say("")?;
    admin.print(&login.sessions, session::COLUMNS, |session| session::cells(admin, session))
}

/// What is left of a login that was pruned.
fn print_pruned(admin: &Admin, login: &PrunedLogin) -> Result<(), Failure> {
    if admin.json {
        return print::print_json(login);
    }
    print::say(&format!(
        "login {} was pruned: it is older than [login] keep, and only its events are left\n",
        login.id
    ))?;
    print_events(admin, &login.story)
}

fn print_events(admin: &Admin, story: &[Value]) -> Result<(), Failure> {
    let rows: Vec<_> = story.iter().map(|event| cells(admin, event)).collect();
    print::say(&print::table(COLUMNS, &rows, print::screen()))
}

/// The login's details, one line each.
fn facts(admin: &Admin, story: &LoginStory) -> String {
    let login = &story.login;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let why = login.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let by = login.decided_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let window = rounded(Duration::from_millis(story.window_ms));
    let lines = [
        ("login", login.id.to_string()),
        ("user", account(login)),
        ("from", or_dash(&login.source)),
        ("machine", login.machine.to_string()),
        ("service", login.service.to_string()),
        ("key", or_dash(&login.key)),
        ("signed", or_dash(&login.certificate.as_ref().map(ToString::to_string))),
        ("opened", admin.time(login.opened)),
        ("verdict", story.verdict.clone()),
        ("window", format!("{window:#}, to {}", admin.time(login.expires))),
        ("state", format!("{}{by}{why}", login.state)),
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

/// A length of time in whole milliseconds; `{:#}` prints it as `4s 12ms`.
fn rounded(length: Duration) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
}
