//! `login show` of a login that was pruned: its events are left, or the archive that they went to.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

use super::super::super::{Admin, Failure, print};
use super::{COLUMNS, EVENTS_MAX, cells, with_time_since};
use crate::audit::store::archive;
use crate::audit::store::search::{Filter, Found, search};
use crate::clock::Time;
use crate::db::{Db, Tx};
use crate::logins::Error;
use crate::retention::pruned_before;

/// What is left of it.
#[derive(Serialize)]
struct Told {
    id: String,
    pruned: bool,
    story: Vec<Value>,
}

pub(super) fn tell(admin: &Admin, db: &Db, id: &str) -> Result<(), Failure> {
    let (events, hint) = db.read_blocking(|tx| read(tx, id)).map_err(Failure::new)?;
    let ids: BTreeSet<String> =
        events.iter().filter_map(|event| Some(field(event)?.get("login")?.as_str()?.to_owned())).collect();
    let mut ids = ids.into_iter();
    let (login, other) = (ids.next(), ids.next());
    let Some(login) = login else {
        let nothing = Failure::new(Error::NotFound(id.to_owned()));
        return Err(match hint {
            Some(hint) => nothing.hint(hint),
            None => nothing,
        });
    };
    if other.is_some() {
        return Err(Failure::new(Error::Ambiguous(id.to_owned())));
    }
    let opened = events.first().and_then(|event| field(event)?.get("at")?.as_i64());
    let opened = Time::from_micros(opened.unwrap_or_default());
    let story: Vec<Value> = events.iter().map(|event| with_time_since(event, opened)).collect();
    if admin.json {
        return print::print_json(&Told { id: login, pruned: true, story });
    }
    print::say(&format!(
        "login {login} was pruned: it is older than [login] keep, and only its events are left\n"
    ))?;
    let rows: Vec<_> = story.iter().map(|event| cells(admin, event)).collect();
    print::say(&print::table(COLUMNS, &rows, print::screen()))
}

/// The events of logins whose id begins so, and where others may be.
fn read(tx: &Tx<'_>, id: &str) -> Result<(Vec<Found>, Option<String>), Error> {
    let is_hex = !id.is_empty() && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let filter = Filter { login: Some(id.to_owned()), limit: EVENTS_MAX, ..Filter::default() };
    let events = if is_hex { search(tx, &filter)? } else { Vec::new() };
    let Some(before) = pruned_before(tx)? else { return Ok((events, None)) };
    let archived = archive::newest(tx)?
        .map(|cut| format!("; archived events are in {} and the files before it", cut.archive.file));
    Ok((events, Some(format!("logins from before {before} were pruned{}", archived.unwrap_or_default()))))
}

fn field(event: &Found) -> Option<Value> {
    serde_json::from_str(&event.body).ok()
}
