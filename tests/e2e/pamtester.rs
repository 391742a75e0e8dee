//! The module in a program that is not sshd and has no privileges, without root and without an ssh
//! connection.

use kbmfa_tests::built;
use kbmfa_tests::login::Finished;
use kbmfa_tests::pamtester::Unprivileged;
use kbmfa_tests::world::World;

use crate::story::{LET_IN, TURNED_AWAY};

const AUTH: &str = "auth required MODULE first_factor=stack\n";
const ACCOUNT: &str = "auth required pam_permit.so\naccount required MODULE first_factor=stack\n";

/// Runs the operation, answers the one login that it opens by `answer`, and checks the login's events.
fn pamtester(stack: &str, operation: &str, answer: impl FnOnce(&World, &str), story: &[&str]) -> Finished {
    let world = World::new();
    let nobody = Unprivileged::new(&world, "desk", stack);
    let client = nobody.pamtester("root", &[operation]);
    let id = world.admin.pending();
    answer(&world, &id);
    let finished = client.wait();
    world.admin.assert_story(&id, story);
    finished
}

#[test]
fn an_approval_lets_in() {
    for (stack, operation) in [(AUTH, "authenticate"), (ACCOUNT, "acct_mgmt")] {
        let finished = pamtester(stack, operation, |world, id| world.admin.approve(id), &LET_IN);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
    }
}

#[test]
fn a_denial_turns_away() {
    for (stack, operation) in [(AUTH, "authenticate"), (ACCOUNT, "acct_mgmt")] {
        let finished = pamtester(stack, operation, |world, id| world.admin.deny(id), &TURNED_AWAY);
        assert_eq!(finished.code, 1, "{}", finished.stderr);
        assert!(finished.transcript().contains("Login <id> was denied."), "{}", finished.transcript());
    }
}

/// With each fault pamtester must crash or be refused. It must never report success.
#[test]
fn a_broken_module_grants_nothing_to_an_ordinary_user_either() {
    let world = World::new();
    for fault in ["panic", "overflow", "exit", "abort"] {
        for (kind, operation) in
            [("auth", "authenticate"), ("account", "acct_mgmt"), ("session", "open_session")]
        {
            let stack = format!("{kind} required MODULE first_factor=stack fault={fault}\n");
            let name = format!("{fault}-{kind}");
            let tester = Unprivileged::with_module(&world, &name, &stack, &built::faulty_module());
            let finished = tester.pamtester("nobody", &[operation]).wait();
            assert!(!finished.stdout.contains("success"), "{fault} {kind}: {}", finished.stdout);
        }
    }
    assert!(world.admin.logins(&[]).is_empty());
}
