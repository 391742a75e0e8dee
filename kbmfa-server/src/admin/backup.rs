//! `backup`: copies the database consistently while the server runs. The copy contains no secrets:
//! credentials are stored as hashes, and private keys are in separate files.

use clap::Args as ClapArgs;
use nix::sys::statvfs::statvfs;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::{Admin, Failure};
use crate::audit::store;
use crate::db;
use crate::random;
use crate::usecases::audit as usecase;

/// Free space that must remain for the running server, in bytes.
const SPACE_LEFT: u64 = 100 * 1024 * 1024;

/// `backup` and its arguments.
#[derive(ClapArgs)]
pub struct Args {
    /// The file to create. It must not exist.
    file: PathBuf,
}

/// Copies the database beside itself with its owner's rights, writes that copy to the file, and records the
/// backup.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    let output = Output::create(&args.file)?;
    let (config, db) = admin.open()?;
    must_fit(&config.state_dir)?;
    let copy = Copy::make(&config.state_dir)?;
    let head = db.backup(&copy.0, store::head).map_err(Failure::new)?;
    output.copy_database(&File::open(&copy.0).map_err(Failure::new)?)?;
    output.sync()?;
    let name = output.name();
    let (actor, file) = (admin.actor.clone(), name.clone());
    let recorded = db.write_blocking("backup", move |tx| usecase::backup_made(tx, &actor, &file, &head));
    recorded.map_err(|error: db::Error| Failure::new(error))?;
    output.keep();
    let sentence = format!("{name}: the database up to event {head}; store the CA and TLS keys separately");
    admin.tell(&sentence, &json!({ "file": name, "head": head.to_string() }))
}

/// Fails unless the copy leaves enough free space for the running server.
fn must_fit(state_dir: &Path) -> Result<(), Failure> {
    let size = fs::metadata(state_dir.join(db::FILE)).map_err(Failure::new)?.len();
    let found = statvfs(state_dir).map_err(Failure::new)?;
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    if free >= size.saturating_add(SPACE_LEFT) {
        return Ok(());
    }
    let (needed, free) = ((size + SPACE_LEFT) / 1_048_576, free / 1_048_576);
    Err(Failure::new(format!("{} has {free} MB free, and a copy needs {needed} MB", state_dir.display()))
        .hint("free space there; `kbmfa-server audit archive` moves old events to a file"))
}

/// The temporary copy. Its name is unique, so that it never conflicts with somebody else's file.
struct Copy(PathBuf);

impl Copy {
    fn make(state_dir: &Path) -> Result<Self, Failure> {
        let path = state_dir.join(format!(".backup-{}", random::hex::<8>().map_err(Failure::new)?));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|error| Failure::new(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
