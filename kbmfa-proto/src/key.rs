//! The public ssh keys that people may enrol: parses one line, refuses weak or dangerous ones, writes it anew.
//!
//! The text that was sent is never stored: `ssh_key` accepts line breaks in a comment, which would add a line of
//! the sender's choice to an `authorized_keys` file.

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, Mpint};
use thiserror::Error;

/// Longest line, in bytes. An RSA key of 8192 bits takes about 1400 without a comment.
const MAX_BYTES: usize = 3000;

/// Smallest and largest RSA modulus, in bits. sshd accepts up to 16384, but ring, which checks the signatures of people's
/// keys, up to 8192.
const RSA_BITS: (usize, usize) = (3072, 8192);

/// RSA's usual public exponent, and the smallest that we accept.
const RSA_EXPONENT: u64 = 65537;

/// Algorithms that we accept.
const ALGORITHMS: &[&str] = &[
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// Keys whose private half is published, by fingerprint.
const PUBLISHED: &[(&str, &str)] = &[
    ("SHA256:1M4RzhMyWuFS/86uPY/ce2prh/dVTHW7iD2RhpquOZA", "Vagrant's insecure RSA key"),
    ("SHA256:WkvqjnyPAeC0cbPErYiGP9vqHdgL1MqqvPdIe3lvHgI", "Vagrant's insecure Ed25519 key"),
];

/// A public key that may be enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    line: String,
    algorithm: &'static str,
    fingerprint: String,
    comment: String,
}

/// Why a text is refused as a public key. Each text is meant for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadKey {
    /// Nothing, or something else.
    #[error(
        "this is not an ssh public key; send the one line of your .pub file, such as ~/.ssh/id_ed25519.pub"
    )]
    NotAKey,
    /// The line has the form of a key, but its data cannot be decoded or is of another algorithm.
    #[error("the key is incomplete or damaged; copy the whole line of your .pub file again")]
    Damaged,
    /// More than one line, or a control character.
    #[error("the key has several lines or control characters; send exactly one line, and one key at a time")]
    SeveralLines,
    /// Options of an `authorized_keys` file.
    #[error("there are options before the key; remove them, so that the line begins with the algorithm")]
    Options,
    /// An OpenSSH certificate.
    #[error(
        "this is a certificate; send the public key itself, from the .pub file without \"-cert\" in its name"
    )]
    Certificate,
    /// DSA, which OpenSSH has removed.
    #[error("DSA keys are too weak; make a new key with: ssh-keygen -t ed25519")]
    Dsa,
    /// An algorithm that is not on our list.
    #[error("this kind of key is not supported; make a new key with: ssh-keygen -t ed25519")]
    UnknownAlgorithm,
    /// A private key.
    #[error(
        "this is a PRIVATE key, which must never leave your device: consider it stolen, make a new key with \
         ssh-keygen -t ed25519, and send only the line of its .pub file"
    )]
    PrivateKey,
    /// Longer than 3000 bytes.
    #[error(
        "the key is {0} bytes long, but at most {MAX_BYTES} are accepted; shorten its comment or send a smaller key"
    )]
    TooLong(usize),
    /// RSA below 3072 bits.
    #[error("the RSA key has {0} bits, but needs at least {min}; make a new key with: ssh-keygen -t ed25519", min = RSA_BITS.0)]
    RsaTooSmall(usize),
    /// RSA above 8192 bits.
    #[error("the RSA key has {0} bits, but at most {max} are accepted; make a new key with: ssh-keygen -t ed25519", max = RSA_BITS.1)]
    RsaTooLarge(usize),
    /// An even modulus.
    #[error(
        "the RSA key is invalid, because its modulus is even; make a new key with: ssh-keygen -t ed25519"
    )]
    RsaModulus,
    /// An exponent that is even, below 65537, or above 64 bits, which OpenSSL refuses.
    #[error(
        "the RSA key has an unsafe public exponent (it must be odd, at least {RSA_EXPONENT}, and fit 64 bits); \
         make a new key with: ssh-keygen -t ed25519"
    )]
    RsaExponent,
    /// Made by an Infineon chip, whose keys can be factored (CVE-2017-15361).
    #[error(
        "the RSA key was made by a faulty security chip and can be broken (ROCA, CVE-2017-15361); \
         make a new key outside of the chip with: ssh-keygen -t ed25519"
    )]
    Roca,
    /// An Ed25519 point of small order, which has no private half.
    #[error("everybody can sign for this Ed25519 key; make a new key with: ssh-keygen -t ed25519")]
    SmallOrder,
    /// The private half is known to everybody.
    #[error("everybody has the private half of this key ({0}); make a new key with: ssh-keygen -t ed25519")]
    Published(&'static str),
}

impl PublicKey {
    /// Parses a line `algorithm base64 [comment]`; line breaks and blanks around it do not matter.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let text = text.trim_matches([' ', '\n', '\r']);
        if is_private(text) {
            return Err(BadKey::PrivateKey);
        }
        if text.len() > MAX_BYTES {
            return Err(BadKey::TooLong(text.len()));
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(BadKey::SeveralLines);
        }
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let algorithm = accepted(first, rest)?;
        let (encoded, comment) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
        let key = ssh_key::PublicKey::from_openssh(&format!("{algorithm} {encoded}"))
            .map_err(|_| BadKey::Damaged)?;
        let line = key.to_openssh().map_err(|_| BadKey::Damaged)?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        if let Some((_, name)) = PUBLISHED.iter().find(|(published, _)| *published == fingerprint) {
            return Err(BadKey::Published(name));
        }
        check_numbers(key.key_data())?;
        let comment = comment.trim();
        let plain = comment.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        let comment = if plain { comment.to_owned() } else { String::new() };
        Ok(Self { line, algorithm, fingerprint, comment })
    }

    /// `algorithm base64`, encoded by us, without a comment.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The name of the algorithm, such as `ssh-ed25519`.
    pub fn algorithm(&self) -> &str {
        self.algorithm
    }

    /// `SHA256:..`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The comment of the text that was parsed; empty unless it is printable ASCII.
    pub fn comment(&self) -> &str {
        &self.comment
    }
}

/// Private keys in the formats of OpenSSH, OpenSSL (PEM) and `PuTTY`.
fn is_private(text: &str) -> bool {
    text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File-")
}

/// The algorithm that the line names, or why it is not accepted.
fn accepted(first: &str, rest: &str) -> Result<&'static str, BadKey> {
    if let Some(algorithm) = ALGORITHMS.iter().find(|known| **known == first) {
        return Ok(algorithm);
    }
    if is_certificate(first) {
        return Err(BadKey::Certificate);
    }
    if first == "ssh-dss" {
        return Err(BadKey::Dsa);
    }
    if rest.split(' ').any(|word| ALGORITHMS.contains(&word) || is_certificate(word) || word == "ssh-dss") {
        return Err(BadKey::Options);
    }
    // Every blob begins with the four bytes of a short length, of which three are zero: `AAAA` in base64.
    let blob_follows = rest.trim_start().starts_with("AAAA");
    Err(if blob_follows { BadKey::UnknownAlgorithm } else { BadKey::NotAKey })
}

fn is_certificate(word: &str) -> bool {
    word.ends_with("-cert-v01@openssh.com") || word.ends_with("-cert-v00@openssh.com")
}

/// Checks what the key consists of, apart from its encoding.
fn check_numbers(key: &KeyData) -> Result<(), BadKey> {
    match key {
        KeyData::Rsa(rsa) => check_rsa(&rsa.n, &rsa.e),
        KeyData::Ed25519(key) => check_ed25519(&key.0),
        KeyData::SkEd25519(key) => check_ed25519(&key.public_key().0),
        // OpenSSH refuses compressed points; an uncompressed one begins with 4 (SEC 1, section 2.3.3).
        KeyData::Ecdsa(key) => check_point(key.as_sec1_bytes()),
        KeyData::SkEcdsaSha2NistP256(key) => check_point(key.ec_point().as_bytes()),
        _ => Ok(()),
    }
}

/// Points of small order, without the sign bit: everybody can sign for them.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Whether nobody can sign for the key without its private half.
fn check_ed25519(key: &[u8; 32]) -> Result<(), BadKey> {
    let mut point = *key;
    if let Some(last) = point.last_mut() {
        *last &= 0x7f;
    }
    if SMALL_ORDER.contains(&point) { Err(BadKey::SmallOrder) } else { Ok(()) }
}

fn check_point(point: &[u8]) -> Result<(), BadKey> {
    if point.first() == Some(&4) { Ok(()) } else { Err(BadKey::Damaged) }
}

fn check_rsa(modulus: &Mpint, exponent: &Mpint) -> Result<(), BadKey> {
    // Without the leading zero byte, which would count as eight bits more.
    let modulus = modulus.as_positive_bytes().ok_or(BadKey::RsaModulus)?;
    let exponent = exponent.as_positive_bytes().ok_or(BadKey::RsaExponent)?;
    let bits = bits(modulus);
    if bits < RSA_BITS.0 {
        return Err(BadKey::RsaTooSmall(bits));
    }
    if bits > RSA_BITS.1 {
        return Err(BadKey::RsaTooLarge(bits));
    }
    if !is_odd(modulus) {
        return Err(BadKey::RsaModulus);
    }
    let fits = exponent.len() <= 8;
    if !fits || !is_odd(exponent) || exponent.iter().fold(0, |e, b| e << 8 | u64::from(*b)) < RSA_EXPONENT {
        return Err(BadKey::RsaExponent);
    }
    if has_roca_fingerprint(modulus) { Err(BadKey::Roca) } else { Ok(()) }
}

/// The number of bits of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros() as usize);
    number.len() * 8 - unused
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

/// Whether a modulus is of the form that Infineon's `RSALib` makes (CVE-2017-15361).
///
/// Its primes are `k * M + (65537^a mod M)`, with M the product of the first 39 or more primes. So modulo each of
/// these, the modulus is a power of 65537. Source: Nemec, Sys, Svenda, Klinec, Matyas, "The Return of
/// Coppersmith's Attack", CCS 2017, section 2.3.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    let is_prime = |n: &u32| (2..*n).all(|divisor| !n.is_multiple_of(divisor));
    // 167 is the 39th prime; M is even, but every modulus is odd.
    (3..=167).filter(is_prime).all(|prime| {
        let remainder = modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime);
        is_power_of_65537(remainder, prime)
    })
}

fn is_power_of_65537(remainder: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 1..prime {
        if power == remainder {
            return true;
        }
        power = power * (65537 % prime) % prime;
    }
    false
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;
