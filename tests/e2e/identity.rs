//! Who logs in: an account under another spelling, the account that calls su or sudo, the key inside a
//! certificate.

use kbmfa_tests::files::put;
use kbmfa_tests::machine::Machine;
use kbmfa_tests::process::brief;
use kbmfa_tests::recipe::{FREE, Phase};
use kbmfa_tests::world::World;
use serde_json::Value;
use std::fs;

use crate::sessions::{heard, sessions_of};
use crate::story::TURNED_AWAY;

const ALICE: [&str; 6] = ["employee", "add", "alice@example.com", "--name", "Alice", "--unix-name"];

/// Other names by which the name service finds alice.
const SPELLINGS: [&str; 3] = ["ALICE", "Alice@example.com", "EXAMPLE\\alice"];

#[test]
fn a_suspended_employee_is_refused_under_every_spelling() {
    let world = World::new();
    world.admin.run(&[&ALICE[..], &["alice"]].concat());
    let machine = world.machine().folding_names().start();
    world.admin.run(&["employee", "suspend", "alice@example.com"]);
    for name in SPELLINGS {
        let finished = machine.ssh_under_the_name(name.as_ref()).wait();
        assert!(finished.code != 0 && finished.stdout.is_empty(), "{name}: {finished:?}");
        assert!(finished.stderr.contains("Your access is suspended."), "{name}: {}", finished.stderr);
    }
    let refused = world.admin.logins(&["--state", "denied"]);
    assert!(
        refused.len() == SPELLINGS.len() && refused.iter().all(|(_, user)| user == "alice"),
        "{refused:?}"
    );
}

#[test]
fn rules_and_limits_hold_under_every_spelling_and_people_see_how_it_was_typed() {
    let world = World::with(&[("login", "cool_down", "\"60s\"")]);
    let machine = world.machine().folding_names().start();
    let login = machine.ssh_under_the_name("ALICE".as_ref());
    let id = world.admin.pending();
    let shown = world.admin.login(&id);
    assert_eq!((&shown["user"], &shown["typed"]), (&"alice".into(), &"ALICE".into()));
    assert!(world.admin.run(&["login", "show", &id]).contains("alice (typed ALICE)"));
    world.admin.deny(&id);
    assert!(login.wait().code != 0);
    world.admin.assert_story(&id, &TURNED_AWAY);
    for name in ["alice", "Alice@example.com"] {
        let finished = machine.ssh_under_the_name(name.as_ref()).wait();
        assert!(finished.stderr.contains("denied a moment ago"), "{name}: {}", finished.stderr);
    }
}

#[test]
fn a_session_is_listed_with_its_account_and_the_name_as_typed() {
    let world = World::new();
    let machine = world.machine().folding_names().reporting().start();
    for name in ["ALICE", "alice"] {
        let login = machine.ssh_under_the_name(name.as_ref());
        world.admin.approve(&world.admin.pending());
        assert_eq!(login.wait().stdout, "in\n");
    }
    let told = heard(&world, &machine, "both sessions", || {
        let sessions = sessions_of(&world, "alice");
        (sessions.len() == 2)
            .then(|| sessions.iter().map(|session| session["typed"].clone()).collect::<Vec<_>>())
    });
    assert_eq!(told, [Value::Null, "ALICE".into()]);
}

/// `pam_unix` refuses it, too, but only after people have been asked.
#[test]
fn nobody_is_asked_about_an_account_that_has_expired() {
    let world = World::with(&[("login", "window", "\"20s\"")]);
    let machine = world.machine().start();
    machine.exec(&["sed", "-i", "s/^alice:.*/alice:*:20000:::::1:/", "/etc/shadow"]);
    let finished = machine.ssh("alice", &["echo", "in"]).wait();
    assert!(finished.code != 0 && finished.stdout.is_empty(), "{finished:?}");
    assert_eq!(world.admin.count(["login.opened", "ask.posted", "login.expired"]), [1, 0, 1]);
    machine.assert_nothing_left();
}

const SU: &str = "auth requisite pam_permit.so\nauth required pam_kbmfa.so first_factor=stack\n\
                  account required pam_permit.so\nsession required pam_permit.so\n";

#[test]
fn su_asks_who_wants_to_become_whom_and_under_not_self_the_one_who_asks_may_not_approve() {
    let world = World::with(&[("policy", "approvers", "\"not-self\"")]);
    world.admin.run(&[&ALICE[..], &["bob"]].concat());
    let machine = world.machine().pam_stack(FREE).start();
    put(&machine.path("/etc/pam.d/su"), 0o644, SU);
    let login = machine.ssh("bob", &["su", "-c", "'id -u'", "root"]);
    let id = world.admin.pending();
    let shown = world.admin.login(&id);
    assert_eq!((&shown["user"], &shown["service"]), (&"root".into(), &"su".into()));
    assert_eq!((&shown["caller"]["uid"], &shown["caller"]["user"]), (&2002.into(), &"bob".into()));
    assert!(world.admin.run(&["login", "show", &id]).contains("root (by bob)"));
    world.admin.run(&["employee", "suspend", "alice@example.com"]);
    assert!(login.wait().code != 0, "what a suspended person waits for by su ends");
    assert_eq!(world.admin.login(&id)["reason"], "suspended");
}

fn keygen(machine: &Machine, words: &[&str]) -> String {
    let output = brief("ssh-keygen").current_dir(machine.local_file("")).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_certificate_of_200_principals_is_taken_and_shown_by_the_key_inside() {
    let world = World::new();
    let trust = "TrustedUserCAKeys /etc/ssh/user_ca.pub\nAuthorizedKeysFile none\n";
    let machine = world.machine().phase(Phase::Auth).sshd_lines(trust).start();
    keygen(&machine, &["-q", "-t", "ed25519", "-N", "", "-f", "user_ca"]);
    put(&machine.path("/etc/ssh/user_ca.pub"), 0o644, fs::read(machine.local_file("user_ca.pub")).unwrap());
    let others: Vec<String> = (0..199).map(|n| format!("{n:0>50}")).collect();
    let principals = format!("alice,{}", others.join(","));
    keygen(
        &machine,
        &["-q", "-s", "user_ca", "-I", "laptop", "-z", "7", "-n", &principals, "id_ed25519.pub"],
    );
    assert!(fs::metadata(machine.local_file("id_ed25519-cert.pub")).unwrap().len() > 11_000);
    let print = |file: &str| keygen(&machine, &["-lf", file]).split(' ').nth(1).unwrap().to_owned();
    let (key, ca) = (print("id_ed25519.pub"), print("user_ca.pub"));

    let login = machine.ssh("alice", &["echo", "in"]);
    let id = world.admin.pending();
    let shown = world.admin.login(&id);
    assert_eq!(shown["key"], key);
    assert_eq!(shown["certificate"], format!("laptop serial 7 by {ca}"));
    world.admin.approve(&id);
    assert_eq!(login.wait().stdout, "in\n");
    machine.assert_nothing_left();
}
