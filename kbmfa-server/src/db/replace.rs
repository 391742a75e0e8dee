//! Replaces the database file by another one. No server may run meanwhile.

use rusqlite::Connection;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;

/// Merges the write-ahead log into the database file. This fails while another process has the database open,
/// so it also proves that none has.
///
/// # Errors
/// [`Error::InUse`].
pub fn checkpoint_wal(path: &Path) -> Result<(), Error> {
    let in_use = || Error::InUse(path.display().to_string());
    let connection = Connection::open(path)?;
    let switched: Result<String, _> =
        connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0));
    match switched {
        Ok(mode) if mode == "delete" => Ok(()),
        Ok(_) => Err(in_use()),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Err(in_use()),
        Err(error) => Err(error.into()),
    }
}

/// A database file without a WAL, open for reading.
pub struct Source {
    path: PathBuf,
    file: File,
}

/// Opens a database file without a WAL, with the current rights of the process.
///
/// # Errors
/// [`Error::InUse`] if there is a write-ahead log beside it. A copy of the file would lack its contents.
pub fn open(from: &Path) -> Result<Source, Error> {
    let log = from.with_file_name(format!("{}-wal", from.file_name().unwrap_or_default().display()));
    if fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        return Err(Error::InUse(from.display().to_string()));
    }
    let file = File::open(from).map_err(at(from))?;
    Ok(Source { path: from.to_owned(), file })
}

/// Copies it to a new file, which only its owner can read.
///
/// # Errors
/// [`Error::File`].
pub fn copy(from: &Source, to: &Path) -> Result<(), Error> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut made = made.map_err(at(to))?;
    io::copy(&mut &from.file, &mut made).and_then(|_| made.sync_all()).map_err(at(&from.path))
}

/// Replaces `current` by `new` in one step. Keeps the old file, if there is one, as `kept`. Both files must
/// be without a write-ahead log, and in one file system.
///
/// # Errors
/// [`Error::File`].
pub fn swap(current: &Path, new: &Path, kept: &Path) -> Result<(), Error> {
    match fs::hard_link(current, kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(kept)(error)),
        _ => {}
    }
    let renamed = fs::rename(new, current);
    let dir = current.parent().unwrap_or(Path::new("/"));
    renamed.and_then(|()| File::open(dir)?.sync_all()).map_err(at(current))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |cause| Error::File { path, cause: Arc::new(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, FILE, testing};

    #[test]
    fn a_database_that_somebody_has_open_is_not_checkpointed() {
        let fixture = testing::sqlite_fixture();
        let path = fixture.dir.path().join(FILE);
        assert!(matches!(checkpoint_wal(&path), Err(Error::InUse(_))));
        fixture.db.close();
        checkpoint_wal(&path).unwrap();
        assert!(!fixture.dir.path().join("kbmfa.db-wal").exists());
    }

    #[test]
    fn a_swap_keeps_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let (current, new, kept) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        for (text, kept_text) in [("first", None), ("second", Some("first"))] {
            fs::write(&new, text).unwrap();
            swap(&current, &new, &kept).unwrap();
            assert_eq!(fs::read_to_string(&current).unwrap(), text);
            assert_eq!(fs::read_to_string(&kept).ok().as_deref(), kept_text);
        }
        fs::write(&new, "third").unwrap();
        assert!(swap(&current, &new, &kept).is_err(), "what was kept before is not replaced");
    }

    #[test]
    fn a_copy_that_would_lack_its_log_is_not_made() {
        let fixture = testing::sqlite_fixture();
        fixture.db.write_blocking("row", |tx| crate::db::meta::set(tx, "x", "y")).unwrap();
        let to = fixture.dir.path().join("copy");
        assert!(matches!(open(&fixture.dir.path().join(FILE)), Err(Error::InUse(_))));
        let backup = fixture.dir.path().join("backup");
        fixture.db.backup(&backup, |_| Ok(())).unwrap();
        copy(&open(&backup).unwrap(), &to).unwrap();
        drop(Db::open(fixture.dir.path()).unwrap());
    }
}
