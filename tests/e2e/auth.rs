//! The module in the auth phase: key, then keyboard-interactive, which the module answers without a prompt.

use kbmfa_tests::builder::Root;
use kbmfa_tests::recipe::{PASSWORD_OF_BOB, Phase};
use kbmfa_tests::world::World;

use crate::story::{self, Case, stories};

const CASE: Case = Case(Phase::Auth, Root::Debian12);

stories!(CASE);

#[test]
fn lines_in_auth_and_account_ask_once() {
    let world = World::new();
    let stack = "auth required pam_kbmfa.so\naccount required pam_kbmfa.so\nsession required pam_unix.so\n";
    let machine = world.machine().phase(Phase::Auth).pam_stack(stack).start();
    let login = machine.ssh("alice", &["echo", "in"]);
    world.admin.approve(&world.admin.pending());
    assert_eq!(login.wait().stdout, "in\n");
    let asks = world.admin.audit().into_iter().filter(|event| event.kind == "ask.posted");
    assert_eq!(asks.count(), 1);
    machine.assert_nothing_left();
}

/// Password and approval. The control is `requisite`, so that a wrong password asks nobody.
const PASSWORD_STACK: &str = "auth requisite pam_unix.so
auth required pam_kbmfa.so first_factor=stack
account required pam_unix.so
session required pam_unix.so
";
const PASSWORD_ONLY: &str = "AuthenticationMethods keyboard-interactive:pam";

#[test]
fn a_right_password_asks_and_gets_in() {
    let world = World::new();
    let machine =
        world.machine().phase(Phase::Auth).pam_stack(PASSWORD_STACK).sshd_lines(PASSWORD_ONLY).start();
    let login = machine.ssh_with_password("bob", PASSWORD_OF_BOB, &["echo", "in"]);
    let id = world.admin.pending();
    world.admin.approve(&id);
    assert_eq!(login.wait().stdout, "in\n");
    world.admin.assert_story(&id, &story::LET_IN);
    machine.assert_nothing_left();
}

#[test]
fn a_wrong_password_asks_nobody() {
    let world = World::new();
    let machine =
        world.machine().phase(Phase::Auth).pam_stack(PASSWORD_STACK).sshd_lines(PASSWORD_ONLY).start();
    assert_eq!(machine.ssh_with_password("bob", "guess", &["echo", "in"]).wait().code, 255);
    assert!(world.admin.logins(&[]).is_empty());
    machine.assert_nothing_left();
}

#[test]
fn an_account_that_does_not_exist_waits_for_the_window_and_nobody_is_asked() {
    let world = World::with(&story::SHORT_WINDOW);
    let stack = "auth required pam_kbmfa.so first_factor=stack\naccount required pam_unix.so\n";
    let machine = world.machine().phase(Phase::Auth).pam_stack(stack).sshd_lines(PASSWORD_ONLY).start();
    let login = machine.ssh_with_password("mallory", "guess", &["echo", "in"]);
    let id = world.admin.only_login();
    assert_eq!(login.wait().code, 255);
    world.admin.assert_story(&id, &["login.opened", "login.expired"]);
    machine.assert_nothing_left();
}

#[test]
fn without_a_proven_first_factor_nobody_is_asked() {
    let world = World::new();
    let stack = "auth required pam_kbmfa.so\naccount required pam_unix.so\n";
    let machine = world.machine().phase(Phase::Auth).pam_stack(stack).sshd_lines(PASSWORD_ONLY).start();
    assert_eq!(machine.ssh_with_password("bob", PASSWORD_OF_BOB, &["echo", "in"]).wait().code, 255);
    assert!(world.admin.logins(&[]).is_empty());
    machine.assert_nothing_left();
}
