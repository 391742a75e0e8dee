//! Tests against a server in memory.

use super::*;
use crate::fake::{Fake, Room};

fn by(path: &Path) -> By {
    By { by: Some(path.to_owned()) }
}

fn remembered() -> By {
    By { by: None }
}

fn add_args(path: Option<PathBuf>, by: By) -> Add {
    Add { by, which: Which { key: path, no_passphrase: true, device: Some("desk".into()) }, yes: true }
}

/// A person whose key was enrolled from this computer.
fn enrolled() -> (Room, Held) {
    let mut room = Room::new(Fake::default());
    let old = room.key(&room.home.path().join("old"));
    room.server = Fake::with(&old.key);
    room.remember(&old.file);
    (room, old)
}

#[test]
fn an_enrolled_key_asks_and_another_one_does_not() {
    let (room, old) = enrolled();
    let other = room.key(&room.home.path().join("other"));
    let asked = |by: By| {
        room.as_json(&[], |session| status(&Status { by, write_config: false, watch: false }, session))
    };
    for by in [by(&old.file), remembered()] {
        let (done, printed) = asked(by);
        done.unwrap();
        assert_eq!(serde_json::from_str::<Enrolled>(&printed).unwrap().person, room.server.person());
    }
    assert!(asked(by(&other.file)).0.is_err());
    let (done, printed) = room.as_json(&[], |session| list(&remembered(), session));
    done.unwrap();
    let keys: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(keys[0]["fingerprint"], old.key.fingerprint());
}

#[test]
fn a_key_that_is_added_proves_that_it_is_here_and_waits() {
    let (room, old) = enrolled();
    let path = room.home.path().join("new");
    let args = add_args(Some(path.clone()), remembered());
    let (done, printed) = room.run(&[], |session| add(&args, session));
    done.unwrap();
    let new = Held::read(room.computer.os, &path).unwrap();
    assert_eq!(room.server.fingerprints(), [old.key.fingerprint(), new.key.fingerprint()]);
    assert!(printed.contains("as soon as your administrator approves it"), "{printed}");
}

#[test]
fn a_key_is_rotated_only_after_a_yes_and_signs_once_it_is_active() {
    let (room, old) = enrolled();
    let args = Add { yes: false, ..add_args(None, remembered()) };
    let rotated = |answers: &[&str]| room.run(answers, |session| rotate(&args, session)).0;
    assert!(matches!(rotated(&["no"]), Err(Error::Stopped)));
    let path = room.computer.ssh_dir().join("id_ed25519_kbmfa");
    assert!(!path.exists(), "a key that was made for nothing is removed");
    rotated(&["yes"]).unwrap();
    let new = Held::read(room.computer.os, &path).unwrap();
    assert_eq!(room.profile().unwrap().keys, [new.file.clone(), old.file.clone()]);
    let shown = || room.run(&[], |session| list(&remembered(), session)).0;
    shown().unwrap();
    assert_eq!(room.profile().unwrap().keys.len(), 2, "the old key signs until the new one is active");
    room.server.approve(new.key.fingerprint());
    assert_eq!(room.server.fingerprints(), [new.key.fingerprint()]);
    shown().unwrap();
    assert_eq!(room.profile().unwrap().keys, [new.file]);
}

#[test]
fn a_key_is_revoked_only_after_a_yes() {
    let (room, old) = enrolled();
    let args = Revoke { by: remembered(), fingerprint: old.key.fingerprint().into(), lost: true, yes: false };
    let revoked = |answers: &[&str]| room.run(answers, |session| revoke(&args, session)).0;
    assert!(matches!(revoked(&[]), Err(Error::NoAnswer(_))));
    assert!(matches!(revoked(&["y"]), Err(Error::Stopped)));
    revoked(&["yes"]).unwrap();
    assert_eq!(room.server.fingerprints(), [] as [&str; 0]);
}

#[test]
fn without_a_key_that_is_known_the_option_is_named() {
    let room = Room::new(Fake::default());
    let (done, _) = room.run(&[], |session| list(&remembered(), session));
    assert!(done.unwrap_err().to_string().contains("--by FILE"));
}

#[test]
fn the_machines_are_written_again_when_they_have_changed() {
    let (room, _) = enrolled();
    let args = Status { by: remembered(), write_config: true, watch: false };
    room.run(&[], |session| status(&args, session)).0.unwrap();
    let written = std::fs::read_to_string(room.computer.ssh_dir().join("config")).unwrap();
    assert!(written.contains("Host web1\n"), "{written}");
}

#[test]
fn a_password_leaves_as_a_hash_and_is_removed_again() {
    let (room, _) = enrolled();
    let run = |remove, answers: &[&str]| {
        let args = Password { by: remembered(), remove, yes: false };
        room.run(answers, |session| password(&args, session)).0
    };
    let good = "correct horse battery";
    assert!(matches!(run(false, &[good, "another horse battery"]), Err(Error::BadPassword(_))));
    assert!(matches!(run(false, &[good, good, "no"]), Err(Error::Stopped)));
    assert_eq!(room.server.password_hash(), None);
    run(false, &[good, good, "yes"]).unwrap();
    let hash = room.server.password_hash().unwrap();
    assert!(hash.starts_with("$6$rounds=210000$") && !hash.contains("horse"), "{hash}");
    assert!(matches!(run(true, &["no"]), Err(Error::Stopped)));
    run(true, &["yes"]).unwrap();
    assert_eq!(room.server.password_hash(), None);
}
