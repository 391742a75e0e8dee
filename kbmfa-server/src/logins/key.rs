//! Parses the public key that a machine reports, and computes the fingerprint that `ssh-keygen -l` prints.
//! For a certificate this is the fingerprint of the key that was signed.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use kbmfa_proto::text::SafeText;
use sha2::{Digest, Sha256};
use ssh_encoding::{Decode, Encode, Reader};
use std::fmt;

/// A parsed public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `SHA256:..`
    pub fingerprint: String,
    /// The certificate, if the key came in one.
    pub certificate: Option<Certificate>,
}

/// Fields of a certificate. sshd has checked the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Key ID.
    pub key_id: SafeText,
    /// Serial number.
    pub serial: u64,
    /// Fingerprint of the CA's key.
    pub ca: String,
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} serial {} by {}", self.key_id, self.serial, self.ca)
    }
}

/// Parses a line `algorithm base64 ..`; `None` if it is not a public key line.
pub fn read(line: &str) -> Option<Key> {
    let mut words = line.split_ascii_whitespace();
    let (algorithm, encoded) = (words.next()?, words.next()?);
    let blob = STANDARD.decode(encoded).ok()?;
    let mut rest = blob.as_slice();
    // A blob begins with its own algorithm's name (RFC 4253 section 6.6).
    if String::decode(&mut rest).ok()? != algorithm {
        return None;
    }
    match plain_algorithm(algorithm) {
        None => Some(Key { fingerprint: fingerprint(&blob), certificate: None }),
        Some((plain, fields)) => certified(&mut rest, &plain, fields).ok(),
    }
}

fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// For a certificate's algorithm: the algorithm of the key that was signed, and how many fields that key has.
fn plain_algorithm(algorithm: &str) -> Option<(String, usize)> {
    let (stem, vendor) = algorithm.split_once("-cert-v01")?;
    let fields = match stem {
        "ssh-ed25519" => 1,
        "ssh-dss" => 4,
        "sk-ecdsa-sha2-nistp256" => 3,
        // RSA, ECDSA and sk-ssh-ed25519 keys.
        _ => 2,
    };
    let vendor = if stem.starts_with("sk-") { vendor } else { "" };
    Some((format!("{stem}{vendor}"), fields))
}

/// Parses a certificate after its algorithm name (OpenSSH's PROTOCOL.certkeys).
fn certified(rest: &mut &[u8], plain: &str, fields: usize) -> ssh_encoding::Result<Key> {
    rest.drain_prefixed()?;
    let mut blob = Vec::new();
    plain.encode(&mut blob)?;
    for _ in 0..fields {
        Vec::<u8>::decode(rest)?.encode(&mut blob)?;
    }
    let serial = u64::decode(rest)?;
    let _user_or_host = u32::decode(rest)?;
    let key_id = Vec::<u8>::decode(rest)?;
    rest.drain_prefixed()?; // principals
    let _valid_after = u64::decode(rest)?;
    let _valid_before = u64::decode(rest)?;
    for _critical_options_extensions_reserved in 0..3 {
        rest.drain_prefixed()?;
    }
    let ca = fingerprint(&Vec::<u8>::decode(rest)?);
    let key_id = SafeText::new(&String::from_utf8_lossy(&key_id));
    Ok(Key { fingerprint: fingerprint(&blob), certificate: Some(Certificate { key_id, serial, ca }) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    #[expect(clippy::disallowed_methods, reason = "a test, which starts what people compare with")]
    fn run(dir: &Path, words: &[&str]) -> String {
        let output = Command::new("ssh-keygen").current_dir(dir).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn printed(dir: &Path, file: &str) -> String {
        run(dir, &["-lf", file]).split(' ').nth(1).unwrap().to_owned()
    }

    #[test]
    fn a_key_and_the_key_inside_a_certificate_are_what_ssh_keygen_prints() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        run(dir, &["-q", "-t", "ecdsa", "-N", "", "-f", "ca"]);
        let principals = vec!["p".repeat(60); 200].join(",");
        for (serial, kind) in ["ed25519", "ecdsa", "rsa"].into_iter().enumerate() {
            run(dir, &["-q", "-t", kind, "-N", "", "-f", kind]);
            let serial_word = serial.to_string();
            let id = "alice \u{202e}laptop";
            run(
                dir,
                &["-q", "-s", "ca", "-I", id, "-z", &serial_word, "-n", &principals, &format!("{kind}.pub")],
            );
            let [plain, signed] = ["", "-cert"].map(|which| {
                read(&fs::read_to_string(dir.join(format!("{kind}{which}.pub"))).unwrap()).unwrap()
            });
            assert_eq!(plain, Key { fingerprint: printed(dir, &format!("{kind}.pub")), certificate: None });
            assert_eq!(signed.fingerprint, printed(dir, &format!("{kind}-cert.pub")));
            assert_eq!(signed.fingerprint, plain.fingerprint);
            let expected = Certificate {
                key_id: "alice \\u{202e}laptop".into(),
                serial: serial as u64,
                ca: printed(dir, "ca.pub"),
            };
            assert_eq!(signed.certificate, Some(expected));
        }
    }

    #[test]
    fn the_algorithm_inside_a_certificate_is_openssh_s() {
        let check = |algorithm: &str, plain: &str, fields| {
            assert_eq!(plain_algorithm(algorithm), Some((plain.to_owned(), fields)));
        };
        check("ssh-rsa-cert-v01@openssh.com", "ssh-rsa", 2);
        check("ssh-dss-cert-v01@openssh.com", "ssh-dss", 4);
        check("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519", 1);
        check("ecdsa-sha2-nistp521-cert-v01@openssh.com", "ecdsa-sha2-nistp521", 2);
        check("sk-ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com", 2);
        check("sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com", 3);
        assert_eq!(plain_algorithm("sk-ssh-ed25519@openssh.com"), None);
    }

    #[test]
    fn what_is_no_key_is_not_read() {
        for line in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-rsa !!!",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==",
            "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t",
        ] {
            assert_eq!(read(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_upsets_it(line in "\\PC{0,200}", blob: Vec<u8>) {
            let _ = read(&line);
            let name = "ssh-ed25519-cert-v01@openssh.com";
            let blob = [&[0, 0, 0, 32], name.as_bytes(), &blob].concat();
            let _ = read(&format!("{name} {}", STANDARD.encode(blob)));
        }
    }
}
