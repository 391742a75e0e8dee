//! The server's own SSH key, by which it gets into machines: a file that is in no database, log or backup.

use ssh_key::{HashAlg, PrivateKey};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use super::key_file::{self, Error};

/// Its file.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("ssh_admin_key")
}

/// Makes a key if there is none.
///
/// # Errors
/// [`Error`].
pub fn make(state_dir: &Path) -> Result<(), Error> {
    key_file::make(&path(state_dir), "kbmfa-server")
}

/// Reads the private key, in OpenSSH's form.
///
/// # Errors
/// [`Error`].
pub fn read(state_dir: &Path) -> Result<Zeroizing<String>, Error> {
    key_file::read(&path(state_dir))
}

/// The line of the public key, as a machine's `authorized_keys` needs it: for commands alone.
///
/// # Errors
/// [`Error`].
pub fn public_line(state_dir: &Path) -> Result<String, Error> {
    let path = path(state_dir);
    let line = key_file::parse(&path)?.public_key().to_openssh();
    Ok(format!("restrict {}", line.map_err(|cause| Error::Key { path, cause })?))
}

/// The fingerprint of a private key in OpenSSH's form, as machines report it: `SHA256:..`.
///
/// # Errors
/// It is no private key.
pub fn fingerprint(private: &Zeroizing<String>) -> Result<String, ssh_key::Error> {
    Ok(PrivateKey::from_openssh(private.as_str())?.fingerprint(HashAlg::Sha256).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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
