//! The module in the account phase: key and approval, for every use of ssh. The person sees nothing until the
//! end, and people who are let in see nothing at all.

use insta::assert_snapshot;
use kbmfa_tests::builder::Root;
use kbmfa_tests::login::Login;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::syslog::{AUTHPRIV, severity};
use kbmfa_tests::world::World;

use crate::story::{Case, stories};

const CASE: Case = Case(Phase::Account, Root::Debian12);

stories!(CASE);

#[test]
fn files_arrive_by_scp_sftp_and_rsync_after_an_approval() {
    let world = World::new();
    let machine = CASE.machine(&world);
    let file = machine.local_file("letter");
    std::fs::write(&file, "words").unwrap();
    let file = file.to_str().unwrap();
    let approved = |client: Login| {
        world.admin.approve(&world.admin.pending());
        assert_eq!(client.wait().code, 0);
    };
    approved(machine.scp("alice", file, ":by-scp"));
    approved(machine.sftp("alice", &format!("put {file} by-sftp\n")));
    approved(machine.rsync("alice", file, ":by-rsync"));
    for name in ["by-scp", "by-sftp", "by-rsync"] {
        assert_eq!(machine.exec(&["cat", &format!("/home/alice/{name}")]), "words");
    }
    machine.assert_nothing_left();
}

#[test]
fn a_denied_scp_says_so_and_copies_nothing() {
    let world = World::new();
    let machine = CASE.machine(&world);
    let file = machine.local_file("letter");
    std::fs::write(&file, "words").unwrap();
    let client = machine.scp("alice", file.to_str().unwrap(), ":by-scp");
    world.admin.deny(&world.admin.pending());
    assert_snapshot!(client.wait().transcript(), @r"
    Login <id> was denied.
    Connection closed by 127.0.0.1 port <port>
    scp: Connection closed
    exit 255
    ");
    assert!(!machine.path("/home/alice/by-scp").exists());
    machine.assert_nothing_left();
}

#[test]
fn a_user_who_does_not_exist_causes_no_ask() {
    let world = World::new();
    let machine = CASE.machine(&world);
    assert_snapshot!(machine.ssh("mallory", &["true"]).wait().transcript(), @r"
    mallory@127.0.0.1: Permission denied (publickey).
    exit 255
    ");
    assert!(world.admin.logins(&[]).is_empty());
    machine.assert_nothing_left();
}

#[test]
fn the_log_has_one_line_for_each_login() {
    let world = World::new();
    let machine = CASE.machine(&world);
    let login = machine.ssh("alice", &["true"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().code, 0);
    let lines = machine.syslog.lines_with("pam_kbmfa(sshd:account)");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((lines[0].facility, lines[0].severity), (AUTHPRIV, severity::INFO));
    assert!(
        lines[0].text.contains("user alice from 127.0.0.1") && lines[0].text.ends_with("approved"),
        "{lines:?}"
    );
}
