//! The fingerprint of a key that a machine reports: what `ssh-keygen -l` prints.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// `SHA256:..` of a line `algorithm base64 ..`; `None` if it is not a public key line.
pub fn fingerprint(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (algorithm, encoded) = (words.next()?, words.next()?);
    let blob = STANDARD.decode(encoded).ok()?;
    // A blob begins with its own algorithm's name, length first (RFC 4253 section 6.6).
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let inner = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (inner == algorithm.as_bytes())
        .then(|| format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_what_ssh_keygen_prints() {
        // From `ssh-keygen -t ed25519` and `ssh-keygen -lf`.
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwG6WgNbhLK6oNFPMKm2Kh9OZC4rJBqXEBbSJ1sYhYI";
        assert!(fingerprint(line).unwrap().starts_with("SHA256:"));
        assert_eq!(fingerprint(line), fingerprint(&format!("{line} a comment")));
    }

    #[test]
    fn what_is_no_key_has_no_fingerprint() {
        for line in
            ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa !!!", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA=="]
        {
            assert_eq!(fingerprint(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_upsets_it(line in "\\PC{0,200}") {
            let _ = fingerprint(&line);
        }
    }
}
