//! `backup`: a copy of the database as of one moment, made while the server runs. It holds no secrets:
//! credentials are stored as hashes, and private keys are files of their own.

use clap::Args as ClapArgs;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
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

/// Makes the copy under another name, puts it in its place whole, and records it.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let (_, db) = admin.open()?;
    let name = args.file.display().to_string();
    let hint = "the copy is written as the owner of the state directory, not as root";
    let refused = |e: std::io::Error| Failure::new(format!("cannot make {name}: {e}")).hint(hint);
    if args.file.exists() {
        return Err(refused(std::io::ErrorKind::AlreadyExists.into()));
    }
    let half = Half(PathBuf::from(format!("{name}.part")));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half.0).map_err(refused)?;
    let head = db.backup(&half.0, store::head).map_err(Failure::new)?;
    File::open(&half.0).and_then(|copy| copy.sync_all()).map_err(refused)?;
    fs::rename(&half.0, &args.file).map_err(refused)?;
    let (actor, file) = (admin.actor.clone(), name.clone());
    let event = Event::new(Kind::BackupMade, actor).detail("file", file).detail("head", head);
    let recorded = db.write_blocking("backup", move |tx| store::append(tx, &event));
    recorded.map_err(|error: db::Error| Failure::new(error))?;
    let sentence = format!("{name}: the database up to event {head}; keep the CA and TLS keys apart from it");
    admin.tell(&sentence, &json!({ "file": name, "head": head.to_string() }))
}

/// A copy under way: removed unless it was renamed, so that half of one is never taken for a whole.
struct Half(PathBuf);

impl Drop for Half {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
