//! Stacks as people write them, and what is wrong with each.

use super::super::stack;
use super::*;
use kbmfa_proto::finding::Level;
use std::fs;

const COMMON_AUTH: &str = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\n\
                           auth required pam_permit.so\n";
const COMMON_ACCOUNT: &str = "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\n\
                              account requisite pam_deny.so\naccount required pam_permit.so\n";

fn look(sshd: &str) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("sshd", sshd), ("common-auth", COMMON_AUTH), ("common-account", COMMON_ACCOUNT)] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let stack = stack::read(&[dir.path().to_owned()], "sshd").unwrap();
    let (ours, mut findings) = ours(&stack);
    findings.extend(judge(&stack, &ours));
    findings
}

#[track_caller]
fn well(sshd: &str) {
    let findings = look(sshd);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
}

#[track_caller]
fn ill(level: Level, sshd: &str, found: &str) {
    let findings = look(sshd);
    let is_it = |finding: &&Finding| finding.level == level && finding.found.contains(found);
    let finding = findings.iter().find(is_it).unwrap_or_else(|| panic!("no {found:?} in {findings:?}"));
    assert!(finding.fix.is_some(), "{finding:?}");
}

#[test]
fn the_lines_of_the_recipes_in_their_places_are_well() {
    well("account required pam_nologin.so\naccount required pam_kbmfa.so\n@include common-account\n");
    well("auth required pam_kbmfa.so\naccount required pam_nologin.so\n@include common-account\n");
    well("auth requisite pam_unix.so\nauth required pam_kbmfa.so first_factor=stack\n");
    well("session required pam_kbmfa.so silent\nsession required pam_env.so\n");
    well("account required pam_kbmfa.so\nsession optional pam_kbmfa.so log_only\n");
    well("session requisite pam_kbmfa.so silent\nsession optional pam_kbmfa.so log_only\n");
    well("account [success=ok default=die] pam_kbmfa.so\n");
}

#[test]
fn a_refusal_that_pam_may_forget_is_a_fault() {
    for control in
        ["optional", "sufficient", "[success=1 default=ignore]", "[default=bad perm_denied=ignore]"]
    {
        ill(
            Level::Fault,
            &format!("account {control} pam_kbmfa.so\n"),
            "does not end a login that it refuses",
        );
    }
}

#[test]
fn what_lets_in_before_our_line_is_a_fault() {
    let ours = "auth required pam_kbmfa.so first_factor=stack\n";
    ill(Level::Fault, &format!("auth sufficient pam_unix.so\n{ours}"), "ends the stack on success");
    ill(
        Level::Fault,
        &format!("auth [success=1 default=die] pam_unix.so\n{ours}"),
        "jumps over it on success",
    );
    let after = "@include common-account\naccount required pam_kbmfa.so\n";
    ill(Level::Fault, after, "ends the stack on new_authtok_reqd");
    ill(
        Level::Fault,
        "account [success=2 default=ignore] a.so\naccount optional b.so\naccount required pam_kbmfa.so\n",
        "jumps",
    );
}

#[test]
fn what_ends_or_jumps_elsewhere_is_none() {
    // The jump lands on our line, or before it.
    well(
        "account [success=1 default=ignore] a.so\naccount requisite pam_deny.so\naccount required pam_kbmfa.so\n",
    );
    // The end of a substack is not the end of the stack.
    well("account substack common-account\naccount required pam_kbmfa.so\n");
    // Another kind of line.
    well("session sufficient a.so\naccount required pam_kbmfa.so\n");
    // After ours it is too late.
    well("account required pam_kbmfa.so\naccount sufficient a.so\n");
}

#[test]
fn a_jump_counts_the_lines_of_a_substack_as_one() {
    let before = |jump: usize| {
        format!(
            "account [success={jump} default=ignore] a.so\naccount substack common-account\naccount required pam_kbmfa.so\n"
        )
    };
    well(&before(1));
    ill(Level::Fault, &before(2), "jumps over it");
}

#[test]
fn a_stack_that_asks_nobody_is_a_fault() {
    ill(Level::Fault, "@include common-account\n", "no line of it asks");
    ill(Level::Fault, "account required pam_kbmfa.so log_only\n", "only looks on");
    ill(Level::Fault, "account required pam_kbmfa.so log_only\n", "no line of it asks");
    ill(Level::Fault, "session optional pam_kbmfa.so log_only\n", "no line of it asks");
    ill(Level::Fault, "account required pam_kbmfa.so rehearsal\n", "nobody is let in");
    ill(Level::Fault, "password required pam_kbmfa.so\n", "changes no password");
}

#[test]
fn arguments_that_are_not_understood_are_a_fault() {
    ill(Level::Fault, "account required pam_kbmfa.so log-only\n", "argument \"log-only\" is not known");
}

#[test]
fn whoever_trusts_the_stack_needs_something_on_it_that_ends_the_login() {
    let ours = "auth required pam_kbmfa.so first_factor=stack\n";
    ill(Level::Fault, ours, "none that checks anybody");
    ill(
        Level::Fault,
        &format!("auth required pam_env.so\nauth required pam_permit.so\n{ours}"),
        "none that checks",
    );
    ill(Level::Weak, &format!("auth required pam_unix.so\n{ours}"), "a wrong password rings people");
}

#[test]
fn the_order_of_session_lines_counts() {
    ill(Level::Weak, "session required pam_env.so\nsession required pam_kbmfa.so\n", "variables");
    let (asking, reporting) = ("session required pam_kbmfa.so\n", "session optional pam_kbmfa.so log_only\n");
    ill(Level::Weak, &format!("{reporting}{asking}"), "comes before");
    ill(Level::Weak, &format!("{asking}{reporting}"), "reported as opened");
}
