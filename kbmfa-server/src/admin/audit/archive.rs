//! `audit archive`: writes the oldest events to a file, verifies the file, and then deletes these events in
//! the database.

use clap::Args as ClapArgs;
use kbmfa_proto::text::SafeText;
use serde_json::json;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::super::output::Output;
use super::super::time_arg::When;
use super::super::{Admin, Failure};
use super::export::{self, Format};
use super::file::{self, Summed};
use crate::audit::chain::Head;
use crate::audit::store::archive::{self, Archive};
use crate::db::{self, Db};
use crate::usecases::audit as usecase;

/// What to archive, and where.
#[derive(ClapArgs)]
pub struct Args {
    /// Events before this time: 2026-11-21, 2026-11-21T21:00:00Z, or how long ago: 90d. Events from the first
    /// one of an unfinished login on are always kept.
    #[arg(long, value_name = "TIME")]
    before: When,
    /// The file to create; it must not exist.
    file: PathBuf,
    /// Do it; without this, only print what would be done.
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let path = std::path::absolute(&args.file).map_err(Failure::new)?;
    let output = args.yes.then(|| Output::create(&path)).transpose()?;
    let (_, db) = admin.open()?;
    // Deletes what an interrupted run left.
    prune(&db)?;
    let (before, part) = db
        .read_blocking(|tx| {
            let before = args.before.seen_from(tx.now);
            Ok::<_, db::Error>((before, usecase::archivable(tx, before)?))
        })
        .map_err(Failure::new)?;
    let name = path.display().to_string();
    let what = format!("{} events ({} to {})", part.clone().count(), part.start(), part.end());
    if part.is_empty() {
        return admin
            .tell(&format!("there are no events before {before} to archive"), &json!({ "events": 0 }));
    }
    let Some(output) = output else {
        return admin.preview(&format!("archive {what} into {name}"));
    };
    let written = write(&db, part, &output)?;
    let (archive, events) = (written.clone(), written.last.seq - written.first + 1);
    let cut =
        admin.change("audit.archive", move |tx, _, actor| usecase::archive(tx, actor, &archive, before));
    let head = cut?;
    output.keep();
    prune(&db)?;
    let sentence = format!(
        "{name}: {what}; the chain goes on after {}, head {head}\n\
         hint: keep the file; `kbmfa-server audit verify --with {name}` verifies it with the rest",
        written.last
    );
    let Archive { first, last, sha256, .. } = written;
    admin.tell(
        &sentence,
        &json!({ "file": name, "events": events, "first": first, "last": last.seq, "sha256": sha256,
            "checkpoint": last.to_string(), "head": head.to_string() }),
    )
}

/// Writes the file, syncs it, reads it back and verifies its chain.
fn write(db: &Db, part: RangeInclusive<i64>, output: &Output) -> Result<Archive, Failure> {
    let start = db.read_blocking(archive::newest).map_err(Failure::new)?;
    let start = start.map_or(Head::EMPTY, |checkpoint| checkpoint.last);
    let mut summed = Summed::new(output.file());
    export::write(db, part.clone(), Format::Jsonl, &mut summed)?;
    output.sync()?;
    let name = output.name();
    let read = file::verify(output.reread()?, Path::new(&name), Some(start), None)?;
    if read.sha256 != summed.sha256() || read.last.seq != *part.end() {
        return Err(Failure::new(format!("{name} does not have the contents that were written")));
    }
    Ok(Archive { first: start.seq + 1, last: read.last, sha256: read.sha256, file: SafeText::from(name) })
}

fn prune(db: &Db) -> Result<(), Failure> {
    db.write_in_turns("audit.prune", usecase::prune_some).map_err(Failure::new)
}
