//! The Unix account that a machine reports: as its name service knows it, not as somebody typed it.

use serde::{Deserialize, Serialize};

use crate::names::UserName;

/// The caller of a local program such as su or sudo. Each name except `ruser` is the machine's own name for a
/// uid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalCaller {
    /// The process's real uid. 0 under sudo, which becomes root before it calls PAM.
    pub uid: u32,
    /// The account of that uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The account of the kernel's login uid, which logged in. Absent if none was set, as in a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_user: Option<UserName>,
    /// `PAM_RUSER`: the account that the program itself names as its caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruser: Option<UserName>,
}

impl LocalCaller {
    /// The calling account: that of the real uid. If that is root, the account that the program names.
    pub fn account(&self) -> Option<&UserName> {
        if self.uid == 0 { self.ruser.as_ref().or(self.user.as_ref()) } else { self.user.as_ref() }
    }

    /// The account that logged in, if it differs from the calling account.
    pub fn other_login(&self) -> Option<&UserName> {
        self.login_user.as_ref().filter(|login| Some(*login) != self.account())
    }

    /// Every account that is named.
    pub fn accounts(&self) -> impl Iterator<Item = &UserName> {
        [&self.user, &self.login_user, &self.ruser].into_iter().flatten()
    }
}

/// Makes uid 0 `root` under any name. Its other name is kept in `typed`, unless another name was typed.
pub(crate) fn root_is_root(user: &mut UserName, typed: &mut Option<UserName>, uid: Option<u32>) {
    let root = UserName::root();
    if uid == Some(0) && *user != root {
        let alias = std::mem::replace(user, root);
        typed.get_or_insert(alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    #[test]
    fn uid_0_is_root_under_any_name() {
        let check = |user: &str, typed: Option<&str>, uid, expected: (&str, Option<&str>)| {
            let (mut user, mut typed) = (name(user), typed.map(name));
            root_is_root(&mut user, &mut typed, uid);
            assert_eq!((user.as_str(), typed.as_ref().map(UserName::as_str)), expected);
        };
        check("toor", None, Some(0), ("root", Some("toor")));
        check("toor", Some("TOOR"), Some(0), ("root", Some("TOOR")));
        check("root", None, Some(0), ("root", None));
        check("toor", None, Some(1), ("toor", None));
        check("toor", None, None, ("toor", None));
    }

    #[test]
    fn under_sudo_the_caller_is_whom_sudo_names() {
        let sudo =
            LocalCaller { uid: 0, user: Some(name("root")), ruser: Some(name("alice")), login_user: None };
        let su = LocalCaller { uid: 1000, user: Some(name("bob")), ..sudo.clone() };
        assert_eq!(sudo.account(), Some(&name("alice")));
        assert_eq!(su.account(), Some(&name("bob")));
    }
}
