//! Effective configurations of sshd, each with its expected findings.

use super::super::stack;
use super::*;
use kbmfa_finding::Level;
use std::fs;

const DEADLINE: Duration = Duration::from_secs(75);

const ACCOUNT: &str = "account required pam_kbmfa.so\n";
const AUTH: &str = "auth required pam_kbmfa.so\n";
const SESSION: &str = "session required pam_kbmfa.so\n";

/// The effective settings with `packaging/sshd/auth.conf`. A test may change one of them.
const PACKAGED: &str = "usepam yes\npubkeyauthentication yes\nlogingracetime 120\nmaxstartups 100:30:300\npasswordauthentication no\n\
                        kbdinteractiveauthentication yes\nauthenticationmethods publickey,keyboard-interactive:pam\n";

fn question() -> Question {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        question: Question,
    }
    <Line as clap::Parser>::parse_from(["doctor"]).question
}

fn look(pam: &str, changed: &str) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sshd"), pam).unwrap();
    let stack = stack::read(&[dir.path().to_owned()], "sshd").unwrap();
    let (ours, _) = bypass::ours(&stack);
    let sshd = Effective::parse(&format!("{PACKAGED}{changed}"));
    judge(&sshd, &question(), &ours, Some(DEADLINE))
}

#[track_caller]
fn well(pam: &str, changed: &str) {
    let findings = look(pam, changed);
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
}

#[track_caller]
fn ill(level: Level, pam: &str, changed: &str, found: &str) {
    let findings = look(pam, changed);
    let is_it = |finding: &&Finding| finding.level == level && finding.found.contains(found);
    let finding = findings.iter().find(is_it).unwrap_or_else(|| panic!("no {found:?} in {findings:?}"));
    assert!(finding.fix.is_some(), "{finding:?}");
}

#[test]
fn the_packaged_settings_are_well_in_every_phase() {
    for pam in [ACCOUNT, AUTH, SESSION] {
        well(pam, "");
    }
}

#[test]
fn without_usepam_nothing_else_is_checked() {
    ill(Level::Fault, ACCOUNT, "usepam no", "never calls the module");
}

#[test]
fn logingracetime_must_exceed_the_deadline_except_in_the_session_phase() {
    ill(Level::Fault, ACCOUNT, "logingracetime 75", "could still be approved");
    ill(Level::Weak, AUTH, "logingracetime 94", "has little time left");
    well(ACCOUNT, "logingracetime 95");
    well(ACCOUNT, "logingracetime 0");
    well(SESSION, "logingracetime 10");
}

#[test]
fn the_default_of_maxstartups_is_weak_where_a_waiting_login_takes_a_slot() {
    ill(Level::Weak, ACCOUNT, "maxstartups 10:30:100", "while 10 logins wait");
    well(SESSION, "maxstartups 10:30:100");
}

#[test]
fn a_method_that_avoids_the_auth_line_is_a_fault_unless_another_line_asks() {
    let past = "authenticationmethods publickey publickey,keyboard-interactive";
    for (methods, found) in
        [(past, "publickey alone avoids"), ("authenticationmethods any", "publickey alone avoids")]
    {
        ill(Level::Fault, AUTH, methods, found);
        well(&format!("{AUTH}{ACCOUNT}"), methods);
    }
}

#[test]
fn a_list_of_methods_that_can_never_succeed_is_a_fault() {
    ill(Level::Fault, AUTH, "kbdinteractiveauthentication no", "asks for it");
}

#[test]
fn a_login_without_a_key_needs_first_factor_stack() {
    let methods = "authenticationmethods keyboard-interactive:pam";
    ill(Level::Weak, AUTH, methods, "begins without a key is refused");
    well("auth requisite pam_unix.so\nauth required pam_kbmfa.so first_factor=stack\n", methods);
}

#[test]
fn passwords_beside_keyboard_interactive_are_reported_as_weak() {
    let both =
        "passwordauthentication yes\nauthenticationmethods publickey,password publickey,keyboard-interactive";
    ill(Level::Weak, AUTH, both, "asked twice");
    well(AUTH, "passwordauthentication yes");
    well(ACCOUNT, both);
}

#[test]
fn without_authenticationmethods_each_enabled_method_is_checked() {
    let without_keys = "authenticationmethods any\npubkeyauthentication no";
    well("auth requisite pam_unix.so\nauth required pam_kbmfa.so first_factor=stack\n", without_keys);
    ill(Level::Fault, AUTH, &format!("{without_keys}\ngssapiauthentication yes"), "gssapi-with-mic alone");
}

#[test]
fn a_password_that_kerberos_checks_is_none_that_pam_sees() {
    let password = "authenticationmethods password\npasswordauthentication yes";
    let stack = "auth requisite pam_unix.so\nauth required pam_kbmfa.so first_factor=stack\n";
    well(stack, password);
    ill(Level::Fault, stack, &format!("{password}\nkerberosauthentication yes"), "password alone avoids");
}

#[test]
fn the_service_is_the_programs_name_unless_sshd_says_otherwise() {
    let service = |text: &str, program: &str| Effective::parse(text).service(Path::new(program));
    assert_eq!(service("", "/usr/sbin/sshd"), "sshd");
    assert_eq!(service("", "/usr/sbin/sshd-bastion"), "sshd-bastion");
    assert_eq!(service("pamservicename sshd-recovery", "/usr/sbin/sshd"), "sshd-recovery");
}
