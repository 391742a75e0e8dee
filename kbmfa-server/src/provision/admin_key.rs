//! The server's own SSH key, by which it gets into machines: a file that is in no database, log or backup.

use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::{LineEnding, PrivateKey};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use crate::random::{self, NoRandomness};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file is no private key.
    #[error("{}: {cause}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: ssh_key::Error,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Its file.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("ssh_admin_key")
}

/// Makes a key if there is none.
///
/// # Errors
/// [`Error`].
pub fn make(state_dir: &Path) -> Result<(), Error> {
    let path = path(state_dir);
    let file = |cause| Error::File { path: path.clone(), cause };
    if path.try_exists().map_err(file)? {
        return Ok(());
    }
    let seed = Zeroizing::new(random::bytes::<32>()?);
    let pair = Ed25519Keypair::from(Ed25519PrivateKey::from_bytes(&seed));
    let key = |cause| Error::Key { path: path.clone(), cause };
    let private = PrivateKey::new(KeypairData::from(pair), "kbmfa-server").map_err(key)?;
    let text = private.to_openssh(LineEnding::LF).map_err(key)?;
    // A crash must not leave half a key, and of two servers that start at once one makes it.
    let new = state_dir.join(format!(".ssh_admin_key.{}", random::hex::<8>()?));
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&new).and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        opened.sync_all()?;
        fs::hard_link(&new, &path).or_else(|cause| if path.exists() { Ok(()) } else { Err(cause) })
    });
    let removed = fs::remove_file(&new);
    made.and(removed).map_err(file)
}

/// Reads the private key, in OpenSSH's form.
///
/// # Errors
/// [`Error`].
pub fn read(state_dir: &Path) -> Result<Zeroizing<String>, Error> {
    let path = path(state_dir);
    fs::read_to_string(&path).map(Zeroizing::new).map_err(|cause| Error::File { path, cause })
}

/// The line of the public key, as a machine's `authorized_keys` needs it: for commands alone.
///
/// # Errors
/// [`Error`].
pub fn public_line(state_dir: &Path) -> Result<String, Error> {
    let key = |cause| Error::Key { path: path(state_dir), cause };
    let private = PrivateKey::from_openssh(read(state_dir)?.as_str()).map_err(key)?;
    Ok(format!("restrict {}", private.public_key().to_openssh().map_err(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).unwrap();
        let line = public_line(dir.path()).unwrap();
        assert!(line.starts_with("restrict ssh-ed25519 AAAA") && line.ends_with(" kbmfa-server"), "{line}");
        make(dir.path()).unwrap();
        assert_eq!(public_line(dir.path()).unwrap(), line);
        assert_eq!(fs::metadata(path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
