//! Resolves the account of a login with the machine's own name service, and for local programs the account of
//! the caller. A name as typed is only displayed, because a name service may fold case or accept
//! `name@domain`.

use kbmfa_proto::account::LocalCaller;
use kbmfa_proto::login::{Account, SshConnection};
use kbmfa_proto::names::{BadName, UserName};

use crate::pam::{Item, Pam};
use crate::procfs::Proc;
use crate::sys;

/// An account as the name service knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) user: UserName,
    /// The name as typed, if it differs.
    pub(crate) typed: Option<UserName>,
    pub(crate) account: Account,
    pub(crate) uid: Option<u32>,
    /// The account that the name service has for the uid, if that is another account: a second name of the
    /// same person.
    pub(crate) uid_user: Option<UserName>,
}

/// Looks the account up. An unknown account keeps the name as typed.
///
/// # Errors
/// If the account's own name cannot be displayed.
pub(crate) fn resolve(pam: &mut impl Pam, typed: UserName) -> Result<Resolved, BadName> {
    let Some(entry) = pam.entry_of_name(typed.as_str()) else {
        return Ok(Resolved {
            user: typed,
            typed: None,
            account: Account::Missing,
            uid: None,
            uid_user: None,
        });
    };
    let user = UserName::try_from(entry.name)?;
    let uid_user = pam.entry_of_uid(entry.uid).and_then(|owner| UserName::try_from(owner.name).ok());
    Ok(Resolved {
        typed: Some(typed).filter(|typed| *typed != user),
        account: Account::Known,
        uid: Some(entry.uid),
        uid_user: uid_user.filter(|owner| *owner != user),
        user,
    })
}

/// The account that runs the calling program; `None` if the program serves the network, or if it is unknown.
pub(crate) fn caller(pam: &mut impl Pam, proc: &Proc, ssh: Option<SshConnection>) -> Option<LocalCaller> {
    if ssh.is_some() {
        return None;
    }
    let uid = sys::real_uid();
    let mut name = |uid| pam.entry_of_uid(uid).and_then(|entry| UserName::try_from(entry.name).ok());
    let user = name(uid);
    let login_user = proc.login_uid().ok().flatten().and_then(name);
    let ruser = pam.item(Item::RUser).and_then(|name| UserName::try_from(name).ok());
    // Root without a login is a service, not a person.
    let is_somebody = uid != 0 || login_user.is_some() || ruser.is_some();
    is_somebody.then_some(LocalCaller { uid, user, login_user, ruser })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::tests::TestPam;

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(entries: &'static [(&'static str, &'static str, u32)], typed: &str, expected: &Resolved) {
        let mut pam = TestPam::knowing(entries);
        assert_eq!(resolve(&mut pam, name(typed)).as_ref(), Ok(expected));
    }

    #[test]
    fn the_account_is_what_the_name_service_calls_it_whatever_was_typed() {
        let alice = Resolved {
            user: name("alice"),
            typed: None,
            account: Account::Known,
            uid: Some(1000),
            uid_user: None,
        };
        let folding = &[("alice", "alice", 1000), ("ALICE", "alice", 1000)];
        check(folding, "alice", &alice);
        check(folding, "ALICE", &Resolved { typed: Some(name("ALICE")), ..alice.clone() });
        let missing = Resolved { user: name("bob"), account: Account::Missing, uid: None, ..alice.clone() };
        check(folding, "bob", &missing);
    }

    #[test]
    fn a_second_name_of_the_same_uid_names_the_first() {
        let entries = &[("alice", "alice", 1000), ("deploy", "deploy", 1000)];
        let mut pam = TestPam::knowing(entries);
        let resolved = resolve(&mut pam, name("deploy")).unwrap();
        assert_eq!((resolved.user, resolved.uid_user), (name("deploy"), Some(name("alice"))));
    }

    #[test]
    fn an_account_whose_name_cannot_be_displayed_is_refused() {
        let entries = &[("alice", "al\u{202e}ice", 1000)];
        assert!(resolve(&mut TestPam::knowing(entries), name("alice")).is_err());
    }

    #[test]
    fn an_ssh_connection_has_no_local_caller() {
        let ssh = crate::ssh::connection("192.0.2.1 50000 192.0.2.2 22").known();
        assert!(ssh.is_some());
        assert_eq!(caller(&mut TestPam::default(), &Proc::default(), ssh), None);
    }
}
