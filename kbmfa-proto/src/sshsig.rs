//! Checks SSH signatures as `ssh-keygen -Y sign` makes them.

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, SshSig};

use crate::key::{BadKey, PublicKey};

/// Longest signature that is read, in bytes of its PEM text. One of a key of 8192 bits has about 3,300.
pub const SIGNATURE_MAX: usize = 8_192;

/// Flag of a security key: somebody touched it.
const USER_PRESENT: u8 = 1;

/// Bytes after a security key's signature: the flags, and a counter of four bytes.
const SK_TRAILER: usize = 5;

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The key itself is refused.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// More bytes than any signature needs, or no signature.
    #[error("this is not an SSH signature: make it with `ssh-keygen -Y sign`")]
    Damaged,
    /// It was made by another key.
    #[error("the signature was made by another key")]
    OtherKey,
    /// It was made for something else.
    #[error("the signature was made for another purpose")]
    OtherPurpose,
    /// A security key signed, but nobody touched it.
    #[error(
        "the security key signed without a touch: sign again, with a key that was made without no-touch-required"
    )]
    NoTouch,
    /// It does not fit the text.
    #[error("the signature does not fit")]
    Wrong,
}

/// Whether the key of this line (`algorithm base64`) made the signature (PEM) over the message for the namespace.
pub fn verify(line: &str, namespace: &str, message: &[u8], pem: &str) -> Result<(), BadSignature> {
    let key = PublicKey::parse(line)?;
    let key = ssh_key::PublicKey::from_openssh(key.line()).map_err(|_| BadKey::Damaged)?;
    if pem.len() > SIGNATURE_MAX {
        return Err(BadSignature::Damaged);
    }
    let signature = SshSig::from_pem(pem).map_err(|_| BadSignature::Damaged)?;
    if signature.version() != SshSig::VERSION || !signature.reserved().is_empty() {
        return Err(BadSignature::Damaged);
    }
    if signature.public_key() != key.key_data() {
        return Err(BadSignature::OtherKey);
    }
    if signature.namespace() != namespace {
        return Err(BadSignature::OtherPurpose);
    }
    check_touch(&signature)?;
    if let KeyData::Rsa(rsa) = key.key_data() {
        let signed =
            SshSig::signed_data(namespace, signature.hash_alg(), message).map_err(|_| BadSignature::Wrong)?;
        return check_rsa(rsa, &signed, &signature);
    }
    key.verify(namespace, message, &signature).map_err(|_| BadSignature::Wrong)
}

fn check_touch(signature: &SshSig) -> Result<(), BadSignature> {
    let security_key =
        matches!(signature.public_key(), KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_));
    if !security_key {
        return Ok(());
    }
    match signature.signature_bytes().rchunks(SK_TRAILER).next().and_then(<[u8]>::first) {
        Some(flags) if flags & USER_PRESENT != 0 => Ok(()),
        _ => Err(BadSignature::NoTouch),
    }
}

/// RSA by ring, because the crate for it that ssh-key would use has a timing fault. SHA-1 is not accepted.
fn check_rsa(
    key: &ssh_key::public::RsaPublicKey,
    signed: &[u8],
    signature: &SshSig,
) -> Result<(), BadSignature> {
    let parameters = match signature.algorithm() {
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) } => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) } => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(BadSignature::Wrong),
    };
    let (Some(n), Some(e)) = (key.n.as_positive_bytes(), key.e.as_positive_bytes()) else {
        return Err(BadSignature::Wrong);
    };
    let key = RsaPublicKeyComponents { n, e };
    key.verify(parameters, signed, signature.signature_bytes()).map_err(|_| BadSignature::Wrong)
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;
