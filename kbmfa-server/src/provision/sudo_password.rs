//! The password that sudo asks ssh-admin for on a machine: a file for each machine, in no database, log or backup.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("sudo")
}

/// The password of a machine, by its id.
///
/// # Errors
/// The file cannot be read.
pub fn read(state_dir: &Path, machine_id: &str) -> io::Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(directory(state_dir).join(machine_id)) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets the password of a machine, in one step.
///
/// # Errors
/// The file cannot be written, or the password has a line break or is empty.
pub fn set(state_dir: &Path, machine_id: &str, password: &str) -> io::Result<()> {
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a password is one line that is not empty"));
    }
    let directory = directory(state_dir);
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let new = directory.join(format!(".{machine_id}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(password.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, directory.join(machine_id))
}

/// Forgets the password of a machine.
///
/// # Errors
/// The file cannot be removed.
pub fn forget(state_dir: &Path, machine_id: &str) -> io::Result<()> {
    match fs::remove_file(directory(state_dir).join(machine_id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
