//! Access to a server: the CA list and the credential that pam.toml names. If pam.toml `claims` a name, the
//! credential is the old tool's `AUTH_TOKEN`, and each login also sends a secret of its own.
//!
//! Secrets are never printed, and are wiped from memory when they are dropped.

use kbmfa_proto::caller::Authorization;
use kbmfa_proto::client::Trust;
use kbmfa_proto::names::{MachineName, hex_id};
use std::path::Path;
use zeroize::Zeroizing;

use super::{Ca, Config, Fault};
use crate::files::{self, Kind};
use crate::random;

/// Files in which distributions keep the public CAs.
const SYSTEM_CAS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// What the module needs to call a server.
pub struct Access {
    pub trust: Trust,
    pub credential: Zeroizing<String>,
    pub claim: Option<Claim>,
}

/// The name and the secret that are sent with the `AUTH_TOKEN`.
pub struct Claim {
    name: MachineName,
    secret: Zeroizing<String>,
}

impl Access {
    /// Reads both files. The error is every fault in them.
    pub fn read(config: &Config) -> Result<Self, Vec<Fault>> {
        let claim = config.claims.as_ref().map(Claim::new).transpose();
        match (read_ca(&config.ca), read_credential(&config.credential), claim) {
            (Ok(trust), Ok(credential), Ok(claim)) => Ok(Self { trust, credential, claim }),
            (trust, credential, claim) => {
                let claim = claim.err().map(|error| Fault::new(&config.credential, error));
                Err([trust.err(), credential.err(), claim].into_iter().flatten().collect())
            }
        }
    }

    /// The credential for the request header.
    pub fn authorization(&self) -> Authorization<'_> {
        match &self.claim {
            None => Authorization::Bearer(&self.credential),
            Some(Claim { name, secret }) => {
                Authorization::AuthToken { claims: name.clone(), secret, token: &self.credential }
            }
        }
    }
}

impl Claim {
    fn new(name: &MachineName) -> Result<Self, random::NoRandomness> {
        Ok(Self { name: name.clone(), secret: hex_id(random::bytes()?).into() })
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
pub fn read_credential(path: &Path) -> Result<Zeroizing<String>, Fault> {
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
    fn with_an_auth_token_goes_the_claimed_name_and_a_secret_of_each_login() {
        let trust = || Trust::in_pin(format!("sha256:{}", "0".repeat(64)).parse().unwrap()).unwrap();
        let value = || {
            let claim = Some(Claim::new(&"web1".parse().unwrap()).unwrap());
            Access { trust: trust(), credential: "token".to_owned().into(), claim }.authorization().value()
        };
        assert!(value().starts_with("AuthToken web1:") && value().ends_with(":token"));
        assert_ne!(value(), value());
    }

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
