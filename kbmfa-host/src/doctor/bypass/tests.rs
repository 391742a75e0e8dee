//! PAM stacks as people write them, each with its expected findings.

use super::super::stack;
use super::*;
use kbmfa_finding::Level;
use std::fs;

const COMMON_AUTH: &str = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\n\
                           auth required pam_permit.so\n";
const COMMON_ACCOUNT: &str = "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\n\
                              account requisite pam_deny.so\naccount required pam_permit.so\n";

fn look(sshd: &str) -> Vec<Finding> {
    look_at("sshd", sshd)
}

fn look_at(service: &str, sshd: &str) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("sshd", sshd), ("common-auth", COMMON_AUTH), ("common-account", COMMON_ACCOUNT)] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let stack = stack::read(&[dir.path().to_owned()], "sshd").unwrap();
    let (ours, mut findings) = ours(&stack);
    findings.extend(judge(service, &stack, &ours));
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
    well(
        "account required pam_kbmfa.so\nsession required pam_unix.so\nsession optional pam_kbmfa.so log_only\n",
    );
    well("session requisite pam_kbmfa.so silent\nsession optional pam_kbmfa.so log_only\n");
    well("account [success=ok default=die] pam_kbmfa.so\n");
    well(
        "account required pam_nologin.so\naccount required pam_access.so\naccount required pam_kbmfa.so\n@include common-account\n",
    );
}

#[test]
fn a_refusal_that_does_not_end_the_login_is_a_fault() {
    for control in
        ["optional", "sufficient", "[success=1 default=ignore]", "[default=bad perm_denied=ignore]"]
    {
        let stack = format!("account {control} pam_kbmfa.so\naccount required pam_permit.so\n");
        ill(Level::Fault, &stack, "does not end a login that it refuses");
    }
}

#[test]
fn a_refusal_that_is_forgotten_or_hidden_is_a_fault() {
    let reset = "account [success=reset] pam_permit.so\naccount required pam_permit.so\n";
    ill(Level::Fault, &format!("account required pam_kbmfa.so\n{reset}"), "discards the refusal");
    well(&format!("account requisite pam_kbmfa.so\n{reset}"));
    let expired = "account [success=ok default=bad] pam_unix.so\naccount required pam_kbmfa.so\n";
    ill(Level::Fault, expired, "an expired password there hides the refusal");
    well("account required pam_unix.so\naccount required pam_kbmfa.so\n");
}

#[test]
fn a_stack_that_lets_nobody_in_is_a_fault() {
    ill(Level::Fault, "account required pam_kbmfa.so\naccount requisite pam_deny.so\n", "nobody can log in");
    // PAM lets nobody in unless one module returns success.
    ill(Level::Fault, "auth required pam_kbmfa.so log_only\n", "nobody can log in");
    let findings = look("account sufficient pam_kbmfa.so\naccount required pam_deny.so\n");
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
}

#[test]
fn what_lets_in_before_our_line_is_a_fault() {
    let ours = "auth required pam_kbmfa.so first_factor=stack\n";
    ill(
        Level::Fault,
        &format!("auth sufficient pam_unix.so\n{ours}"),
        "lets somebody in before it on success",
    );
    let jumping = format!("auth [success=1 default=die] pam_unix.so\n{ours}auth required pam_permit.so\n");
    ill(Level::Fault, &jumping, "lets somebody in before it on success");
    let after = "@include common-account\naccount required pam_kbmfa.so\n";
    ill(Level::Fault, after, "lets somebody in before it on new_authtok_reqd");
    let far = "account [success=2 default=ignore] a.so\naccount optional b.so\naccount required pam_kbmfa.so\naccount required c.so\n";
    ill(Level::Fault, far, "lets somebody in before it on success");
}

#[test]
fn other_controls_are_not_jumps_to_the_end() {
    // The jump lands on our line, or on a line before it.
    well(
        "account [success=1 default=ignore] a.so\naccount requisite pam_deny.so\naccount required pam_kbmfa.so\n",
    );
    // The end of a substack is not the end of the stack.
    well("account substack common-account\naccount required pam_kbmfa.so\n");
    // Lines of another group do not matter.
    well("session sufficient a.so\naccount required pam_kbmfa.so\n");
    // A line after ours cannot skip it.
    well("account required pam_kbmfa.so\naccount sufficient a.so\n");
}

#[test]
fn a_jump_counts_the_lines_of_a_substack_as_one() {
    let before = |jump: usize| {
        format!(
            "account [success={jump} default=ignore] a.so\naccount substack common-account\n\
             account required pam_kbmfa.so\naccount required pam_permit.so\n"
        )
    };
    well(&before(1));
    ill(Level::Fault, &before(2), "lets somebody in before it");
}

#[test]
fn a_stack_that_asks_nobody_is_a_fault() {
    ill(Level::Fault, "@include common-account\n", "no line of it asks");
    ill(Level::Fault, "account required pam_kbmfa.so log_only\n", "log_only, which asks nobody");
    ill(Level::Fault, "account required pam_kbmfa.so log_only\n", "no line of it asks");
    ill(Level::Fault, "session optional pam_kbmfa.so log_only\n", "no line of it asks");
    ill(Level::Fault, "account required pam_kbmfa.so rehearsal\n", "lets nobody in");
    ill(Level::Fault, "password required pam_kbmfa.so\n", "changes no password");
}

#[test]
fn a_missing_module_fails_its_line_and_is_named() {
    let look = |sshd: &str| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sshd"), sshd).unwrap();
        let mut stack = stack::read(&[dir.path().to_owned()], "sshd").unwrap();
        stack::note_missing(&mut stack, |module| !module.contains("nowhere"));
        let (ours, _) = ours(&stack);
        let faults = judge("sshd", &stack, &ours).into_iter().filter(|finding| finding.level == Level::Fault);
        faults.map(|fault| fault.found).collect::<Vec<_>>()
    };
    let ours = "account required pam_kbmfa.so\n";
    let permit = "account required pam_permit.so\n";
    let closed = look("account required pam_nowhere.so\n");
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert!(closed[0].contains("the module is missing"), "{closed:?}");
    assert_eq!(look(&format!("{ours}account required pam_nowhere.so\n")).len(), 1);
    assert!(look(&format!("{ours}-account optional pam_nowhere.so\n{permit}")).is_empty());
    assert!(look(&format!("{ours}account [default=ignore] pam_nowhere.so\n{permit}")).is_empty());
    let denied = format!("{ours}account requisite pam_deny.so\n-account optional pam_nowhere.so\n");
    assert!(look(&denied)[0].contains("nobody can log in"), "a missing module that is ignored hides nothing");
    let unheld = look("account sufficient pam_localuser.so\naccount required pam_nowhere.so\n");
    assert!(unheld.iter().any(|fault| fault.contains("nobody needs an approval")), "{unheld:?}");
    let past = look(&format!("account [module_unknown=done default=ignore] pam_nowhere.so\n{ours}"));
    assert!(past[0].contains("nobody can log in"), "a failure that is `done` is one: {past:?}");
    let jumps = look(&format!("account [module_unknown=1 default=ignore] pam_nowhere.so\n{ours}{permit}"));
    assert!(jumps[0].contains("lets somebody in before it on module_unknown"), "{jumps:?}");
}

#[test]
fn arguments_that_are_not_understood_are_a_fault() {
    ill(Level::Fault, "account required pam_kbmfa.so log-only\n", "argument \"log-only\" is not known");
}

#[test]
fn first_factor_stack_needs_a_module_that_authenticates_and_ends_the_login() {
    let ours = "auth required pam_kbmfa.so first_factor=stack\n";
    let unchecked = "none of them authenticates";
    ill(Level::Fault, ours, unchecked);
    ill(Level::Fault, &format!("auth required pam_env.so\nauth required pam_permit.so\n{ours}"), unchecked);
    ill(Level::Fault, &format!("auth requisite pam_shells.so\n{ours}"), unchecked);
    ill(Level::Fault, &format!("auth optional pam_unix.so\n{ours}"), unchecked);
    ill(Level::Weak, &format!("auth requisite pam_of_our_own.so\n{ours}"), "it is unknown");
    ill(Level::Weak, &format!("auth required pam_unix.so\n{ours}"), "so a wrong password asks the approvers");
    // After a wrong password `pam_deny` ends the login.
    well(&format!("@include common-auth\n{ours}"));
    // These arguments let the module ignore a person.
    ill(Level::Fault, &format!("auth requisite pam_sss.so ignore_unknown_user\n{ours}"), unchecked);
    ill(Level::Fault, &format!("auth requisite pam_google_authenticator.so nullok\n{ours}"), unchecked);
    well(&format!("auth requisite pam_unix.so nullok\n{ours}"));
    well(&format!("auth requisite pam_sss.so\n{ours}"));
}

#[test]
fn rootok_lets_root_use_su_and_everybody_use_sshd() {
    let stack = "auth sufficient pam_rootok.so\nauth requisite pam_unix.so\nauth required pam_kbmfa.so first_factor=stack\n";
    let su = look_at("su", stack);
    assert!(su.iter().all(|finding| finding.level == Level::Ok), "{su:?}");
    ill(Level::Fault, stack, "lets somebody in before it on success");
    ill(
        Level::Fault,
        "account sufficient pam_rootok.so\naccount required pam_kbmfa.so\n",
        "lets somebody in before it",
    );
}

#[test]
fn the_fix_still_lets_in_people_who_may_log_in() {
    let fix = |stack: &str| {
        let ours = "auth required pam_kbmfa.so first_factor=stack\n";
        let findings = look(&format!("{stack}{ours}"));
        findings.into_iter().find_map(|finding| finding.fix).unwrap()
    };
    assert!(fix("").contains("such as `auth requisite pam_unix.so`"));
    assert!(fix("auth required pam_sss.so\n").starts_with("write `requisite` at /"));
    let jumping = "auth [success=1 default=ignore] pam_unix.so\nauth optional pam_warn.so\n";
    assert!(fix(jumping).starts_with("make the stack end where /"));
}

#[test]
fn a_key_that_people_may_claim_in_their_own_files_is_a_fault() {
    let ours = "auth required pam_kbmfa.so\n";
    ill(Level::Fault, &format!("auth required pam_env.so user_readenv=1\n{ours}"), "SSH_AUTH_INFO_0");
    well(&format!("auth required pam_env.so\n{ours}"));
    well(&format!("{ours}auth required pam_env.so user_readenv=1\n"));
}

#[test]
fn the_order_of_session_lines_counts() {
    ill(Level::Weak, "session required pam_env.so\nsession required pam_kbmfa.so\n", "variables");
    let (asking, reporting) = ("session required pam_kbmfa.so\n", "session optional pam_kbmfa.so log_only\n");
    ill(Level::Weak, &format!("{reporting}{asking}"), "comes before");
    ill(Level::Weak, &format!("{asking}{reporting}"), "reported as opened");
}
