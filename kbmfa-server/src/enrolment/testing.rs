//! Signs as `ssh-keygen -Y sign` does, with ed25519 keys that are always the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kbmfa_proto::enrolment::NAMESPACE;
use kbmfa_proto::key::PublicKey;
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// A key with its private half.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    /// The key of this number.
    pub(crate) fn new(number: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap())
    }

    fn blob(&self) -> Vec<u8> {
        [string(b"ssh-ed25519"), string(self.0.public_key().as_ref())].concat()
    }

    /// `algorithm base64`.
    pub(crate) fn line(&self) -> String {
        format!("ssh-ed25519 {}", STANDARD.encode(self.blob()))
    }

    pub(crate) fn key(&self) -> PublicKey {
        PublicKey::parse(&self.line()).unwrap()
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.key().fingerprint().to_owned()
    }

    /// The signature over this text, for enrolment.
    pub(crate) fn sign(&self, text: &str) -> String {
        let hash = digest::digest(&digest::SHA512, text.as_bytes());
        let about = [string(NAMESPACE.as_bytes()), string(b""), string(b"sha512")].concat();
        let signed = [b"SSHSIG".as_slice(), &about, &string(hash.as_ref())].concat();
        let signature = [string(b"ssh-ed25519"), string(self.0.sign(&signed).as_ref())].concat();
        let version = 1_u32.to_be_bytes();
        let whole =
            [b"SSHSIG".as_slice(), &version, &string(&self.blob()), &about, &string(&signature)].concat();
        let lines: Vec<String> = STANDARD
            .encode(whole)
            .as_bytes()
            .chunks(70)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
    }
}

/// A string of ssh's wire format.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}
