//! The pin: the hash of the certificate authority that a machine trusts at first contact.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a CA's public key (its `SubjectPublicKeyInfo` in DER), written `sha256:` and 64 hex digits.
///
/// `openssl x509 -in ca.pem -pubkey -noout | openssl pkey -pubin -outform der | sha256sum` prints the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pin([u8; 32]);

/// A text that is not a [`Pin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a pin: write sha256: and 64 hexadecimal digits, as `kbmfa-server init` printed it")]
pub struct BadPin;

impl Pin {
    /// The pin of a public key with this hash.
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.to_string()
    }
}

impl TryFrom<String> for Pin {
    type Error = BadPin;
    fn try_from(text: String) -> Result<Self, BadPin> {
        text.parse()
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Pin {
    type Err = BadPin;
    fn from_str(text: &str) -> Result<Self, BadPin> {
        let digits = text.strip_prefix("sha256:").ok_or(BadPin)?.as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(BadPin);
        }
        let mut hash = [0; 32];
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            let digit = |c: &u8| (*c as char).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(BadPin);
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_back_as_it_was_written() {
        let pin = Pin::from_sha256([0xa7; 32]);
        assert_eq!(pin.to_string(), format!("sha256:{}", "a7".repeat(32)));
        assert_eq!(pin.to_string().parse(), Ok(pin));
    }

    #[test]
    fn an_invalid_pin_is_refused() {
        for text in
            ["", "sha256:", "sha256:zz", "md5:00", &format!("sha256:{}", "a".repeat(63)), &"a7".repeat(32)]
        {
            assert_eq!(text.parse::<Pin>(), Err(BadPin), "{text}");
        }
    }
}
