//! `audit search`: finds events and prints them.

use clap::Args as ClapArgs;
use kbmfa_proto::names::{MachineName, UserName};
use kbmfa_proto::text::SafeText;
use serde_json::Value;

use super::super::print::{self, Column, Moment};
use super::super::time_arg::When;
use super::super::{Admin, Failure};
use crate::audit::event::Kind;
use crate::audit::store::index;
use crate::audit::store::search::{Filter, Found, newest};
use crate::clock::Time;

/// Search criteria.
#[derive(ClapArgs)]
pub struct Args {
    /// Words that the event must contain, all of them: names, addresses, key fingerprints, ids; web* matches
    /// every word that begins with web.
    text: Vec<String>,
    /// About this login, by its id or the beginning of the id.
    #[arg(long)]
    login: Option<String>,
    /// About this machine.
    #[arg(long)]
    machine: Option<MachineName>,
    /// About this Unix account.
    #[arg(long)]
    user: Option<UserName>,
    /// Done by this person: console:alice, or just alice, which also matches what `SUDO_USER` claimed.
    #[arg(long, alias = "actor")]
    person: Option<String>,
    /// Of this kind, such as login.approved; repeat it for each.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Not before this time: 2026-11-21T21:00:00Z, 2026-11-21, or how long ago: 2h, 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Print at most this many, the newest.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..100_000_000))]
    limit: i64,
}

pub(super) fn run(admin: &Admin, args: Args) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let text = Some(args.text.join(" ")).filter(|text| !text.is_empty());
    let looks_for_words = text.is_some();
    let found = db.read_blocking(|tx| {
        let moment = |when: Option<When>| when.map(|when| when.seen_from(tx.now));
        let filter = Filter {
            login: args.login,
            machine: args.machine.map(String::from),
            user: args.user.map(String::from),
            person: args.person,
            kinds: args.kinds,
            since: moment(args.since),
            until: moment(args.until),
            text,
            limit: args.limit,
        };
        Ok::<_, crate::db::Error>((index::is_complete(tx)?, newest(tx, filter)?))
    });
    let (is_complete, found) = found.map_err(Failure::new)?;
    if looks_for_words && !is_complete {
        return Err(Failure::new("the word index is still being built, so a search would miss older events")
            .hint("a running server builds it by itself; `kbmfa-server audit reindex` does it at once"));
    }
    let rows: Vec<Value> = found.events.iter().map(Found::row).collect();
    admin.print(&rows, COLUMNS, |event| cells(admin, event))?;
    if found.is_cut {
        print::note_cut(args.limit);
    }
    Ok(())
}

const COLUMNS: &[Column] = &[
    Column::whole("EVENT"),
    Column::whole("TIME"),
    Column::whole("KIND"),
    Column::short("ACTOR", 10),
    Column::whole("LOGIN").rank(3),
    Column::short("MACHINE", 6).rank(1),
    Column::short("USER", 6).rank(2),
    Column::short("DETAIL", 8).rank(4),
];

fn cells(admin: &Admin, event: &Value) -> Vec<String> {
    let login = text(event, "/login").chars().take(8).collect();
    vec![
        event.get("seq").map(ToString::to_string).unwrap_or_default(),
        time(admin, event),
        text(event, "/kind"),
        actor(event),
        login,
        text(event, "/machine"),
        text(event, "/user"),
        details(event),
    ]
}

fn text(event: &Value, pointer: &str) -> String {
    // A manipulated event may contain anything.
    SafeText::new(event.pointer(pointer).and_then(Value::as_str).unwrap_or("-")).to_string()
}

/// The time, for people.
pub(in crate::admin) fn time(admin: &Admin, event: &Value) -> String {
    let at = event.get("at").and_then(Value::as_i64).map(Time::from_micros);
    admin.time_or_dash(at.map(Moment))
}

/// The actor, with the claim of `SUDO_USER` in parentheses.
pub(in crate::admin) fn actor(event: &Value) -> String {
    match text(event, "/actor/claim").as_str() {
        "-" => text(event, "/actor/who"),
        claim => format!("{} ({claim})", text(event, "/actor/who")),
    }
}

/// `name=value` for each detail.
pub(in crate::admin) fn details(event: &Value) -> String {
    let detail = event.get("detail").and_then(Value::as_object).map(|detail| {
        let pair = |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap_or("?"));
        let pairs = detail.iter().map(|one| SafeText::new(&pair(one)).to_string());
        pairs.collect::<Vec<_>>().join(" ")
    });
    detail.unwrap_or_default()
}
