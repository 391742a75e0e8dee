//! `audit ..`: look things up in the record, and prove that nobody has edited it.

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;
use kbmfa_proto::names::{MachineName, UserName};
use kbmfa_proto::text::Shown as Text;
use serde_json::{Value, json};

use super::{Admin, Failure};
use crate::audit::chain::Witness;
use crate::audit::event::Kind;
use crate::audit::store::{self, Filter, Found};
use crate::clock::Time;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Find events, oldest first; everything that is given must hold.
    Search(Search),
    /// Check the whole chain and name the first event that was edited, removed or moved.
    Verify {
        /// A head that somebody wrote down, such as 42:0f3a9b7c11de: the chain must still contain it. Only
        /// with one can a chain be noticed whose end was cut off.
        #[arg(long, value_name = "SEQ:HEX")]
        head: Option<Witness>,
    },
}

/// What to look for.
#[derive(ClapArgs)]
pub struct Search {
    /// A text anywhere in the event.
    text: Option<String>,
    /// About this login: its id, or the beginning of it.
    #[arg(long)]
    login: Option<String>,
    /// About this machine.
    #[arg(long)]
    machine: Option<MachineName>,
    /// About this Unix account.
    #[arg(long)]
    user: Option<UserName>,
    /// Done by this actor, such as console:root.
    #[arg(long)]
    actor: Option<String>,
    /// Of this kind, such as login.approved.
    #[arg(long)]
    kind: Option<Kind>,
    /// Not before this time, such as 2026-11-21T21:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// So many at the most: the newest of them.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
}

/// Does it.
///
/// # Errors
/// What went wrong; for `verify`, what is broken.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Search(search) => find(admin, search),
        Verb::Verify { head } => verify(admin, head.as_ref()),
    }
}

fn find(admin: &Admin, search: Search) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let time = |time: Option<Timestamp>| time.map(|time| Time::from_micros(time.as_microsecond()));
    let filter = Filter {
        login: search.login,
        machine: search.machine.map(String::from),
        user: search.user.map(String::from),
        actor: search.actor,
        kind: search.kind,
        since: time(search.since),
        until: time(search.until),
        text: search.text,
        limit: search.limit,
    };
    let found = db.read_blocking(|tx| store::search(tx, &filter)).map_err(Failure::new)?;
    let rows: Vec<Value> = found.iter().map(with_seal).collect();
    admin.print(&rows, &["EVENT", "TIME", "KIND", "ACTOR", "LOGIN", "MACHINE", "USER", "DETAIL"], cells)
}

/// The sealed body, with its seal and a time that people can read beside it.
fn with_seal(event: &Found) -> Value {
    let mut body = serde_json::from_str(&event.body).unwrap_or_else(|_| json!({ "unreadable": event.body }));
    if let Some(fields) = body.as_object_mut() {
        let at = fields.get("at").and_then(Value::as_i64).map(Time::from_micros);
        fields.insert("seal".into(), event.seal.clone().into());
        fields.insert("time".into(), at.map(|at| at.to_string()).into());
    }
    body
}

fn cells(event: &Value) -> Vec<String> {
    // A record that was tampered with may hold anything.
    let text =
        |pointer: &str| Text::new(event.pointer(pointer).and_then(Value::as_str).unwrap_or("-")).to_string();
    let detail = event.get("detail").and_then(Value::as_object).map(|detail| {
        let pairs = detail
            .iter()
            .map(|(name, value)| Text::new(&format!("{name}={}", value.as_str().unwrap_or("?"))).to_string());
        pairs.collect::<Vec<_>>().join(" ")
    });
    let login = text("/login").chars().take(8).collect();
    vec![
        event.get("seq").map(ToString::to_string).unwrap_or_default(),
        text("/time"),
        text("/kind"),
        text("/actor/who"),
        login,
        text("/machine"),
        text("/user"),
        detail.unwrap_or_default(),
    ]
}

fn verify(admin: &Admin, witness: Option<&Witness>) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let outcome = db.read_blocking(|tx| store::verify(tx, witness)).map_err(Failure::new)?;
    let head = outcome.map_err(|broken| {
        Failure::new(format!("the record is broken: {broken}"))
            .hint("compare with a backup, or with the heads in the chat")
    })?;
    let sentence = format!("{} events, untouched; head {head}", head.seq);
    let seal = head.seal.to_string();
    admin.tell(&sentence, &json!({ "events": head.seq, "head": head.to_string(), "seal": seal }))
}
