//! The `[admin]` section of the configuration.

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::ffi::CString;
use std::path::{Path, PathBuf};

use crate::settings::Section;

/// Default path of the group's socket.
pub const DEFAULT_PATH: &str = "/run/kbmfa/admin.sock";

/// Longest path of a socket, in bytes: `sun_path` of unix(7), without its final NUL.
const PATH_BYTES_MAX: usize = 107;

/// The group that may list and answer logins without root, and its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The Unix group; `None` if there is no such group.
    pub group: Option<String>,
    /// The socket for it.
    pub socket: PathBuf,
}

impl Settings {
    /// Reads the section. The group is not looked up here, because a failing name service must not keep the
    /// server from starting.
    pub fn read(section: &Section<'_>, state_dir: &Path) -> Self {
        let group = section.parsed_or_none::<String>("group");
        if group.as_deref().is_some_and(|name| !is_group_name(name)) {
            section.fault("group", "write the name of a Unix group");
        }
        let socket: PathBuf = section.parsed("socket", PathBuf::from(DEFAULT_PATH));
        if section.has("socket") && group.is_none() {
            section.fault("socket", "the socket is only made for a group: set group as well");
        }
        if !socket.is_absolute() || socket.as_os_str().len() > PATH_BYTES_MAX {
            section.fault("socket", &format!("write an absolute path of at most {PATH_BYTES_MAX} bytes"));
        } else if socket.starts_with(state_dir) {
            section.fault("socket", "only the server can enter state_dir: choose a path outside");
        }
        Self { group, socket }
    }

    /// Faults of valid keys, for a server that runs as this account.
    pub fn faults(&self, account: Uid) -> Vec<String> {
        let Some(name) = &self.group else { return Vec::new() };
        match Group::from_name(name) {
            Ok(Some(group)) if may_give_to(account, group.gid) => Vec::new(),
            Ok(Some(_)) => {
                let account = User::from_uid(account)
                    .ok()
                    .flatten()
                    .map_or("the server's account".into(), |user| user.name);
                vec![format!(
                    "admin.group: {account} is not in the group {name:?} and cannot give it the socket: usermod -aG {name} {account}, \
                     then restart the server"
                )]
            }
            Ok(None) => {
                vec![format!(
                    "admin.group: there is no group {name:?}, so nobody is in it: groupadd {name}, then restart the server"
                )]
            }
            Err(error) => vec![format!("admin.group: the group {name:?} cannot be looked up: {error}")],
        }
    }
}

/// The id of the group with this name, if there is one.
pub(super) fn gid(name: &str) -> nix::Result<Option<Gid>> {
    Ok(Group::from_name(name)?.map(|group| group.gid))
}

/// Whether this user is in the group, as its primary group or another, by the name service as it is now.
pub(super) fn is_in_group(user: &User, gid: Gid) -> nix::Result<bool> {
    let Ok(name) = CString::new(user.name.as_bytes()) else { return Ok(false) };
    Ok(getgrouplist(&name, user.gid)?.contains(&gid))
}

/// Whether this account may give a file to this group: only root and members may.
fn may_give_to(account: Uid, gid: Gid) -> bool {
    let is_member = || {
        User::from_uid(account).ok().flatten().is_some_and(|user| is_in_group(&user, gid).unwrap_or(false))
    };
    account.is_root() || is_member()
}

fn is_group_name(name: &str) -> bool {
    let is_bad = |c: char| c == ':' || c == ',' || c.is_whitespace() || kbmfa_proto::text::is_invisible(c);
    !name.is_empty() && !name.contains(is_bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::File;

    fn read(text: &str) -> Result<Settings, String> {
        let file = File::new(Path::new("server.toml"), text);
        let section = file.section("admin");
        let settings = Settings::read(&section, Path::new("/var/lib/kbmfa"));
        section.finish();
        file.finish().map(|()| settings).map_err(|faults| faults.to_string())
    }

    #[test]
    fn without_a_group_there_is_nothing_for_anybody_but_root() {
        let settings = read("").unwrap();
        assert_eq!(settings, Settings { group: None, socket: DEFAULT_PATH.into() });
        assert!(read("[admin]\nsocket = \"/run/x/a.sock\"").unwrap_err().contains("set group as well"));
    }

    #[test]
    fn a_socket_that_nobody_could_reach_is_a_fault() {
        let with = |socket: &str| read(&format!("[admin]\ngroup = \"ops\"\nsocket = {socket:?}"));
        assert_eq!(with("/run/x/a.sock").unwrap().socket, Path::new("/run/x/a.sock"));
        assert!(with("a.sock").unwrap_err().contains("absolute"));
        assert!(with(&format!("/{}", "x".repeat(107))).unwrap_err().contains("absolute"));
        assert!(with("/var/lib/kbmfa/a.sock").unwrap_err().contains("choose a path outside"));
        for group in ["", "a b", "a:b"] {
            assert!(
                read(&format!("[admin]\ngroup = {group:?}")).unwrap_err().contains("Unix group"),
                "{group:?}"
            );
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_named() {
        let settings = Settings { group: Some("no-such-group".into()), socket: DEFAULT_PATH.into() };
        let faults = settings.faults(Uid::from_raw(0));
        assert_eq!(
            faults,
            [
                "admin.group: there is no group \"no-such-group\", so nobody is in it: groupadd no-such-group, then restart the server"
            ]
        );
        let root = Settings { group: Some("root".into()), ..settings };
        assert_eq!(root.faults(Uid::from_raw(0)), Vec::<String>::new());
    }

    #[test]
    fn members_are_those_of_the_group_list_and_of_the_primary_group() {
        let root = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        assert_eq!(is_in_group(&root, Gid::from_raw(0)), Ok(true));
        assert_eq!(is_in_group(&root, Gid::from_raw(64_123)), Ok(false));
    }
}
