//! Who runs the command line: the name for the audit log, and the rights that a verb runs with.

use kbmfa_proto::text::SafeText;
use nix::unistd::{AccessFlags, Gid, Group, Uid, User, access, initgroups, setegid, seteuid, setgid, setuid};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::admin_socket::LoginUid;
use crate::audit::Actor;
use crate::db;
use crate::http::Certificate;

/// The actor `console:NAME`: named after the login uid, which sudo does not change, or after the real uid if
/// there is none. `SUDO_USER` is recorded as a claim.
pub(super) fn actor() -> Actor {
    let uid = login_uid().map_or_else(Uid::current, Uid::from_raw);
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    #[expect(clippy::disallowed_methods, reason = "only this variable has the name of sudo's caller")]
    let claim = std::env::var("SUDO_USER").ok().map(SafeText::from);
    Actor { who: format!("console:{}", SafeText::new(&name)), claim }
}

/// The warning if [`has_login`] is false and `Config::tells_console_approvers_apart`.
pub(super) const NO_LOGIN_UID: &str = "no login uid is set in this session, and a rule tells approvers at the console apart: \
     answers from here do not count";

/// The fix for [`NO_LOGIN_UID`].
pub(super) const GET_A_LOGIN_UID: &str = "log in to the server by ssh with pam_loginuid in its session lines, and answer from \
     there; a container's exec sets none. Members of [admin] group answer as themselves without one";

/// True if the kernel has a login uid for this process. In a container it often has none, and then everybody
/// with sudo is root.
pub(super) fn has_login() -> bool {
    login_uid().is_some()
}

fn login_uid() -> Option<u32> {
    match LoginUid::own() {
        LoginUid::Set(uid) => Some(uid),
        LoginUid::Unset | LoginUid::Gone => None,
    }
}

/// Does this work with the rights of that account, and returns to root afterwards. Files in a directory of
/// the account are created with its rights, so a planted link leads only to where the account could write
/// itself. Use it only for work that reads nothing of the account: a verb that opens its database gives root
/// up for good ([`become_owner_of`]).
pub(super) fn as_owner<T>(
    (uid, gid): (Uid, Gid),
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let refused = |error| Failure::new(format!("cannot act as uid {uid}: {error}"));
    let groups = nix::unistd::getgroups().map_err(refused)?;
    let become_owner = || {
        nix::unistd::setgroups(&[gid])?;
        setegid(gid)?;
        seteuid(uid)
    };
    let become_root = || {
        seteuid(Uid::from_raw(0))?;
        setegid(Gid::from_raw(0))?;
        nix::unistd::setgroups(&groups)
    };
    let done = become_owner().map_err(refused).and_then(|()| work());
    become_root().map_err(refused)?;
    done
}

/// If root runs this, switches to the owner of `dir`. Other accounts change nothing.
pub(super) fn become_owner_of(dir: &Path) -> Result<(), Failure> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let found = fs::metadata(dir).map_err(|e| {
        Failure::new(format!("cannot access {}: {e}", dir.display())).hint(
            "`kbmfa-server init` makes it; to restore a backup on a new host, make it first: install -d -o kbmfa -m 700 DIR",
        )
    })?;
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    if uid.is_root() {
        return Ok(());
    }
    let refused = |e| Failure::new(format!("cannot become uid {uid}, the owner of {}: {e}", dir.display()));
    let name = User::from_uid(uid).ok().flatten().and_then(|user| std::ffi::CString::new(user.name).ok());
    match name {
        Some(name) => initgroups(&name, gid).map_err(refused)?,
        None => nix::unistd::setgroups(&[gid]).map_err(refused)?,
    }
    setgid(gid).map_err(refused)?;
    setuid(uid).map_err(refused)
}

/// Name of the effective account: after root is given up, the one that the server runs as.
pub(super) fn account() -> String {
    name_of(Uid::effective())
}

fn name_of(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// The command that lets this account read `path` without changing its owner.
pub(super) fn let_read(path: &Path) -> String {
    let gid = Gid::effective();
    let group = Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name);
    let path = path.display();
    format!("`chgrp {group} {path} && chmod 640 {path}`, and let {group} into the folders above it")
}

/// A problem and its fix.
pub(super) struct Refused {
    pub(super) found: String,
    pub(super) fix: String,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::new(refused.found).hint(refused.fix)
    }
}

/// Checks that this account can use an existing file of the server. Such a file must not be created again.
///
/// # Errors
/// The file, and the command that gives it back to this account.
pub(super) fn check_own(path: &Path, needed: AccessFlags) -> Result<(), Refused> {
    let (shown, account) = (path.display(), account());
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(Refused {
                found: format!("{account} cannot access {shown}: {error}"),
                fix: "run this as root, or as the account that owns the state directory".to_owned(),
            });
        }
        Err(_) => return Ok(()),
    };
    if access(path, needed).is_ok() {
        return Ok(());
    }
    let owner = name_of(Uid::from_raw(found.uid()));
    Err(Refused {
        found: format!(
            "{shown} belongs to {owner} (mode {:o}), and {account} cannot use it",
            found.mode() & 0o7777
        ),
        fix: format!("`chown {account}: {shown} && chmod 600 {shown}`; do not create it again"),
    })
}

/// [`check_own`] for the database and the files that SQLite keeps beside it.
///
/// # Errors
/// The first unusable file, and the command that gives it back.
pub(super) fn check_database(state_dir: &Path) -> Result<(), Refused> {
    let beside = |suffix: &str| -> PathBuf { state_dir.join(format!("{}{suffix}", db::FILE)) };
    ["", "-wal", "-shm"]
        .into_iter()
        .try_for_each(|suffix| check_own(&beside(suffix), AccessFlags::R_OK | AccessFlags::W_OK))
}

/// [`check_own`] for the certificate and its key. The operator's own files keep their owner.
///
/// # Errors
/// The first unreadable file, and the command that lets this account read it.
pub(super) fn check_certificate(certificate: &Certificate) -> Result<(), Refused> {
    certificate.files().iter().try_for_each(|path| {
        check_own(path, AccessFlags::R_OK).map_err(|refused| match certificate {
            Certificate::Ours(_) => refused,
            Certificate::Own { .. } => Refused { fix: let_read(path), ..refused },
        })
    })
}
