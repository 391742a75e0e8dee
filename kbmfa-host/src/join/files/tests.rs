//! Tests of the files that `join` writes, without a server. `tests/e2e` runs `join` against a real one.

use super::*;
use std::fs;
use std::os::unix::fs::MetadataExt;

fn settings(url: &str, addresses: &[&str]) -> String {
    let location = Location::parse(url).unwrap();
    let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    render(&location, &addresses, Path::new("/etc/kbmfa"), "75s")
}

#[test]
fn the_file_that_is_written_is_one_that_the_module_accepts() {
    let by_name = settings("https://kbmfa.example:8443", &["192.0.2.7:8443", "[2001:db8::7]:8443"]);
    for text in [
        by_name,
        settings("https://192.0.2.7", &["192.0.2.7:443"]),
        settings("https://[::1]:1", &["[::1]:1"]),
    ] {
        assert!(check(&text).is_ok(), "{text}");
    }
    let location = Location::parse("https://192.0.2.7").unwrap();
    assert!(check(&render(&location, &[], Path::new("/x"), "5s")).is_err());
}

#[test]
fn a_prepared_credential_is_used_again_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let first = prepare_credential(dir.path()).unwrap();
    assert!(first.len() == 6 + 64 && first.starts_with("kbmfa_"));
    assert_eq!(*first, *prepare_credential(dir.path()).unwrap());
    assert_eq!(fs::metadata(dir.path().join(NEW_CREDENTIAL)).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn only_a_credential_that_join_made_is_registered() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made = prepare_credential(dir).unwrap();
    install(dir, "ca", "new", true).unwrap();
    assert_eq!(installed_credential(dir).as_deref(), Some(&*made));
    let digits = &made[PREFIX.len()..];
    for foreign in ["an-old-token-of-all-hosts", "kbmfa_", digits, &made[..69], &made.to_uppercase()] {
        place::replace(dir, "credential", place::SECRET, &format!("{foreign}\n")).unwrap();
        assert_eq!(installed_credential(dir), None, "{foreign}");
    }
    place::replace(dir, NEW_CREDENTIAL, place::SECRET, "an-old-token-of-all-hosts\n").unwrap();
    assert!(prepare_credential(dir).is_err());
}

#[test]
fn an_operators_own_file_is_not_changed_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let install_again = |force| {
        drop(prepare_credential(dir).unwrap());
        install(dir, "ca", "new", force).unwrap()
    };
    fs::write(dir.join("pam.toml"), "old").unwrap();
    assert!(install_again(false).contains(&NEW_CONFIG));
    assert_eq!((read("pam.toml"), read("pam.toml.new")), ("old".into(), "new".into()));
    assert!(!install_again(true).contains(&NEW_CONFIG));
    assert_eq!((read("pam.toml"), read("ca.pem")), ("new".into(), "ca".into()));
    assert!(dir.join("credential").exists() && !dir.join(NEW_CREDENTIAL).exists());
}
