//! The one-time token: read from a file that only its owner can read, and removed after use.

use rustix::process::geteuid;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use super::cannot;
use crate::Error;

/// Longest token read, in bytes.
const BYTES_MAX: u64 = 4096;

/// A token, and its file, which is removed after use.
pub(super) struct Token {
    text: Zeroizing<String>,
    /// Its file; none for standard input or a pipe.
    pub(super) path: Option<PathBuf>,
}

impl Token {
    /// Reads it; `-` is standard input.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| cannot("read", path, &error);
        let mut text = Zeroizing::new(String::new());
        let file = if path == Path::new("-") {
            io::stdin().lock().take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
            None
        } else {
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            check(path, &metadata, geteuid().as_raw())?;
            file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
            metadata.is_file().then(|| path.to_owned())
        };
        if text.trim().is_empty() {
            return Err(Error::new(format_args!("{} holds no token", path.display())));
        }
        Ok(Self { text, path: file })
    }

    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// Removes the token's file.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.path.as_ref().map_or(Ok(()), fs::remove_file)
    }
}

/// A token that others can read is refused: anybody who reads it could join in place of this machine.
fn check(path: &Path, metadata: &Metadata, uid: u32) -> Result<(), Error> {
    let (shown, mode) = (path.display(), metadata.mode() & 0o7777);
    let what = if metadata.uid() != uid {
        format!("{shown} belongs to user {}, who can read the token", metadata.uid())
    } else if mode & 0o077 != 0 {
        format!("{shown} has mode {mode:04o}: others can read the token")
    } else {
        return Ok(());
    };
    let owner = if metadata.uid() == uid { String::new() } else { format!("chown {uid} {shown} && ") };
    Err(Error::new(what).hint(format_args!(
        "{owner}chmod 600 {shown}; if somebody may have read it, make another with `kbmfa-server machine join-token NAME`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn read(mode: u32) -> Result<Token, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), " token\n").unwrap();
        fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        Token::read(file.path())
    }

    #[test]
    fn a_token_that_others_can_read_is_refused_with_the_chmod() {
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644] {
            let error = read(mode).err().unwrap().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 600 /"), "{error}");
        }
        for mode in [0o600, 0o400] {
            assert_eq!(read(mode).ok().unwrap().text(), "token");
        }
    }

    #[test]
    fn a_token_of_another_owner_is_refused_with_the_chown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let other = metadata.uid() + 1;
        let error = check(file.path(), &metadata, other).unwrap_err().to_string();
        assert!(error.contains("belongs to user") && error.contains(&format!("chown {other} /")), "{error}");
    }

    #[test]
    fn a_used_token_is_removed_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "token").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Token::read(&path).ok().unwrap().remove().unwrap();
        assert!(!path.exists());
    }
}
