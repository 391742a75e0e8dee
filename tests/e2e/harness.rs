//! Tests of the harness itself, with Debian's PAM modules in place of ours.

use insta::{allow_duplicates, assert_snapshot};
use kbmfa_tests::builder::{MachineBuilder, Root};
use kbmfa_tests::leftovers;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::syslog::{AUTHPRIV, severity};
use kbmfa_tests::wait::until;

const LET_IN: &str = "account required pam_permit.so\nsession required pam_permit.so\n";
const TURN_AWAY: &str = "account required pam_deny.so\nsession required pam_permit.so\n";
const HOLD: &str = "account required pam_exec.so /bin/sleep 600\nsession required pam_permit.so\n";

#[test]
fn debian_12_lets_in_with_openssh_9_2() {
    lets_in(Root::Debian12, "OpenSSH_9.2");
}

#[test]
fn debian_13_lets_in_with_openssh_10() {
    lets_in(Root::Debian13, "OpenSSH_10.");
}

fn lets_in(root: Root, version: &str) {
    let machine = Machine::stand_in(root, Phase::Account, LET_IN);
    let finished = machine.ssh_with("alice", &["-v"], &["id", "-un"]).wait();
    assert_eq!((finished.stdout.as_str(), finished.code), ("alice\n", 0));
    assert!(finished.stderr.contains(&format!("remote software version {version}")), "{}", finished.stderr);
    machine.assert_nothing_left();
}

#[test]
fn a_refusal_is_seen_by_the_person() {
    for root in [Root::Debian12, Root::Debian13] {
        let machine = Machine::stand_in(root, Phase::Account, TURN_AWAY);
        allow_duplicates! {
            assert_snapshot!(machine.ssh("alice", &["true"]).wait().transcript(), @r"
            Connection closed by 127.0.0.1 port <port>
            exit 255
            ");
        }
        machine.assert_nothing_left();
    }
}

#[test]
fn keyboard_interactive_follows_the_key() {
    let stack =
        "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
    for root in [Root::Debian12, Root::Debian13] {
        let machine = Machine::stand_in(root, Phase::Auth, stack);
        assert_eq!(machine.ssh("bob", &["true"]).wait().code, 0);
        let key_alone = machine.ssh_with("bob", &["-o", "PreferredAuthentications=publickey"], &["true"]);
        assert_eq!(key_alone.wait().code, 255);
    }
}

#[test]
fn files_arrive_by_scp_sftp_and_rsync() {
    let machine = Machine::stand_in(Root::Debian12, Phase::Account, LET_IN);
    let file = machine.local_file("letter");
    std::fs::write(&file, "words").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(machine.scp("alice", file, ":by-scp").wait().code, 0);
    assert_eq!(machine.sftp("alice", &format!("put {file} by-sftp\n")).wait().code, 0);
    assert_eq!(machine.rsync("alice", file, ":by-rsync").wait().code, 0);
    for name in ["by-scp", "by-sftp", "by-rsync"] {
        assert_eq!(machine.exec(&["cat", &format!("/home/alice/{name}")]), "words");
    }
    machine.assert_nothing_left();
}

#[test]
fn a_login_in_waiting_is_seen_as_left_behind() {
    for root in [Root::Debian12, Root::Debian13] {
        let machine = Machine::stand_in(root, Phase::Account, HOLD);
        let mut login = machine.ssh("alice", &["true"]);
        until("sleep to run in the machine", || {
            machine.leftovers().iter().any(|left| left.contains("/bin/sleep 600")).then_some(())
        });
        assert!(machine.leftovers().iter().any(|left| left.starts_with("connection")));
        assert!(login.running());
        login.interrupt();
        assert_eq!(login.wait().code, 130);
    }
}

#[test]
fn syslog_of_a_machine_is_collected() {
    let stack =
        "account required pam_warn.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
    for root in [Root::Debian12, Root::Debian13] {
        let machine = Machine::stand_in(root, Phase::Account, stack);
        assert_eq!(machine.ssh("carol", &["true"]).wait().code, 0);
        let lines = machine.syslog.lines_with("pam_warn(sshd:account)");
        assert_eq!((lines[0].facility, lines[0].severity), (AUTHPRIV, severity::NOTICE));
        assert!(lines[0].text.contains("user=[carol]"), "{lines:?}");
    }
}

#[test]
fn a_machine_dies_with_all_its_processes() {
    let machine = MachineBuilder::new("brief").pam_stack(HOLD).start();
    let login = machine.ssh("alice", &["true"]);
    until("sleep to run in the machine", || {
        machine.leftovers().iter().any(|left| left.contains("/bin/sleep 600")).then_some(())
    });
    let pids = machine.processes();
    assert!(pids.len() > 2, "{pids:?}");
    drop(machine);
    assert!(pids.iter().all(|pid| !leftovers::alive(*pid)));
    drop(login);
}

#[test]
fn the_host_stays_as_it_is() {
    let machine = Machine::stand_in(Root::Debian12, Phase::Account, LET_IN);
    machine.exec(&["touch", "/etc/kbmfa-was-here", "/usr/bin/kbmfa-was-here", "/var/tmp/kbmfa-was-here"]);
    for path in ["/etc/kbmfa-was-here", "/usr/bin/kbmfa-was-here", "/var/tmp/kbmfa-was-here", "/home/alice"] {
        assert!(!std::path::Path::new(path).exists(), "{path} is on the host");
    }
}
