//! The module in the session phase: sshd has let the person in, the module holds or ends the session without
//! showing anything.

use kbmfa_tests::builder::Root;
use kbmfa_tests::recipe::Phase;

use crate::story::{self, Case};

const CASE: Case = Case(Phase::Session, Root::Debian12);

#[test]
fn an_approved_login_gets_in() {
    story::approved(CASE);
}

#[test]
fn a_denied_login_is_told_so() {
    story::denied(CASE);
}

#[test]
fn a_login_that_nobody_answers_expires() {
    story::expired(CASE);
}

#[test]
fn ctrl_c_cancels_the_login() {
    story::interrupted(CASE);
}

#[test]
fn a_killed_client_cancels_the_login() {
    story::killed(CASE);
}

#[test]
fn no_server_means_no_login() {
    story::server_down(CASE);
}

#[test]
fn a_server_with_a_wrong_certificate_lets_nobody_in() {
    story::wrong_certificate(CASE);
}

#[test]
fn nonsense_from_the_server_lets_nobody_in() {
    story::nonsense(CASE);
}

#[test]
fn a_restart_of_the_server_loses_no_login() {
    story::restarted(CASE);
}

#[test]
fn an_outage_longer_than_the_poll_grace_loses_no_login() {
    story::long_outage(CASE);
}

#[test]
fn a_killed_server_loses_no_login() {
    story::server_killed(CASE);
}
