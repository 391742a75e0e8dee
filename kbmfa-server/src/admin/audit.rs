//! `audit ..`: search the audit log, verify it, export it, and archive old events.

mod archive;
mod export;
mod file;
pub(super) mod search;
mod verify;

use clap::Subcommand;
use serde_json::json;

use super::{Admin, Failure};
use crate::db::Db;
use crate::usecases::audit as usecase;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Find events, oldest first; all given conditions must match.
    Search(search::Args),
    /// Check the whole chain and name the first event that was edited, removed or moved.
    Verify(verify::Args),
    /// Write events to a file that anybody can verify, or to CSV for spreadsheets.
    Export(export::Args),
    /// Move old events to a file.
    Archive(archive::Args),
    /// Post the head of the audit log to the chat now; a server does so once a day.
    PostHead,
    /// Rebuild the word index, if `verify` reports that events are missing in it.
    Reindex,
}

/// Runs the verb.
///
/// # Errors
/// What went wrong; for `verify`, what is broken.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Search(args) => search::run(admin, args),
        Verb::Verify(args) => verify::run(admin, &args),
        Verb::Export(args) => export::run(admin, &args),
        Verb::Archive(args) => archive::run(admin, &args),
        Verb::PostHead => post_head(admin),
        Verb::Reindex => reindex(admin),
    }
}

fn post_head(admin: &Admin) -> Result<(), Failure> {
    let head =
        admin.change("audit.post-head", |tx, config, _| usecase::post_head(tx, &config.rules(None)))?;
    let words = format!("the head of the audit log is {head}; a running server posts it now");
    admin.tell(&words, &json!({ "head": format!("{}:{}", head.seq, head.seal) }))
}

fn reindex(admin: &Admin) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let events = db.write_blocking("audit.reindex", usecase::reset_index).map_err(Failure::new)? - 1;
    complete(&db)?;
    admin.tell("the word index was rebuilt", &json!({ "events_up_to": events }))
}

/// Indexes the missing events, in many short transactions.
fn complete(db: &Db) -> Result<(), Failure> {
    db.write_in_turns("audit.index", usecase::index_some).map_err(Failure::new)?;
    Ok(())
}
