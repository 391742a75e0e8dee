//! Versions of OpenSSH: the tests of every phase end the same way with each. The tests with 9.2 are in
//! `account.rs`, `auth.rs` and `session.rs`; `make test` runs the shorter ones with 10.0 too, `make
//! test-matrix` all of them with all three.

use kbmfa_tests::builder::Root;
use kbmfa_tests::recipe::Phase;
use kbmfa_tests::world::World;

use crate::sessions;
use crate::story::{self, Case, stories};

/// Declares the stories of one phase, and one of a session. With `$often` the short ones do not run in `make
/// test` either.
macro_rules! stories_of {
    ($phase:ident, $case:expr $(, $often:meta)?) => {
        mod $phase {
            use super::*;

            stories!($case, short: [$($often)?], long: [ignore = "make test-matrix"]);
            tell!(a_session_is_told_of_from_open_to_close, sessions::told_from_open_to_close, $case $(, $often)?);
        }
    };
}

mod debian_12 {
    use super::*;

    #[test]
    fn runs_openssh_9_2() {
        says_it_is(Root::Debian12, "OpenSSH_9.2p1");
    }

    #[test]
    fn what_the_person_is_told_in_the_auth_phase_comes_at_the_end() {
        assert_eq!(story::told_meanwhile(Root::Debian12), "");
    }
}

mod debian_13 {
    use super::*;

    stories_of!(account, Case(Phase::Account, Root::Debian13));
    stories_of!(auth, Case(Phase::Auth, Root::Debian13));
    stories_of!(session, Case(Phase::Session, Root::Debian13));

    #[test]
    fn runs_openssh_10_0() {
        says_it_is(Root::Debian13, "OpenSSH_10.0p");
    }

    #[test]
    fn without_a_server_sessions_are_reported_once_later() {
        sessions::kept_and_sent_once(Root::Debian13);
    }

    #[test]
    #[ignore = "make test-matrix"]
    fn what_the_person_is_told_in_the_auth_phase_comes_at_the_end() {
        assert_eq!(story::told_meanwhile(Root::Debian13), "");
    }
}

mod debian_14 {
    use super::*;

    stories_of!(account, Case(Phase::Account, Root::Debian14), ignore = "make test-matrix");
    stories_of!(auth, Case(Phase::Auth, Root::Debian14), ignore = "make test-matrix");
    stories_of!(session, Case(Phase::Session, Root::Debian14), ignore = "make test-matrix");

    /// Debian 14's version changes. The recipes' statements about it hold from 10.3 on.
    #[test]
    #[ignore = "make test-matrix"]
    fn runs_openssh_10_3_or_newer() {
        let minor = says_it_is(Root::Debian14, "OpenSSH_10.").split('p').next().unwrap().parse::<u32>();
        assert!(minor.unwrap() >= 3);
    }

    #[test]
    #[ignore = "make test-matrix"]
    fn without_a_server_sessions_are_reported_once_later() {
        sessions::kept_and_sent_once(Root::Debian14);
    }

    #[test]
    #[ignore = "make test-matrix"]
    fn what_the_person_is_told_in_the_auth_phase_comes_at_once() {
        assert_eq!(story::told_meanwhile(Root::Debian14), story::ASKED);
    }
}

/// Runs sshd to print its version, and returns the text after `version`.
fn says_it_is(root: Root, version: &str) -> String {
    let machine = World::new().machine().phase(Phase::Account).root(root).start();
    let banner = machine.banner();
    println!("{root:?}: {banner}");
    let rest = banner.strip_prefix("SSH-2.0-").and_then(|rest| rest.strip_prefix(version));
    rest.unwrap_or_else(|| panic!("{banner}, not {version}")).to_owned()
}
