//! The module's three files on the machine, each broken in every way in which an administrator might break
//! it.

use kbmfa_tests::files::{put, set_mode};
use kbmfa_tests::machine::Machine;
use kbmfa_tests::syslog::{AUTHPRIV, severity};
use kbmfa_tests::world::World;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::time::Duration;

use super::NOT_SET_UP;
use crate::faults::Refusal;

/// A way to break a file, and the log line that it causes.
type Fault = (fn(&Path), &'static str);

const CONFIG: &str = "/etc/kbmfa/pam.toml";
const CREDENTIAL: &str = "/etc/kbmfa/credential";
const CA: &str = "/etc/kbmfa/ca.pem";

/// Ways to break any of the files.
const OF_ANY: [Fault; 9] = [
    (|path| fs::remove_file(path).unwrap(), "No such file or directory (os error 2)"),
    (replaced_by_a_directory, "it is not a regular file"),
    (replaced_by_a_pipe, "it is not a regular file"),
    (replaced_by_a_link, "it is a symbolic link"),
    (|path| chown(path, Some(2001), None).unwrap(), "it belongs to user 2001, not to root"),
    (|path| set_mode(path, 0o620), "its mode is 0620: others could write to it; use chmod go-w"),
    (|path| set_mode(path, 0o602), "its mode is 0602: others could write to it; use chmod go-w"),
    (|path| fs::write(path, b"\xff\xfe").unwrap(), "it is not UTF-8"),
    (|path| fs::write(path, vec![b'#'; 64 * 1024 + 1]).unwrap(), "it is larger than 65536 bytes"),
];

const OF_CONFIG: [Fault; 4] = [
    (|path| fs::write(path, "").unwrap(), "line 1: missing field `servers`"),
    (|path| append(path, "colour = 1\n"), "unknown field `colour`"),
    (|path| append(path, "servers = []\n"), "duplicate key"),
    (|path| fs::write(path, "servers = [").unwrap(), "line 1: "),
];

const OF_CREDENTIAL: [Fault; 4] = [
    (|path| set_mode(path, 0o640), "its mode is 0640: others could read it; use chmod 0600"),
    (|path| set_mode(path, 0o604), "its mode is 0604: others could read it; use chmod 0600"),
    (|path| fs::write(path, "").unwrap(), "it holds no credential; run `kbmfa-host join`"),
    (|path| append(path, "and more\n"), "it holds no credential; run `kbmfa-host join`"),
];

const OF_CA: [Fault; 3] = [
    (|path| fs::write(path, "").unwrap(), "no certificate in it"),
    (|path| fs::write(path, "-----BEGIN CERTIFICATE-----\nx\n").unwrap(), "not a PEM certificate"),
    (
        |path| {
            fs::write(path, "-----BEGIN CERTIFICATE-----\neHl6\n-----END CERTIFICATE-----\n").unwrap();
        },
        "not a CA certificate",
    ),
];

fn replaced_by_a_directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn replaced_by_a_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

fn replaced_by_a_link(path: &Path) {
    let real = path.with_extension("real");
    fs::rename(path, &real).unwrap();
    symlink(real.file_name().unwrap(), path).unwrap();
}

fn append(path: &Path, line: &str) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text + line).unwrap();
}

fn each_fault_is_named_and_refused(file: &str, faults: impl IntoIterator<Item = Fault>) {
    let world = World::new();
    let machine = world.machine().start();
    let path = machine.path(file);
    let sound = fs::read(&path).unwrap();
    for (number, (strike, log)) in faults.into_iter().enumerate() {
        strike(&path);
        Refusal { prompt: NOT_SET_UP, log, within: Duration::ZERO }.meets(&machine);
        assert_named(&machine, number, file, log);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        put(&path, 0o600, &sound);
    }
    assert!(world.admin.logins(&[]).is_empty(), "nobody was to be asked");
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n", "the file was sound again");
}

/// Checks the log lines of one refusal, after `before` earlier lines: the fault, and the refusal.
fn assert_named(machine: &Machine, before: usize, file: &str, log: &str) {
    machine.syslog.so_many_with(before + 1, "user alice from 127.0.0.1: refused, not configured properly");
    let lines = machine.syslog.lines().split_off(2 * before);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (fault, end) = (&lines[0], &lines[1]);
    assert!(fault.text.contains(&format!("{file}: ")) && fault.text.contains(log), "{fault:?}");
    assert_eq!((fault.facility, fault.severity), (AUTHPRIV, severity::ALERT));
    assert_eq!((end.facility, end.severity), (AUTHPRIV, severity::NOTICE));
}

#[test]
fn a_configuration_that_is_not_in_order_is_named_and_lets_nobody_in() {
    each_fault_is_named_and_refused(CONFIG, OF_ANY.into_iter().chain(OF_CONFIG));
}

#[test]
fn a_credential_that_is_not_in_order_is_named_and_lets_nobody_in() {
    each_fault_is_named_and_refused(CREDENTIAL, OF_ANY.into_iter().chain(OF_CREDENTIAL));
}

#[test]
fn a_list_of_cas_that_is_not_in_order_is_named_and_lets_nobody_in() {
    each_fault_is_named_and_refused(CA, OF_ANY.into_iter().chain(OF_CA));
}

/// No mode prevents root from reading.
#[test]
fn files_of_mode_0_are_read_by_root() {
    let world = World::new();
    let machine = world.machine().start();
    for file in [CONFIG, CREDENTIAL, CA] {
        set_mode(&machine.path(file), 0);
    }
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
    machine.assert_nothing_left();
}
