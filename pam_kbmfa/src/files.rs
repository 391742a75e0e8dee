//! Reads the files that decide who may log in. Refuses a file that others could have written. All checks use
//! the open file, so that it cannot be swapped between check and use.

use kbmfa_proto::file_rules::{self, Distrust, Readers};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

use crate::sys;

/// Largest file of our own, in bytes.
pub const BYTES_MAX: u64 = 64 * 1024;

/// Largest list of the system's CAs, in bytes.
const SYSTEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The requirements of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anybody may read it.
    Public,
    /// Only its owner may.
    Secret,
    /// A system file: it may be a symbolic link, and may be larger.
    System,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is a symbolic link")]
    Link,
    #[error("{0}")]
    Distrust(#[from] Distrust),
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("it is not UTF-8")]
    NotText,
}

/// Reads the whole file as text. The buffer is always wiped when it is dropped.
pub fn read(path: &Path, kind: Kind) -> Result<Zeroizing<String>, Error> {
    read_open(open(path, kind)?, kind)
}

/// [`read`] for an open file.
pub fn read_open(file: File, kind: Kind) -> Result<Zeroizing<String>, Error> {
    let size_max = if kind == Kind::System { SYSTEM_BYTES_MAX } else { BYTES_MAX };
    let metadata = file.metadata()?;
    let readers = if kind == Kind::Secret { Readers::Owner } else { Readers::All };
    file_rules::check(&metadata, readers, sys::effective_uid())?;
    if metadata.len() > size_max {
        return Err(Error::TooLarge(size_max));
    }
    // The whole buffer is allocated at once, because a growing buffer would leave copies of a secret in the
    // heap.
    let room = usize::try_from(metadata.len() + 1).map_err(|_| Error::TooLarge(size_max))?;
    let mut text = Zeroizing::new(String::with_capacity(room));
    match file.take(metadata.len()).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::NotText),
        Err(error) => Err(error.into()),
    }
}

fn open(path: &Path, kind: Kind) -> Result<File, Error> {
    // Without O_NONBLOCK, opening a named pipe would block until somebody writes to it.
    let follow = if kind == Kind::System { 0 } else { libc::O_NOFOLLOW };
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | follow).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => Error::Link,
        _ => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn file(mode: u32, text: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_in_order_is_read_whole() {
        let (_dir, path) = file(0o644, b"text");
        assert_eq!(read(&path, Kind::Public).unwrap().as_str(), "text");
        let (_dir, path) = file(0o600, &vec![b'x'; 64 * 1024]);
        assert_eq!(read(&path, Kind::Secret).unwrap().len(), 64 * 1024);
    }

    #[test]
    fn a_file_that_others_may_touch_is_not_read() {
        for mode in [0o664, 0o646, 0o666] {
            let (_dir, path) = file(mode, b"text");
            assert!(
                matches!(read(&path, Kind::Public), Err(Error::Distrust(Distrust::Writable(_)))),
                "{mode:o}"
            );
        }
        for mode in [0o640, 0o604, 0o644] {
            let (_dir, path) = file(mode, b"text");
            assert!(
                matches!(read(&path, Kind::Secret), Err(Error::Distrust(Distrust::Readable(..)))),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn only_regular_files_of_limited_size_are_read() {
        let (dir, path) = file(0o600, b"text");
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link, Kind::Public), Err(Error::Link)));
        assert!(read(&link, Kind::System).is_ok());
        assert!(matches!(read(dir.path(), Kind::Public), Err(Error::Distrust(Distrust::NotAFile))));
        assert!(matches!(read(&dir.path().join("none"), Kind::Public), Err(Error::Io(_))));
        let (_dir, path) = file(0o600, &vec![b'x'; 64 * 1024 + 1]);
        assert!(matches!(read(&path, Kind::Public), Err(Error::TooLarge(_))));
        let (_dir, path) = file(0o600, b"\xff");
        assert!(matches!(read(&path, Kind::Public), Err(Error::NotText)));
    }
}
