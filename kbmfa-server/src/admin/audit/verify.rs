//! `audit verify`: verifies the chain in the database, in exports, or in both together.

use clap::Args as ClapArgs;
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::{Admin, Failure};
use super::file::{self, Contents};
use crate::audit::chain::{Broken, Fault, Head, Walk, Witness};
use crate::audit::store::{self, archive, index};
use crate::db;
use crate::retention::pruned_before;

/// What to verify.
#[derive(ClapArgs)]
pub struct Args {
    /// A head from an earlier time, such as 42:0f3a9b7c11de: the chain must still contain it. Only by a head
    /// can verify detect that the end of the chain was removed.
    #[arg(long, value_name = "SEQ:HEX")]
    head: Option<Witness>,
    /// An archive, oldest first. The chain is verified through these files and on in the database.
    #[arg(long = "with", value_name = "FILE", num_args = 1..)]
    archives: Vec<PathBuf>,
    /// An export or archive to verify without a database. Name several in their order.
    #[arg(long = "file", value_name = "FILE", num_args = 1.., conflicts_with = "archives")]
    files: Vec<PathBuf>,
}

pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    if args.files.is_empty() { database(admin, args) } else { files(admin, args) }
}

fn database(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let archives = open(&args.archives)?;
    let (_, db) = admin.open()?;
    let checkpoints = db.read_blocking(archive::all).map_err(Failure::new)?;
    let parts = follow(archives, args.head.as_ref(), |last, sha256| {
        let cut = checkpoints.iter().find(|cut| cut.last.seq == last.seq);
        cut.is_some_and(|cut| cut.last == last && cut.archive.sha256 == sha256)
    })?;
    let cut = checkpoints.last().map_or(Head::EMPTY, |cut| cut.last);
    if let Some(end) = parts.last().filter(|end| end.last != cut) {
        return Err(broken(Broken { seq: end.last.seq + 1, fault: Fault::Missing })
            .hint("name every archive, up to the newest one"));
    }
    let start = parts.first().map_or(cut, |first| first.start);
    let (outcome, hidden, pruned) = db
        .read_blocking(|tx| {
            let walk = Walk::from(start, args.head.clone()).at(cut);
            Ok::<_, db::Error>((store::verify_on(tx, walk)?, index::hidden(tx)?, pruned_before(tx)?))
        })
        .map_err(Failure::new)?;
    let head = outcome.map_err(broken)?;
    tell(admin, start, head, pruned.as_deref())?;
    if hidden > 0 {
        let sentence = format!("the audit log is intact, but a search by words would miss {hidden} events");
        return Err(Failure::new(sentence).hint("kbmfa-server audit reindex"));
    }
    Ok(())
}

fn files(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let parts = follow(open(&args.files)?, args.head.as_ref(), |_, _| true)?;
    let (Some(first), Some(end)) = (parts.first(), parts.last()) else { return Ok(()) };
    let head = Walk::from(first.start, args.head.clone()).at(end.last).finish().map_err(broken)?;
    tell(admin, first.start, head, None)
}

fn open(paths: &[PathBuf]) -> Result<Vec<(&Path, File)>, Failure> {
    paths.iter().map(|path| Ok((path.as_path(), file::open(path)?))).collect()
}

/// Verifies the chain from file to file.
fn follow(
    files: Vec<(&Path, File)>,
    witness: Option<&Witness>,
    is_known: impl Fn(Head, &str) -> bool,
) -> Result<Vec<Contents>, Failure> {
    let mut parts: Vec<Contents> = Vec::new();
    for (path, file) in files {
        let before = parts.last().map(|part| part.last);
        let part = file::verify(file, path, before, witness)?;
        if !is_known(part.last, &part.sha256) {
            return Err(broken(Broken { seq: part.last.seq, fault: Fault::FileDiffers }));
        }
        parts.push(part);
    }
    Ok(parts)
}

fn broken(broken: Broken) -> Failure {
    Failure::new(format!("the audit log is broken: {broken}"))
        .hint("compare with a backup, or with the heads in the chat")
}

/// Prints the result. It includes the time before which rows were pruned, which anybody needs who compares
/// the events with the logins.
fn tell(admin: &Admin, start: Head, head: Head, pruned: Option<&str>) -> Result<(), Failure> {
    let (first, events) = (start.seq + 1, head.seq - start.seq);
    let behind = if start.seq == 0 { String::new() } else { format!(" from {first} on") };
    let gone = pruned.map(|before| {
        format!("\nlogins and sessions from before {before} were pruned; their events are kept")
    });
    let sentence = format!("{events} events{behind}, untouched; head {head}{}", gone.unwrap_or_default());
    let seal = head.seal.to_string();
    admin.tell(
        &sentence,
        &json!({ "events": events, "first": first, "head": head.to_string(), "seal": seal,
        "pruned_before": pruned }),
    )
}
