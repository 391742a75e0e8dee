//! `audit ..`: look things up in the record, prove that nobody has edited it, take copies of it, and put old
//! events away.

mod archive;
mod export;
mod file;
pub(super) mod search;
mod verify;

use clap::Subcommand;
use serde_json::json;

use super::{Admin, Failure};
use crate::audit::store::index;
use crate::db::Db;

/// The verbs.
#[derive(Subcommand)]
pub enum Verb {
    /// Find events, oldest first; everything that is given must hold.
    Search(search::Args),
    /// Check the whole chain and name the first event that was edited, removed or moved.
    Verify(verify::Args),
    /// Write events into a file that anybody can verify, or that a spreadsheet reads.
    Export(export::Args),
    /// Put old events into a file and go on without them.
    Archive(archive::Args),
    /// Make the index of words anew, if `verify` says that events are missing in it.
    Reindex,
}

/// Does it.
///
/// # Errors
/// What went wrong; for `verify`, what is broken.
pub fn run(admin: &Admin, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Search(args) => search::run(admin, args),
        Verb::Verify(args) => verify::run(admin, &args),
        Verb::Export(args) => export::run(admin, &args),
        Verb::Archive(args) => archive::run(admin, &args),
        Verb::Reindex => reindex(admin),
    }
}

fn reindex(admin: &Admin) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let events = db.write_blocking("audit.reindex", index::reset).map_err(Failure::new)? - 1;
    complete(&db)?;
    admin.tell("the index of words is made anew", &json!({ "events_up_to": events }))
}

/// Makes the words that are missing, in many short transactions.
fn complete(db: &Db) -> Result<(), Failure> {
    while db.write_blocking("audit.index", index::complete_some).map_err(Failure::new)? {}
    Ok(())
}
