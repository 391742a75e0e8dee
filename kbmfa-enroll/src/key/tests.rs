//! Tests with keys of real `ssh-keygen`.

use super::*;
use crate::fake::{computer, ssh_keygen};

fn made(dir: &Path, name: &str) -> Held {
    make(Os::here(), &dir.join(name), name, false).unwrap()
}

#[test]
fn a_new_key_has_strict_modes_and_never_replaces_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let ssh = computer(dir.path()).ssh_dir();
    let private = ssh.join("id");
    let held = made(&ssh, "id");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&ssh), mode(&private)), (0o700, 0o600));
    }
    let before = fs::read(&private).unwrap();
    assert!(make(Os::here(), &private, "other", false).is_err());
    assert_eq!(fs::read(&private).unwrap(), before);
    fs::remove_file(&private).unwrap();
    assert!(make(Os::here(), &private, "other", false).is_err(), "the public half is in the way");
    assert!(!private.exists());
    let found = find(&computer(dir.path()), &[]).unwrap();
    assert_eq!(found.usable.iter().map(Candidate::key).collect::<Vec<_>>(), [&held.key]);
    assert_eq!(fs::read_dir(&ssh).unwrap().count(), 1, "no scratch directory stays");
}

#[test]
fn a_path_for_a_new_key_is_one_where_nothing_is() {
    let dir = tempfile::tempdir().unwrap();
    let computer = computer(dir.path());
    let free = || free_path(&computer).file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(free(), "id_ed25519_kbmfa");
    made(&computer.ssh_dir(), "id_ed25519_kbmfa");
    assert_eq!(free(), "id_ed25519_kbmfa_2");
    fs::write(computer.ssh_dir().join("id_ed25519_kbmfa_2.pub"), "").unwrap();
    assert_eq!(free(), "id_ed25519_kbmfa_3");
}

#[test]
fn a_fingerprint_reads_as_ssh_keygen_prints_it() {
    let dir = tempfile::tempdir().unwrap();
    let held = made(dir.path(), "id");
    let listed = ssh_keygen(&["-lf", held.file.to_str().unwrap()]);
    assert_eq!(listed.split(' ').nth(1), Some(held.key.fingerprint()));
}

#[test]
fn a_private_key_without_its_public_half_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let held = made(dir.path(), "id");
    let by_public = Held::read(Os::here(), &dir.path().join("id.pub")).unwrap();
    assert_eq!((&by_public.key, &by_public.file), (&held.key, &held.file));
    fs::remove_file(dir.path().join("id.pub")).unwrap();
    assert_eq!(Held::read(Os::here(), &held.file).unwrap().key.line(), held.key.line());
    fs::remove_file(&held.file).unwrap();
    assert!(matches!(Held::read(Os::here(), &held.file), Err(Error::File(..))));
}

#[test]
fn weak_keys_are_named_and_certificates_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let computer = computer(dir.path());
    let ssh = computer.ssh_dir();
    made(&ssh, "good");
    let small = ssh.join("small");
    ssh_keygen(&["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", small.to_str().unwrap()]);
    let (ca, good) = (made(dir.path(), "ca").file, ssh.join("good.pub"));
    ssh_keygen(&["-q", "-s", ca.to_str().unwrap(), "-I", "x", good.to_str().unwrap()]);
    assert!(ssh.join("good-cert.pub").exists());
    let found = find(&computer, &[]).unwrap();
    assert_eq!(found.usable.len(), 1);
    assert_eq!(found.refused, [(ssh.join("small.pub"), BadKey::RsaTooSmall(2048))]);
}

#[test]
fn a_key_of_the_agent_alone_gets_a_file_and_one_with_a_file_is_listed_once() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let computer = computer(dir.path());
    let with_file = made(&computer.ssh_dir(), "id").key;
    let alone = made(elsewhere.path(), "token").key;
    let in_agent = [with_file.line().to_owned() + " id", alone.line().to_owned() + " token", "junk".into()];
    let mut found = find(&computer, &in_agent).unwrap().usable;
    assert_eq!(
        found.iter().map(Candidate::key).map(PublicKey::line).collect::<Vec<_>>(),
        [with_file.line(), alone.line()]
    );
    let held = found.pop().unwrap().settle(&computer).unwrap();
    assert_eq!(Held::read(Os::here(), &held.file).unwrap().key.line(), alone.line());
    assert_eq!(held.file.extension().unwrap(), "pub");
    assert_eq!(find(&computer, &in_agent).unwrap().usable.len(), 2);
}

#[test]
fn a_signature_verifies_for_its_text_alone() {
    let dir = tempfile::tempdir().unwrap();
    let held = made(dir.path(), "id");
    let pem = keygen::sign(Os::here(), &held.file, "the text\n").unwrap();
    assert!(crate::fake::verifies(&held.key, "the text\n", &pem));
    assert!(!crate::fake::verifies(&held.key, "another\n", &pem));
}
