//! Signatures of real `ssh-keygen`, of an agent's algorithms, and forged ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use std::path::Path;
use std::process::Command;

use super::*;

const MESSAGE: &[u8] = b"kbmfa-enroll 1 enrol\n";

#[expect(clippy::disallowed_methods, reason = "a test, which starts what people make keys with")]
fn keygen(dir: &Path, args: &[&str]) {
    let output = Command::new("ssh-keygen").current_dir(dir).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
}

/// A new key's line, and its signature over [`MESSAGE`] for the namespace "kbmfa-enroll".
fn signed(dir: &Path, kind: &str, bits: &str) -> (String, String) {
    let name = format!("{kind}{bits}");
    keygen(dir, &["-q", "-t", kind, "-b", bits, "-N", "", "-f", &name]);
    let text = format!("{name}.txt");
    std::fs::write(dir.join(&text), MESSAGE).unwrap();
    keygen(dir, &["-q", "-Y", "sign", "-n", "kbmfa-enroll", "-f", &name, &text]);
    let read = |name: String| std::fs::read_to_string(dir.join(name)).unwrap();
    (read(format!("{name}.pub")), read(format!("{text}.sig")))
}

#[test]
fn signatures_of_ssh_keygen_count_for_their_key_purpose_and_text_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (other, _) = signed(dir.path(), "ed25519", "0256");
    for (kind, bits) in
        [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "3072")]
    {
        let (line, pem) = signed(dir.path(), kind, bits);
        assert_eq!(verify(&line, "kbmfa-enroll", MESSAGE, &pem), Ok(()), "{kind} {bits}");
        assert_eq!(verify(&line, "kbmfa-enroll", b"another", &pem), Err(BadSignature::Wrong));
        assert_eq!(verify(&line, "file", MESSAGE, &pem), Err(BadSignature::OtherPurpose));
        assert_eq!(verify(&other, "kbmfa-enroll", MESSAGE, &pem), Err(BadSignature::OtherKey));
    }
}

#[test]
fn what_is_no_signature_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (line, pem) = signed(dir.path(), "ed25519", "256");
    let longer = format!("{pem}{}", "\n".repeat(SIGNATURE_MAX));
    for text in
        ["", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----", &pem[..pem.len() / 2], &longer]
    {
        assert_eq!(verify(&line, "kbmfa-enroll", MESSAGE, text), Err(BadSignature::Damaged), "{text}");
    }
}

fn string(value: &[u8]) -> Vec<u8> {
    [&u32::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

fn pem(blob: &[u8]) -> String {
    let text = STANDARD.encode(blob);
    let lines: Vec<_> = text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// A security key's line and signature, made as PROTOCOL.u2f of OpenSSH describes.
fn security_key(
    algorithm: &str,
    fields: &[u8],
    flags: u8,
    sign: impl Fn(&[u8]) -> Vec<u8>,
) -> (String, String) {
    let sha256 = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec();
    let key = [string(algorithm.as_bytes()), fields.to_vec(), string(b"ssh:")].concat();
    let signed = SshSig::signed_data("kbmfa-enroll", HashAlg::Sha512, MESSAGE).unwrap();
    let trailer = [flags, 0, 0, 0, 7];
    let signature = sign(&[sha256(b"ssh:"), trailer.to_vec(), sha256(&signed)].concat());
    let signature = [string(algorithm.as_bytes()), string(&signature), trailer.to_vec()].concat();
    let blob = [
        b"SSHSIG".to_vec(),
        vec![0, 0, 0, 1],
        string(&key),
        string(b"kbmfa-enroll"),
        string(b""),
        string(b"sha512"),
        string(&signature),
    ];
    (format!("{algorithm} {}", STANDARD.encode(&key)), pem(&blob.concat()))
}

fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap();
    let bytes = &bytes[start..];
    if bytes[0] & 0x80 == 0 { string(bytes) } else { string(&[&[0], bytes].concat()) }
}

#[test]
fn a_security_key_counts_if_somebody_touched_it() {
    let random = SystemRandom::new();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed25519 = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ecdsa = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    for (flags, expected) in
        [(1, Ok(())), (5, Ok(())), (0, Err(BadSignature::NoTouch)), (4, Err(BadSignature::NoTouch))]
    {
        let point = string(ed25519.public_key().as_ref());
        let made = security_key("sk-ssh-ed25519@openssh.com", &point, flags, |text| {
            ed25519.sign(text).as_ref().to_vec()
        });
        assert_eq!(verify(&made.0, "kbmfa-enroll", MESSAGE, &made.1), expected);
        assert!(verify(&made.0, "kbmfa-enroll", b"another", &made.1).is_err());

        let point = [string(b"nistp256"), string(ecdsa.public_key().as_ref())].concat();
        let made = security_key("sk-ecdsa-sha2-nistp256@openssh.com", &point, flags, |text| {
            let signature = ecdsa.sign(&random, text).unwrap();
            let (r, s) = signature.as_ref().split_at(32);
            [mpint(r), mpint(s)].concat()
        });
        assert_eq!(verify(&made.0, "kbmfa-enroll", MESSAGE, &made.1), expected);
        assert!(verify(&made.0, "kbmfa-enroll", b"another", &made.1).is_err());
    }
}
