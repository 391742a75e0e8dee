//! What a server is called with: the CA list and the credential that pam.toml points to.
//!
//! The credential is wiped from memory when it is dropped, and is never shown.

use kbmfa_proto::client::Trust;
use std::path::Path;
use zeroize::Zeroizing;

use super::{Ca, Config, Fault};
use crate::files::{self, Kind};

/// Where distributions keep the list of public CAs.
const SYSTEM_CAS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// What a server is called with.
pub(crate) struct Access {
    pub(crate) trust: Trust,
    pub(crate) credential: Zeroizing<String>,
}

impl Access {
    /// Reads both files; the error is every fault in them.
    pub(crate) fn read(config: &Config) -> Result<Self, Vec<Fault>> {
        match (read_ca(&config.ca), read_credential(&config.credential)) {
            (Ok(trust), Ok(credential)) => Ok(Self { trust, credential }),
            (trust, credential) => Err([trust.err(), credential.err()].into_iter().flatten().collect()),
        }
    }
}

fn read_ca(ca: &Ca) -> Result<Trust, Fault> {
    let (path, kind) = match ca {
        Ca::File(path) => (path.as_path(), Kind::Public),
        Ca::System => (system_cas(), Kind::System),
    };
    let pem = files::read(path, kind).map_err(|error| Fault::new(path, error))?;
    Trust::in_cas(pem.as_bytes()).map_err(|error| Fault::new(path, error))
}

fn system_cas() -> &'static Path {
    let [debian, fedora] = SYSTEM_CAS.map(Path::new);
    if debian.exists() { debian } else { fedora }
}

/// Reads a credential: one line of visible characters.
pub(crate) fn read_credential(path: &Path) -> Result<Zeroizing<String>, Fault> {
    let text = files::read(path, Kind::Secret).map_err(|error| Fault::new(path, error))?;
    let credential = text.trim();
    if credential.is_empty() || !credential.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::new(path, "it holds no credential; run `kbmfa-host join`"));
    }
    Ok(Zeroizing::new(credential.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_credential_is_one_visible_word_in_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credential");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            read_credential(&path).map(|credential| credential.to_string()).ok()
        };
        assert_eq!(read("kbmfa_00ff\n"), Some("kbmfa_00ff".into()));
        for text in ["", "\n", "two words", "two\nlines", "gr\u{fc}n"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
