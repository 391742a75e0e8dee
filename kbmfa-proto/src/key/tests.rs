//! Tests of the public key parser, with keys that `ssh-keygen` makes.

use super::*;
use proptest::prelude::*;
use ssh_key::public::{Ed25519PublicKey, RsaPublicKey, SkEd25519};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The bytes of a key on curve 25519.
const BYTES: [u8; 32] = [7; 32];

#[expect(clippy::disallowed_methods, reason = "a test, which starts what people compare with")]
fn run(dir: &Path, words: &[&str]) -> String {
    let output = Command::new("ssh-keygen").current_dir(dir).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn make(dir: &Path, kind: &str, bits: &str) -> String {
    let file = format!("{kind}{bits}");
    run(dir, &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "alice's laptop", "-f", &file]);
    fs::read_to_string(dir.join(format!("{file}.pub"))).unwrap()
}

fn printed(dir: &Path, line: &str) -> String {
    fs::write(dir.join("printed.pub"), line).unwrap();
    run(dir, &["-lf", "printed.pub"]).split(' ').nth(1).unwrap().to_owned()
}

fn encoded(key: KeyData) -> String {
    ssh_key::PublicKey::new(key, "").to_openssh().unwrap()
}

/// An RSA key of these numbers, which need not be a real one.
fn rsa(modulus: &[u8], exponent: &[u8]) -> String {
    let [n, e] = [modulus, exponent].map(|bytes| Mpint::from_positive_bytes(bytes).unwrap());
    encoded(KeyData::Rsa(RsaPublicKey { e, n }))
}

fn ed25519() -> String {
    encoded(KeyData::Ed25519(Ed25519PublicKey(BYTES)))
}

fn refused(text: &str) -> BadKey {
    PublicKey::parse(text).unwrap_err()
}

#[test]
fn keys_of_ssh_keygen_are_accepted_with_its_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let kinds = [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "3072")];
    for (kind, bits) in kinds {
        let text = make(dir, kind, bits);
        let key = PublicKey::parse(&text).unwrap();
        let words: Vec<&str> = text.splitn(3, ' ').collect();
        assert_eq!(key.line(), format!("{} {}", words[0], words[1]));
        assert_eq!(key.algorithm(), words[0]);
        assert_eq!(key.comment(), "alice's laptop");
        assert_eq!(key.fingerprint(), printed(dir, &text));
        let private = fs::read_to_string(dir.join(format!("{kind}{bits}"))).unwrap();
        assert_eq!(refused(&private), BadKey::PrivateKey);
    }
}

#[test]
fn keys_of_security_keys_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let sk_ed25519 = KeyData::SkEd25519(SkEd25519::new(Ed25519PublicKey(BYTES), "ssh:"));
    let ecdsa = ssh_key::PublicKey::from_openssh(&make(dir.path(), "ecdsa", "256")).unwrap();
    let ssh_key::public::EcdsaPublicKey::NistP256(point) = ecdsa.key_data().ecdsa().unwrap() else {
        panic!()
    };
    let sk_ecdsa = KeyData::SkEcdsaSha2NistP256(ssh_key::public::SkEcdsaSha2NistP256::new(*point, "ssh:"));
    for line in [sk_ed25519, sk_ecdsa].map(encoded) {
        let key = PublicKey::parse(&line).unwrap();
        assert_eq!((key.line(), key.comment()), (line.as_str(), ""));
        assert_eq!(key.fingerprint(), printed(dir.path(), &line));
    }
}

#[test]
fn an_rsa_key_is_accepted_from_3072_to_8192_bits() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(refused(&make(dir.path(), "rsa", "2048")), BadKey::RsaTooSmall(2048));
    let mut modulus = [0xff; 384];
    modulus[0] = 0x7f;
    assert_eq!(refused(&rsa(&modulus, &[1, 0, 1])), BadKey::RsaTooSmall(3071));
    modulus[0] = 0x80;
    assert!(PublicKey::parse(&rsa(&modulus, &[1, 0, 1])).is_ok());
    assert!(PublicKey::parse(&rsa(&[0xff; 1024], &[1, 0, 1])).is_ok());
    let larger = [&[1][..], &[0xff; 1024]].concat();
    assert_eq!(refused(&rsa(&larger, &[1, 0, 1])), BadKey::RsaTooLarge(8193));
}

#[test]
fn an_rsa_key_with_unsafe_numbers_is_refused() {
    let even = [0xfe; 384];
    assert_eq!(refused(&rsa(&even, &[1, 0, 1])), BadKey::RsaModulus);
    for exponent in [&[][..], &[1], &[3], &[0xff, 0xff], &[1, 0, 0], &[1, 0, 2], &[1; 9]] {
        assert_eq!(refused(&rsa(&[0xff; 384], exponent)), BadKey::RsaExponent, "{exponent:?}");
    }
}

/// 65537 to the power of 200 has 3201 bits, and like a vulnerable modulus is a power of 65537 modulo each prime.
#[test]
fn a_modulus_with_the_roca_fingerprint_is_refused() {
    let mut modulus = vec![1_u8];
    for _ in 0..200 {
        // Times 65537 is the number shifted by two bytes, plus the number.
        let (shifted, plain) = ([&modulus[..], &[0, 0]].concat(), [&[0, 0], &modulus[..]].concat());
        let mut carry = 0;
        let mut sum: Vec<u8> = (shifted.iter().zip(&plain).rev())
            .map(|(a, b)| {
                let digit = u16::from(*a) + u16::from(*b) + carry;
                carry = digit >> 8;
                digit.to_le_bytes()[0]
            })
            .collect();
        sum.extend((carry > 0).then_some(1));
        modulus = sum.into_iter().rev().collect();
    }
    assert_eq!(bits(&modulus), 3201);
    assert_eq!(refused(&rsa(&modulus, &[1, 0, 1])), BadKey::Roca);
    *modulus.last_mut().unwrap() ^= 2;
    assert!(PublicKey::parse(&rsa(&modulus, &[1, 0, 1])).is_ok());
}

#[test]
fn an_ed25519_key_for_which_everybody_can_sign_is_refused() {
    for mut point in SMALL_ORDER {
        assert_eq!(refused(&encoded(KeyData::Ed25519(Ed25519PublicKey(point)))), BadKey::SmallOrder);
        point[31] |= 0x80;
        let sk = SkEd25519::new(Ed25519PublicKey(point), "ssh:");
        assert_eq!(refused(&encoded(KeyData::SkEd25519(sk))), BadKey::SmallOrder);
    }
}

#[test]
fn a_published_key_is_refused_by_name() {
    let text = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y x";
    assert_eq!(refused(text), BadKey::Published("Vagrant's insecure Ed25519 key"));
}

#[test]
fn what_is_not_one_plain_public_key_is_refused_by_its_reason() {
    let key = ed25519();
    for text in ["", " \n", "alice", "ssh ed25519", "---- BEGIN SSH2 PUBLIC KEY ----"] {
        assert_eq!(refused(text), BadKey::NotAKey, "{text:?}");
    }
    for between in ["\n", "\r", "\0", "\t", "\u{1b}[2J", "\u{85}", "\u{2028}"] {
        assert_eq!(refused(&format!("{key} a{between}{key}")), BadKey::SeveralLines, "{between:?}");
    }
    for options in ["restrict", "command=\"id\",no-pty", "command=\"a b\"", "cert-authority"] {
        assert_eq!(refused(&format!("{options} {key}")), BadKey::Options);
    }
    assert_eq!(refused("ssh-dss AAAAB3NzaC1kc3M= old"), BadKey::Dsa);
    assert_eq!(refused("ssh-mldsa65 AAAAC3NzaC1tbGRzYTY1"), BadKey::UnknownAlgorithm);
    assert_eq!(refused("PuTTY-User-Key-File-3: ssh-ed25519"), BadKey::PrivateKey);
    assert_eq!(refused(&format!("{key} {}", "c".repeat(3000))), BadKey::TooLong(3001 + key.len()));
    let other = key.replacen("ssh-ed25519", "ssh-rsa", 1);
    for text in [&other, &key[..key.len() - 4], "ssh-ed25519", "ssh-rsa !!!", &format!("{key}AAAA")] {
        assert_eq!(refused(text), BadKey::Damaged, "{text:?}");
    }
}

#[test]
fn a_certificate_of_ssh_keygen_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    make(dir, "ed25519", "256");
    run(dir, &["-q", "-s", "ed25519256", "-I", "x", "ed25519256.pub"]);
    let text = fs::read_to_string(dir.join("ed25519256-cert.pub")).unwrap();
    assert_eq!(refused(&text), BadKey::Certificate);
}

#[test]
fn a_comment_that_is_not_plain_is_dropped() {
    let key = PublicKey::parse(&format!("{}  al\u{202e}ice \r\n", ed25519())).unwrap();
    assert_eq!((key.line(), key.comment()), (ed25519().as_str(), ""));
}

/// The line is one line of plain characters, and parses to itself.
fn check(key: &PublicKey) {
    let texts = [key.line(), key.algorithm(), key.fingerprint(), key.comment()];
    assert!(texts.iter().all(|text| text.bytes().all(|b| (b' '..=b'~').contains(&b))), "{texts:?}");
    assert_eq!(key.line().split(' ').count(), 2);
    let again = PublicKey::parse(key.line()).unwrap();
    assert_eq!((again.line(), again.fingerprint()), (key.line(), key.fingerprint()));
}

proptest! {
    #[test]
    fn a_canonical_line_comes_out_as_it_went_in(bytes: [u8; 32], comment in "[ -~]{0,80}") {
        let line = encoded(KeyData::Ed25519(Ed25519PublicKey(bytes)));
        let key = PublicKey::parse(&format!("{line} {comment}\n")).unwrap();
        prop_assert_eq!((key.line(), key.comment()), (line.as_str(), comment.trim()));
        check(&key);
    }

    #[test]
    fn no_comment_gets_a_control_character_or_a_second_line_out(comment in any::<String>()) {
        if let Ok(key) = PublicKey::parse(&format!("{} {comment}", ed25519())) {
            check(&key);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text: String, known in 0..ALGORITHMS.len(), at in 0..80_usize, with: char) {
        let mut changed: Vec<char> = ed25519().chars().collect();
        if let Some(place) = changed.get_mut(at) {
            *place = with;
        }
        let texts = [text.clone(), format!("{} {text}", ALGORITHMS[known]), changed.into_iter().collect()];
        for key in texts.iter().filter_map(|text| PublicKey::parse(text).ok()) {
            check(&key);
        }
    }

    #[test]
    fn no_numbers_make_it_panic(modulus in proptest::collection::vec(any::<u8>(), 0..600), exponent: [u8; 4]) {
        if let Ok(key) = PublicKey::parse(&rsa(&modulus, &exponent)) {
            check(&key);
        }
    }
}
