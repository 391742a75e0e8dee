//! The peer of a connection, and the requests that it may make. The look-up of its account blocks; the
//! decision is pure.

use kbmfa_proto::text::SafeText;
use nix::unistd::{Uid, User};

use super::LoginUid;
use super::request::Request;
use super::settings;
use crate::policy::Approver;

/// The overflow uid. The kernel reports it for every uid of another user namespace, so it may be several
/// people.
const OVERFLOW_UID: u32 = 65_534;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// The uid, for the log, with the account's name if that was looked up.
    pub(super) who: String,
    pub(super) access: Access,
}

/// The rights of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// Root and the server's own account may do everything except answer a login. They answer in the
    /// database, where the login uid identifies them.
    Full,
    /// A member of the group may see and answer logins, as this person.
    Logins(Approver),
    /// Somebody who used su or sudo to become a member may only see logins.
    View,
    /// Everybody else may do nothing.
    Nothing,
}

/// Why a peer may not make a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// Only root and the server's account may.
    NotRoot,
    /// The peer is not in the group.
    NotInGroup,
    /// Root does not identify a person.
    NoPerson,
    /// Another account logged in, and then became this one.
    OtherLogin,
}

impl Access {
    /// Checks that this request is allowed. For an answer, returns the approver.
    pub(super) fn to(&self, request: &Request) -> Result<Option<&Approver>, Denial> {
        match (self, request) {
            (Self::Nothing, _) => Err(Denial::NotInGroup),
            (Self::Full, Request::Approve(_) | Request::Deny(_)) => Err(Denial::NoPerson),
            (Self::View, Request::Approve(_) | Request::Deny(_)) => Err(Denial::OtherLogin),
            (
                Self::Logins(_) | Self::View,
                Request::Notify {}
                | Request::Reload {}
                | Request::SendInvite(_)
                | Request::ProvisionLook { .. }
                | Request::ProvisionRun { .. }
                | Request::MachineSurvey { .. },
            ) => Err(Denial::NotRoot),
            (Self::Full, _) | (Self::View, Request::List(_) | Request::Show { .. } | Request::Watch(_)) => {
                Ok(None)
            }
            (
                Self::Logins(person),
                Request::List(_)
                | Request::Show { .. }
                | Request::Watch(_)
                | Request::Approve(_)
                | Request::Deny(_),
            ) => Ok(Some(person)),
        }
    }
}

/// Whether this is root or the account that the server runs as.
pub(super) fn is_own(uid: Uid) -> bool {
    uid.is_root() || uid == Uid::effective()
}

impl Peer {
    /// The peer if it is root or the server's account, for whom nothing has to be looked up.
    pub(super) fn own(uid: Uid) -> Option<Self> {
        is_own(uid).then(|| Self { who: format!("uid {uid}"), access: Access::Full })
    }

    /// Looks up the rights of this uid in the name service. Blocks.
    ///
    /// # Errors
    /// The error of the name service. The peer then has no rights.
    pub(super) fn look_up(uid: Uid, login: LoginUid, group: Option<&str>) -> nix::Result<Self> {
        if let Some(own) = Self::own(uid) {
            return Ok(own);
        }
        let nobody = Self { who: format!("uid {uid}"), access: Access::Nothing };
        let user = User::from_uid(uid)?.filter(|user| user.uid == uid && uid.as_raw() != OVERFLOW_UID);
        let Some(user) = user else { return Ok(nobody) };
        let stranger = Self { who: format!("uid {uid} ({})", SafeText::new(&user.name)), ..nobody };
        let Some(gid) = group.map(settings::gid).transpose()?.flatten() else { return Ok(stranger) };
        if !settings::is_in_group(&user, gid)? {
            return Ok(stranger);
        }
        let access = match login {
            LoginUid::Set(login) if login != uid.as_raw() => Access::View,
            LoginUid::Gone => Access::View,
            // A name that no approver can have gives no rights.
            LoginUid::Set(_) | LoginUid::Unset => {
                Approver::console(&user.name).map_or(Access::View, Access::Logins)
            }
        };
        Ok(Self { access, ..stranger })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin_socket::request::{Decision, Hidden, InviteMessage, ListQuery, WatchQuery};
    use crate::clock::Time;

    #[test]
    fn each_verb_is_allowed_as_in_the_table() {
        let decision = Decision { id: "3f9a2c1e".into(), reason: None };
        let watch = WatchQuery { seen: None, noticed: Time::from_micros(0) };
        let invite = InviteMessage {
            id: "i".into(),
            secret: Hidden("s".into()),
            command: "c".into(),
            downloads: vec![],
        };
        let alice = Approver::console("alice").unwrap();
        let member = Access::Logins(alice.clone());
        let table = [
            (Request::Notify {}, Ok(None), Err(Denial::NotRoot)),
            (Request::Reload {}, Ok(None), Err(Denial::NotRoot)),
            (Request::SendInvite(invite), Ok(None), Err(Denial::NotRoot)),
            (Request::List(ListQuery::default()), Ok(None), Ok(Some(&alice))),
            (Request::Show { id: String::new() }, Ok(None), Ok(Some(&alice))),
            (Request::Watch(watch), Ok(None), Ok(Some(&alice))),
            (Request::Approve(decision.clone()), Err(Denial::NoPerson), Ok(Some(&alice))),
            (Request::Deny(decision), Err(Denial::NoPerson), Ok(Some(&alice))),
        ];
        for (request, by_root, by_member) in table {
            let in_a_session_of_another = match request {
                Request::Approve(_) | Request::Deny(_) => Err(Denial::OtherLogin),
                _ => by_member.map(|_| None),
            };
            assert_eq!(Access::View.to(&request), in_a_session_of_another, "{request:?}");
            assert_eq!(Access::Full.to(&request), by_root, "{request:?}");
            assert_eq!(member.to(&request), by_member, "{request:?}");
            assert_eq!(Access::Nothing.to(&request), Err(Denial::NotInGroup), "{request:?}");
        }
    }

    #[test]
    fn a_peer_without_a_group_or_account_has_no_rights() {
        let access = |uid, group| Peer::look_up(uid, LoginUid::Unset, group).map(|peer| peer.access);
        let stranger = Uid::from_raw(4_000_123);
        assert_eq!(access(Uid::from_raw(0), None), Ok(Access::Full));
        assert_eq!(access(Uid::effective(), None), Ok(Access::Full));
        for group in [None, Some("root"), Some("no-such-group")] {
            assert_eq!(access(stranger, group), Ok(Access::Nothing), "{group:?}");
            assert_eq!(access(Uid::from_raw(OVERFLOW_UID), group), Ok(Access::Nothing), "{group:?}");
        }
        // `daemon` exists on every Debian, and its primary group is its own.
        let daemon = User::from_name("daemon").unwrap().unwrap().uid;
        let person = Approver::console("daemon").unwrap();
        assert_eq!(access(daemon, Some("daemon")), Ok(Access::Logins(person)));
        assert_eq!(access(daemon, Some("root")), Ok(Access::Nothing));
        let logged_in = |login| Peer::look_up(daemon, login, Some("daemon")).map(|peer| peer.access);
        assert!(matches!(logged_in(LoginUid::Set(daemon.as_raw())), Ok(Access::Logins(_))));
        for other in [LoginUid::Set(0), LoginUid::Set(2001), LoginUid::Gone] {
            assert_eq!(logged_in(other), Ok(Access::View), "{other:?}");
        }
        assert_eq!(
            Peer::look_up(daemon, LoginUid::Unset, None).unwrap().who,
            format!("uid {daemon} (daemon)")
        );
    }
}
