//! Writes files so that each is there as a whole or as it was before, and nothing of somebody else is
//! replaced.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use tempfile::{NamedTempFile, TempPath};

use crate::Error;
use crate::os::Os;

/// Makes a directory that only its owner can open, if it is not there.
pub(crate) fn make_dir(os: Os, dir: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    if let Some(mode) = os.directory_mode() {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode);
    }
    #[cfg(not(unix))]
    let _ = os;
    builder.create(dir).map_err(|e| Error::file(dir, e))
}

/// Writes a file anew, with the modes that it had; a new one can be read by its owner alone. If the disk is
/// full, the old file stays.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    // A linked file is replaced where it is, not the link to it.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let file = written(path, text)?;
    if let Ok(old) = fs::metadata(path) {
        fs::set_permissions(file.path(), old.permissions()).map_err(|e| Error::file(path, e))?;
    }
    file.persist(path).map_err(|e| Error::file(path, e.error))?;
    Ok(())
}

/// Writes a file that is not there yet.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), Error> {
    written(path, text)?.persist_noclobber(path).map_err(|e| Error::file(path, e.error))?;
    Ok(())
}

fn written(path: &Path, text: &str) -> Result<NamedTempFile, Error> {
    let error = |e| Error::file(path, e);
    let mut file = NamedTempFile::new_in(directory_of(path)).map_err(error)?;
    file.write_all(text.as_bytes()).map_err(error)?;
    file.as_file().sync_all().map_err(error)?;
    Ok(file)
}

/// Moves a file that is on the disk in full. One that is at the new place already stays, and is an error.
pub(crate) fn move_to(from: &Path, to: &Path) -> Result<(), Error> {
    let error = |e| Error::file(to, e);
    fs::File::open(from).and_then(|file| file.sync_all()).map_err(error)?;
    TempPath::try_from_path(from).map_err(error)?.persist_noclobber(to).map_err(|e| error(e.error))
}

/// The directory in which a file is.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The text of a small file; a longer one is cut. Neither a pipe nor a device is read.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_modes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        replace(&path, "one\n").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(), 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            replace(&link, "two\n").unwrap();
            assert_eq!(mode(), 0o644);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(read(&path, 100).unwrap(), "two\n");
        }
        assert!(create(&path, "three\n").is_err());
        assert_ne!(read(&path, 100).unwrap(), "three\n");
    }

    #[test]
    fn what_is_at_the_new_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert!(move_to(&from, &to).is_err());
        assert_eq!(read(&to, 100).unwrap(), "old");
        assert!(read(dir.path(), 100).is_err());
    }
}
