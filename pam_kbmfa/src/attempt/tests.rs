//! Logins that are refused before any server is asked: the log line, and what the person reads.

use super::*;
use crate::pam::Item;
use crate::sys::Entry;
use std::cell::RefCell;
use std::ffi::CStr;

/// A fake PAM with given facts. It records texts and log lines.
#[derive(Default)]
pub(crate) struct TestPam {
    /// The name service's accounts: a name as typed, the account's own name, its uid.
    entries: &'static [(&'static str, &'static str, u32)],
    user: Option<&'static str>,
    env: Vec<(&'static CStr, &'static str)>,
    origin: Option<Origin>,
    told: RefCell<Vec<String>>,
    logged: RefCell<Vec<(Level, String)>>,
}

impl TestPam {
    pub(crate) fn knowing(entries: &'static [(&'static str, &'static str, u32)]) -> Self {
        Self { entries, ..Self::default() }
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.borrow().clone()
    }

    pub(crate) fn logged(&self) -> Vec<(Level, String)> {
        self.logged.borrow().clone()
    }
}

impl Pam for TestPam {
    fn user(&mut self) -> Option<String> {
        self.user.map(str::to_owned)
    }
    fn item(&self, item: Item) -> Option<String> {
        (item == Item::RHost).then(|| "192.0.2.1".into())
    }
    fn env(&mut self, name: &CStr) -> Option<String> {
        self.env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }
    fn remember(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }
    fn recall(&self) -> Option<Origin> {
        self.origin
    }
    fn entry_of_name(&mut self, name: &str) -> Option<Entry> {
        self.entries.iter().find(|(typed, ..)| *typed == name).map(|(_, name, uid)| entry(name, *uid))
    }
    fn entry_of_uid(&mut self, uid: u32) -> Option<Entry> {
        self.entries.iter().find(|(.., known)| *known == uid).map(|(_, name, uid)| entry(name, *uid))
    }
    fn expiry_day(&mut self, _: &str) -> Option<i64> {
        None
    }
    fn shows_text(&self) -> bool {
        true
    }
    fn tell(&self, tone: Tone, text: &SafeText) {
        self.told.borrow_mut().push(format!("{tone:?}: {text}"));
    }
    fn log(&self, level: Level, line: &str) {
        self.logged.borrow_mut().push((level, line.into()));
    }
}

fn entry(name: &str, uid: u32) -> Entry {
    Entry { name: name.to_owned(), uid }
}

fn run(pam: TestPam, phase: Phase, words: &[&CStr]) -> (Outcome, Vec<(Level, String)>, Vec<String>) {
    let mut pam = pam;
    let outcome = super::run(&mut pam, phase, Args::parse(words));
    (outcome, pam.logged.take(), pam.told.take())
}

fn alice() -> TestPam {
    TestPam { user: Some("alice"), ..TestPam::default() }
}

#[test]
fn log_only_says_so_and_does_nothing_else() {
    let (outcome, logged, told) = run(alice(), Phase::Auth, &[c"log_only", c"config=/nonexistent"]);
    assert_eq!(outcome, Outcome::Ignored);
    assert_eq!(logged, [(Level::Notice, "log_only: would have asked for user alice from 192.0.2.1".into())]);
    assert!(told.is_empty());
}

#[test]
fn log_only_in_the_session_phase_names_the_session_and_lets_pam_go_on_whatever_is_wrong() {
    let (outcome, logged, told) = run(alice(), Phase::Session, &[c"log_only", c"config=/nonexistent"]);
    assert_eq!((outcome, told.len()), (Outcome::Ignored, 0));
    assert!(logged.contains(&(Level::Notice, "session opened for user alice from 192.0.2.1".into())));
    assert!(logged.iter().any(|(level, line)| *level == Level::Warning && line.contains("/nonexistent")));
    assert_eq!(logged.len(), 2);
}

#[test]
fn the_end_of_a_session_is_logged_without_a_word_to_anybody() {
    let mut pam = alice();
    close(&mut pam, &Args::parse(&[c"log_only", c"config=/nonexistent"]).unwrap());
    assert_eq!(pam.logged()[0], (Level::Notice, "session closed for user alice from 192.0.2.1".into()));
    assert!(pam.told().is_empty());
}

/// Reports a session's beginning and end although no socket matches `SSH_CONNECTION`; returns the log lines.
fn from_nowhere(origin: Option<Origin>) -> Vec<String> {
    let env = vec![(c"SSH_CONNECTION", "198.51.100.9 50000 198.51.100.10 22")];
    let mut pam = TestPam { env, origin, ..alice() };
    let args = || Args::parse(&[c"log_only", c"config=/nonexistent"]);
    assert_eq!(super::run(&mut pam, Phase::Session, args()), Outcome::Ignored);
    close(&mut pam, &args().unwrap());
    pam.logged().into_iter().map(|(_, line)| line).filter(|line| !line.contains("/nonexistent")).collect()
}

#[test]
fn a_session_has_the_origin_of_its_login_whatever_is_reported_later() {
    let known = crate::ssh::connection("203.0.113.5 50000 203.0.113.6 22").known();
    let lines = from_nowhere(Some(Origin(known)));
    let expected = ["opened", "closed"].map(|what| format!("session {what} for user alice from 203.0.113.5"));
    assert_eq!(lines, expected);
}

#[test]
fn an_address_without_a_socket_is_not_reported_for_a_session() {
    let lines = from_nowhere(None);
    let doubt = "SSH_CONNECTION names 198.51.100.9:50000, but no socket of this process is connected to it";
    let [opened, closed] =
        ["opened", "closed"].map(|what| format!("session {what} for user alice from 192.0.2.1"));
    assert_eq!(lines, [doubt.to_owned(), opened, closed]);
}

#[test]
fn the_log_has_the_outcome_however_long_the_name() {
    let user: &'static str = "\u{1b}[2J".repeat(400).leak();
    let (outcome, logged, _) = run(TestPam { user: Some(user), ..TestPam::default() }, Phase::Auth, &[]);
    let line = SafeText::new(&logged[0].1);
    assert_eq!(outcome, Outcome::BadUser);
    assert!(line.as_str().contains("… from 192.0.2.1: refused, bad user name"), "{line}");
}

#[test]
fn a_bad_argument_refuses_even_with_log_only() {
    let (outcome, logged, told) = run(alice(), Phase::Account, &[c"log_only", c"nouserok"]);
    assert_eq!(outcome, Outcome::Misconfigured);
    assert_eq!(logged[0], (Level::Error, "argument \"nouserok\" is not known".into()));
    assert_eq!(told.len(), 1);
}

#[test]
fn without_a_first_factor_nobody_is_asked() {
    let (outcome, logged, _) = run(alice(), Phase::Auth, &[]);
    assert_eq!(outcome, Outcome::NoFirstFactor);
    let line = "user alice from 192.0.2.1: refused, no first factor proven (see first_factor=stack)";
    assert_eq!(logged, [(Level::Notice, line.into())]);
}

#[test]
fn an_ssh_connection_that_sshd_never_writes_is_refused_and_not_treated_as_missing() {
    let mut pam = alice();
    pam.env = vec![(c"SSH_CONNECTION", "nonsense")];
    let (outcome, logged, _) = run(pam, Phase::Auth, &[c"first_factor=stack"]);
    assert_eq!(outcome, Outcome::OriginUnverified);
    assert!(logged[0].1.ends_with("(SSH_CONNECTION has a value that sshd never writes)"), "{logged:?}");
}

#[test]
fn a_user_name_that_deceives_is_refused() {
    let deceiver = TestPam { user: Some("al\u{202e}ice"), ..TestPam::default() };
    assert_eq!(run(deceiver, Phase::Auth, &[]).0, Outcome::BadUser);
    assert_eq!(run(TestPam::default(), Phase::Auth, &[]).0, Outcome::BadUser);
}

#[test]
fn a_missing_configuration_refuses_with_an_alert_and_in_the_session_phase_without_a_word() {
    let config = c"config=/nonexistent/pam.toml";
    for (phase, texts) in [(Phase::Auth, 1), (Phase::Account, 1), (Phase::Session, 0)] {
        let (outcome, logged, told) = run(alice(), phase, &[config, c"first_factor=stack"]);
        assert_eq!((outcome, told.len()), (Outcome::Misconfigured, texts));
        assert!(
            logged[0].0 == Level::Alert && logged[0].1.starts_with("/nonexistent/pam.toml: "),
            "{logged:?}"
        );
    }
}

#[test]
fn a_missing_ca_and_credential_are_both_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("pam.toml");
    std::fs::write(
        &config,
        "servers = [\"https://127.0.0.1:1\"]\nca = \"/nonexistent\"\ncredential = \"/nonexistent\"",
    )
    .unwrap();
    let word = std::ffi::CString::new(format!("config={}", config.display())).unwrap();
    let mut pam = alice();
    pam.env = vec![(c"SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")];
    let (outcome, logged, _) = run(pam, Phase::Account, &[&word]);
    assert_eq!(outcome, Outcome::Misconfigured);
    assert_eq!(logged.iter().filter(|(level, _)| *level == Level::Alert).count(), 2, "{logged:?}");
}
