//! Private keys of this server in its state directory: ed25519, one file each, in no database, log or backup.

use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::{HashAlg, LineEnding, PrivateKey};
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
    /// The file is no private key, or cannot sign.
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

/// Makes a key if there is none. The comment is in its public line, too.
///
/// # Errors
/// [`Error`].
pub(super) fn make(path: &Path, comment: &str) -> Result<(), Error> {
    let file = |cause| Error::File { path: path.to_owned(), cause };
    if path.try_exists().map_err(file)? {
        return Ok(());
    }
    let seed = Zeroizing::new(random::bytes::<32>()?);
    let pair = Ed25519Keypair::from(Ed25519PrivateKey::from_bytes(&seed));
    let key = |cause| Error::Key { path: path.to_owned(), cause };
    let private = PrivateKey::new(KeypairData::from(pair), comment).map_err(key)?;
    let text = private.to_openssh(LineEnding::LF).map_err(key)?;
    // A crash must not leave half a key, and of two servers that start at once one makes it.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", random::hex::<8>()?));
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&new).and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        opened.sync_all()?;
        fs::hard_link(&new, path).or_else(|cause| if path.exists() { Ok(()) } else { Err(cause) })
    });
    let removed = fs::remove_file(&new);
    made.and(removed).map_err(file)
}

/// Reads a private key, in OpenSSH's form.
///
/// # Errors
/// [`Error`].
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    let cause = |cause| Error::File { path: path.to_owned(), cause };
    fs::read_to_string(path).map(Zeroizing::new).map_err(cause)
}

/// Reads and parses a private key.
///
/// # Errors
/// [`Error`].
pub(super) fn parse(path: &Path) -> Result<PrivateKey, Error> {
    let key = |cause| Error::Key { path: path.to_owned(), cause };
    PrivateKey::from_openssh(read(path)?.as_str()).map_err(key)
}

/// The fingerprint of the key in a file, as `ssh-keygen -l` prints it.
///
/// # Errors
/// [`Error`].
pub(super) fn fingerprint(path: &Path) -> Result<String, Error> {
    Ok(parse(path)?.fingerprint(HashAlg::Sha256).to_string())
}
