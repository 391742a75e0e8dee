//! Checks the signatures of a request. Pure, and costly compared with everything else: outside transactions.

use kbmfa_proto::enrolment::{
    DEVICE_MAX, Enrol, KEY_LINE_MAX, NAMESPACE, Request, Signed, enrol_text, possession_text, request_text,
};
use kbmfa_proto::key::{BadKey, PublicKey};
use kbmfa_proto::sshsig::{BadSignature, verify};
use kbmfa_proto::text::SafeText;

use super::Error;

/// A key whose possession was proved, and the computer that has it.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The key.
    pub key: PublicKey,
    /// The computer, as its owner calls it.
    pub device: SafeText,
}

/// The key of a request to enrol, if it signed the request.
///
/// # Errors
/// [`Error::Key`], [`Error::Signature`], [`Error::Device`].
pub fn of_enrol(enrol: &Enrol) -> Result<Proven, Error> {
    let proven = Proven { key: key(&enrol.key)?, device: device(&enrol.device)? };
    let text = enrol_text(enrol, proven.key.fingerprint());
    verify(proven.key.line(), NAMESPACE, text.as_bytes(), &enrol.signature)?;
    Ok(proven)
}

/// Whether the enrolled key with this line signed the request.
///
/// # Errors
/// [`BadSignature`].
pub fn of_signer(signed: &Signed, line: &str) -> Result<(), BadSignature> {
    verify(line, NAMESPACE, request_text(signed).as_bytes(), &signed.signature)
}

/// What an enrolled person asks for, checked.
#[derive(Debug, Clone)]
pub enum Asked {
    /// Show everything.
    Status,
    /// Enrol another key.
    Add {
        /// The key.
        new: Proven,
        /// Fingerprint of the key that it replaces.
        replaces: Option<String>,
    },
    /// Revoke a key.
    Revoke {
        /// Its fingerprint.
        fingerprint: String,
        /// Somebody else may have it.
        lost: bool,
    },
}

/// The request of a signed message, of which a new key has signed its part.
///
/// # Errors
/// [`Error::Key`], [`Error::Signature`], [`Error::Device`].
pub fn asked(signed: &Signed, request: Request) -> Result<Asked, Error> {
    Ok(match request {
        Request::Status => Asked::Status,
        Request::Revoke { fingerprint, lost } => Asked::Revoke { fingerprint, lost },
        Request::Add { key: line, device: name, replaces, proof } => {
            let new = Proven { key: key(&line)?, device: device(&name)? };
            let text = possession_text(&signed.server, &signed.nonce, &signed.key, new.key.fingerprint());
            verify(new.key.line(), NAMESPACE, text.as_bytes(), &proof)?;
            Asked::Add { new, replaces }
        }
    })
}

/// The fingerprint of a public key line, if it is a key that is accepted.
pub fn fingerprint(line: &str) -> Option<String> {
    key(line).ok().map(|key| key.fingerprint().to_owned())
}

fn key(line: &str) -> Result<PublicKey, BadKey> {
    if line.len() > KEY_LINE_MAX { Err(BadKey::Damaged) } else { PublicKey::parse(line) }
}

fn device(name: &SafeText) -> Result<SafeText, Error> {
    let length = name.as_str().chars().count();
    let is_blank = name.as_str().trim().is_empty();
    if is_blank || length > DEVICE_MAX { Err(Error::Device) } else { Ok(name.clone()) }
}
