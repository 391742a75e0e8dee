//! Debian 13's OpenSSH 10, which serves each connection in a program of its own and penalises failures: the
//! same stories end the same way.

use insta::assert_snapshot;
use kbmfa_tests::builder::Root;
use kbmfa_tests::recipe::Phase;

use crate::story::{self, Case};

const ACCOUNT: Case = Case(Phase::Account, Root::Debian13);
const AUTH: Case = Case(Phase::Auth, Root::Debian13);
const SESSION: Case = Case(Phase::Session, Root::Debian13);

#[test]
fn account_an_approved_login_gets_in() {
    assert_snapshot!(story::approved(ACCOUNT), @r"
    in
    exit 0
    ");
}

#[test]
fn account_a_denied_login_is_told_so() {
    assert_snapshot!(story::denied(ACCOUNT), @r"
    Login <id> was denied.
    Connection closed by 127.0.0.1 port <port>
    exit 255
    ");
}

#[test]
fn account_a_login_that_nobody_answers_expires() {
    assert_snapshot!(story::expired(ACCOUNT), @r"
    Nobody approved login <id> in time.
    Connection closed by 127.0.0.1 port <port>
    exit 255
    ");
}

#[test]
fn account_ctrl_c_cancels_the_login() {
    story::interrupted(ACCOUNT);
}

#[test]
fn auth_an_approved_login_gets_in() {
    assert_snapshot!(story::approved(AUTH), @r"
    in
    Login <id> needs an approval; asked for one (up to <seconds> s).
    exit 0
    ");
}

#[test]
fn auth_a_denied_login_is_told_so() {
    assert_snapshot!(story::denied(AUTH), @r"
    Login <id> needs an approval; asked for one (up to <seconds> s).
    Login <id> was denied.

    alice@127.0.0.1: Permission denied ().
    exit 255
    ");
}

#[test]
fn auth_a_login_that_nobody_answers_expires() {
    assert_snapshot!(story::expired(AUTH), @r"
    Login <id> needs an approval; asked for one (up to <seconds> s).
    Nobody approved login <id> in time.

    alice@127.0.0.1: Permission denied ().
    exit 255
    ");
}

#[test]
fn auth_ctrl_c_cancels_the_login() {
    story::interrupted(AUTH);
}

#[test]
fn session_an_approved_login_gets_in() {
    assert_snapshot!(story::approved(SESSION), @r"
    in
    exit 0
    ");
}

#[test]
fn session_a_denied_login_is_told_so() {
    assert_snapshot!(story::denied(SESSION), @"exit 254");
}

#[test]
fn session_a_login_that_nobody_answers_expires() {
    assert_snapshot!(story::expired(SESSION), @"exit 254");
}

#[test]
fn session_ctrl_c_cancels_the_login() {
    story::interrupted(SESSION);
}
