//! Tests against a server in memory.

use super::*;
use crate::fake::{Fake, INVITE, Room};

/// Options that need no answer.
fn args(room: &Room) -> Args {
    let invite = room.home.path().join("invite");
    fs::write(&invite, format!("{INVITE}\n")).unwrap();
    Args {
        email: Some("anna@example.com".into()),
        invite_file: Some(invite),
        which: Which { key: Some(room.home.path().join("id")), no_passphrase: true, device: None },
        yes: true,
        ..Args::default()
    }
}

fn enrol(args: &Args, room: &Room, answers: &[&str]) -> (Result<(), Error>, String) {
    room.run(answers, |session| run(args, session))
}

#[test]
fn a_new_key_is_made_signed_for_enrolled_and_remembered() {
    let room = Room::new(Fake::default());
    let (done, printed) = enrol(&args(&room), &room, &[]);
    done.unwrap();
    let held = Held::read(room.computer.os, &room.home.path().join("id")).unwrap();
    assert_eq!(room.server.fingerprints(), [held.key.fingerprint()]);
    let line = format!("ssh -i {} -p 2222 anna@10.0.0.1", held.file.display());
    assert!(printed.contains(&line), "{printed}");
    assert_eq!(room.profile().unwrap().keys, [held.file]);
    assert_eq!(room.server.devices(), ["laptop"]);
}

#[test]
fn a_wrong_invite_changes_nothing() {
    let room = Room::new(Fake::default());
    let args = args(&room);
    fs::write(args.invite_file.as_ref().unwrap(), "id.wrong").unwrap();
    assert!(matches!(enrol(&args, &room, &[]).0, Err(Error::Call(_))));
    fs::write(args.invite_file.as_ref().unwrap(), "no dot").unwrap();
    assert!(matches!(enrol(&args, &room, &[]).0, Err(Error::BadInvite)));
    assert!(!room.home.path().join("id").exists());
    assert_eq!(room.profile(), None);
}

#[test]
fn a_person_with_a_key_says_whether_it_is_replaced() {
    let room = Room::new(Fake::default());
    let mut args = args(&room);
    enrol(&args, &room, &[]).0.unwrap();
    let first = room.server.fingerprints();
    args.which.key = Some(room.home.path().join("second"));
    assert!(matches!(enrol(&args, &room, &[]).0, Err(Error::NoAnswer(_))));
    for answer in ["perhaps", "0", "2", ""] {
        assert!(matches!(enrol(&args, &room, &[answer]).0, Err(Error::Stopped)), "{answer}");
    }
    assert!(!room.home.path().join("second").exists(), "a key that was made for nothing is removed");
    args.which.device = Some("desk".into());
    enrol(&args, &room, &["add"]).0.unwrap();
    assert_eq!(room.server.fingerprints().len(), 2);
    args.which.key = Some(room.home.path().join("third"));
    args.which.device = None;
    enrol(&args, &room, &["1"]).0.unwrap();
    assert_eq!(room.server.fingerprints().len(), 2);
    assert!(!room.server.fingerprints().contains(&first[0]));
}

#[test]
fn a_device_has_one_key() {
    let room = Room::new(Fake::default());
    let mut args = args(&room);
    enrol(&args, &room, &[]).0.unwrap();
    args.which.key = Some(room.home.path().join("second"));
    assert!(matches!(enrol(&args, &room, &["add"]).0, Err(Error::SameDevice(_))));
    assert!(!room.home.path().join("second").exists());
    enrol(&args, &room, &["1"]).0.unwrap();
    assert_eq!(room.server.enrolments(), 2);
}

#[test]
fn only_a_key_that_the_person_has_is_replaced() {
    let room = Room::new(Fake::default());
    let mut args = args(&room);
    args.replace = Some("SHA256:other".into());
    assert!(matches!(enrol(&args, &room, &[]).0, Err(Error::NoSuchKey(_))));
    assert_eq!(room.server.fingerprints(), [] as [&str; 0]);
}

#[test]
fn a_key_that_is_enrolled_already_uses_no_invite() {
    let room = Room::new(Fake::default());
    let mut args = args(&room);
    enrol(&args, &room, &[]).0.unwrap();
    let (done, printed) = enrol(&args, &room, &[]);
    done.unwrap();
    assert!(printed.contains("enrolled already"), "{printed}");
    assert_eq!(room.server.enrolments(), 1);
    args.password = true;
    assert!(matches!(enrol(&args, &room, &[]).0, Err(Error::Usage(_))));
}

#[test]
fn nothing_is_enrolled_without_a_yes() {
    let room = Room::new(Fake::default());
    let args = Args { yes: false, ..args(&room) };
    assert!(matches!(enrol(&args, &room, &["y"]).0, Err(Error::Stopped)));
    assert!(matches!(enrol(&args, &room, &[]).0, Err(Error::NoAnswer(_))));
    assert_eq!(room.server.fingerprints(), [] as [&str; 0]);
    enrol(&args, &room, &["yes"]).0.unwrap();
}

#[test]
fn a_lost_answer_is_asked_for_once_more_with_the_same_key() {
    let room = Room::new(Fake::default());
    room.server.lose_answers(1);
    enrol(&args(&room), &room, &[]).0.unwrap();
    assert_eq!((room.server.enrolments(), room.server.fingerprints().len()), (2, 1));
    let other = Room::new(Fake::default());
    other.server.lose_answers(2);
    assert!(matches!(enrol(&args(&other), &other, &[]).0, Err(Error::Call(CallError::Lost(_)))));
}

#[test]
fn a_new_key_gets_no_empty_passphrase_unasked() {
    let room = Room::new(Fake::default());
    let mut args = args(&room);
    args.which.no_passphrase = false;
    assert!(matches!(enrol(&args, &room, &[]).0, Err(Error::NoAnswer(_))));
    assert!(!room.home.path().join("id").exists());
}

#[test]
fn a_password_goes_to_the_server_as_a_hash_alone() {
    let room = Room::new(Fake::default());
    let args = Args { password: true, ..args(&room) };
    let password = "correct horse battery";
    let (done, printed) = enrol(&args, &room, &[password, password]);
    done.unwrap();
    let sent = room.server.last_enrolment();
    assert!(sent.password_hash.as_ref().unwrap().starts_with("$6$rounds=210000$"));
    assert!(!serde_json::to_string(&sent).unwrap().contains("horse"));
    assert!(!printed.contains("horse"));
    let other = Room::new(Fake::default());
    assert!(matches!(enrol(&args, &other, &[password, "another"]).0, Err(Error::BadPassword(_))));
    assert_eq!(other.server.enrolments(), 0);
}

#[test]
fn several_keys_are_listed_and_the_chosen_one_is_enrolled() {
    let room = Room::new(Fake::default());
    let mut args = args(&room);
    let ssh = room.computer.ssh_dir();
    let keys: Vec<Held> = ["a", "b"].map(|name| room.key(&ssh.join(name))).into();
    let elsewhere = tempfile::tempdir().unwrap();
    let agents = room.key(&elsewhere.path().join("id")).key;
    args.which.key = None;
    assert!(matches!(enrol(&args, &room, &[]).0, Err(Error::NoAnswer(_))));
    enrol(&args, &room, &["2"]).0.unwrap();
    (args.another, args.which.device) = (true, Some("desk".into()));
    enrol(&args, &room, &["new"]).0.unwrap();
    let new = Held::read(room.computer.os, &ssh.join("id_ed25519_kbmfa")).unwrap();
    let expected = [keys[1].key.fingerprint(), new.key.fingerprint()];
    assert_eq!(room.server.fingerprints(), expected);
    args.which.device = Some("token".into());
    let room = Room { agent: vec![agents.line().to_owned()], ..room };
    // The private half is in no agent here, so that the signature fails after the choice.
    assert!(matches!(enrol(&args, &room, &["4"]).0, Err(Error::NotSigned(_))));
}

#[test]
fn the_configuration_is_written_beside_what_is_there() {
    let room = Room::new(Fake::default());
    let args = Args { write_config: true, ..args(&room) };
    let ssh = room.computer.ssh_dir();
    fs::create_dir(&ssh).unwrap();
    fs::write(ssh.join("config"), "Host mine\n").unwrap();
    let (done, printed) = enrol(&args, &room, &[]);
    done.unwrap();
    let written = fs::read_to_string(ssh.join("config")).unwrap();
    assert!(written.contains("Host web1\n") && written.ends_with("\nHost mine\n"), "{written}");
    let hosts = fs::read_to_string(ssh.join("known_hosts_kbmfa")).unwrap();
    assert_eq!(hosts, "[10.0.0.1]:2222 ssh-ed25519 AAAA\n");
    assert!(printed.contains("\n  ssh web1\n"), "{printed}");
}

#[test]
fn a_configuration_that_cannot_be_written_stays_and_the_key_is_said_to_be_enrolled() {
    let room = Room::new(Fake::default());
    let args = Args { write_config: true, ..args(&room) };
    let ssh = room.computer.ssh_dir();
    fs::create_dir(&ssh).unwrap();
    fs::write(ssh.join("config"), b"Host \xff\n").unwrap();
    let (done, _) = enrol(&args, &room, &[]);
    assert!(done.unwrap_err().to_string().contains("the server has done it, but then"));
    assert_eq!(fs::read(ssh.join("config")).unwrap(), b"Host \xff\n");
    assert_eq!(room.server.fingerprints().len(), 1);
}
