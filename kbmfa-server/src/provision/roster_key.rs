//! The key by which this server signs its orders to machines. It is another one than the key of its SSH logins, so who
//! has that one alone can change nothing on a machine that demands signatures. A file that is in no database, log or
//! backup.

use ssh_key::{HashAlg, LineEnding, PrivateKey};
use std::path::{Path, PathBuf};

use super::key_file::{self, Error};

/// What the signatures are for: nothing else of this server's, and no other program's, counts as an order.
pub const NAMESPACE: &str = "kbmfa-order";

/// The name of this key's holder in a machine's `signers` file.
pub const PRINCIPAL: &str = "kbmfa-roster";

/// Its file.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("roster_key")
}

/// Makes a key if there is none.
///
/// # Errors
/// [`Error`].
pub fn make(state_dir: &Path) -> Result<(), Error> {
    key_file::make(&path(state_dir), PRINCIPAL)
}

/// The line of a machine's `/etc/ssh/kbmfa/signers`, without the newline.
///
/// # Errors
/// [`Error`].
pub fn signers_line(state_dir: &Path) -> Result<String, Error> {
    RosterKey::read(state_dir)?.signers_line()
}

/// The private key.
#[derive(Debug, Clone)]
pub struct RosterKey {
    key: PrivateKey,
    path: PathBuf,
}

impl RosterKey {
    /// Reads the key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(state_dir: &Path) -> Result<Self, Error> {
        let path = path(state_dir);
        Ok(Self { key: key_file::parse(&path)?, path })
    }

    fn signers_line(&self) -> Result<String, Error> {
        let mut public = self.key.public_key().clone();
        public.set_comment("");
        let line = public.to_openssh().map_err(|cause| self.error(cause))?;
        Ok(format!("{PRINCIPAL} namespaces=\"{NAMESPACE}\" {}", line.trim_end()))
    }

    /// The signature over an order, as `ssh-keygen -Y sign` would write it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn sign(&self, order: &[u8]) -> Result<String, Error> {
        let signature = self.key.sign(NAMESPACE, HashAlg::Sha512, order);
        signature.and_then(|signature| signature.to_pem(LineEnding::LF)).map_err(|cause| self.error(cause))
    }

    fn error(&self, cause: ssh_key::Error) -> Error {
        Error::Key { path: self.path.clone(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Stdio};

    /// Whether `ssh-keygen` takes the signature for one of this server over the order.
    #[expect(clippy::disallowed_methods, reason = "a test, which starts what machines verify with")]
    fn is_accepted(dir: &Path, namespace: &str, order: &[u8], signature: &str) -> bool {
        fs::write(dir.join("signature"), signature).unwrap();
        let mut verify = Command::new("ssh-keygen");
        verify.current_dir(dir).args(["-Y", "verify", "-f", "signers", "-I", PRINCIPAL, "-n", namespace]);
        let child = verify.args(["-s", "signature"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = child.stderr(Stdio::null()).spawn().unwrap();
        // ssh-keygen may end before it has read all of a message that it rejects.
        let _ = child.stdin.take().unwrap().write_all(order);
        child.wait().unwrap().success()
    }

    fn signer() -> (tempfile::TempDir, RosterKey) {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).unwrap();
        fs::write(dir.path().join("signers"), signers_line(dir.path()).unwrap() + "\n").unwrap();
        let key = RosterKey::read(dir.path()).unwrap();
        (dir, key)
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let (dir, _) = signer();
        let line = signers_line(dir.path()).unwrap();
        make(dir.path()).unwrap();
        assert_eq!(signers_line(dir.path()).unwrap(), line);
        assert!(line.starts_with("kbmfa-roster namespaces=\"kbmfa-order\" ssh-ed25519 AAAA"), "{line}");
        assert_eq!(line.split(' ').count(), 4);
        assert_eq!(fs::metadata(path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_is_signed_ssh_keygen_accepts_for_these_bytes_and_this_purpose_alone(
            order in proptest::collection::vec(any::<u8>(), 1..5_000),
            at in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let (dir, key) = signer();
            let signature = key.sign(&order).unwrap();
            prop_assert!(is_accepted(dir.path(), NAMESPACE, &order, &signature));
            prop_assert!(!is_accepted(dir.path(), "kbmfa-enroll", &order, &signature));
            let mut edited = order.clone();
            edited[at.index(order.len())] ^= 1 << bit;
            prop_assert!(!is_accepted(dir.path(), NAMESPACE, &edited, &signature));
            let (_other_dir, other) = signer();
            prop_assert!(!is_accepted(dir.path(), NAMESPACE, &order, &other.sign(&order).unwrap()));
        }
    }
}
