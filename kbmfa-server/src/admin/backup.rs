//! `backup`: a copy of the database as of one moment, made while the server runs. It holds no secrets:
//! credentials are stored as hashes, and private keys are files of their own.

use clap::Args as ClapArgs;
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::{Admin, Failure};
use crate::audit::{Event, Kind, store};
use crate::db;

/// `backup` and its arguments.
#[derive(ClapArgs)]
pub struct Args {
    /// The file to make. It must not exist.
    file: PathBuf,
}

/// Makes the copy, and puts it on record first, so that the copy knows of itself.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let name = args.file.display().to_string();
    let hint = "the copy is written as the owner of the state directory, not as root";
    let refused = |e| Failure::new(format!("cannot make {name}: {e}")).hint(hint);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file).map_err(refused)?;
    let (actor, file) = (admin.actor.clone(), name.clone());
    let head = db
        .write_blocking("backup", move |tx| {
            store::append(tx, &Event::new(Kind::BackupMade, actor).detail("file", file))
        })
        .map_err(|error: db::Error| Failure::new(error))?;
    if let Err(error) = db.backup(&args.file) {
        // Half a copy must not be taken for one; what is in the way of removing it was reported.
        let _ = fs::remove_file(&args.file);
        return Err(Failure::new(error));
    }
    let sentence = format!("{name}: the database up to event {head}; keep the CA and TLS keys apart from it");
    admin.tell(&sentence, &json!({ "file": name, "head": head.to_string() }))
}
