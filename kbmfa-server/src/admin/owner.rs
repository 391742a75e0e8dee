//! Who runs the command line: who is put on record, and whose rights are used.

use kbmfa_proto::text::Shown;
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Failure;
use crate::audit::Actor;

/// `console:NAME` after the login uid, which sudo does not change; without one, after the real uid.
/// `SUDO_USER` is put down as what it is: a claim.
pub(super) fn actor() -> Actor {
    let login_uid = fs::read_to_string("/proc/self/loginuid").ok().and_then(|uid| uid.trim().parse().ok());
    // The kernel says (uid_t)-1 for "never logged in".
    let uid = login_uid.filter(|uid| *uid != u32::MAX).map_or_else(Uid::current, Uid::from_raw);
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    #[expect(clippy::disallowed_methods, reason = "sudo tells its caller's name nowhere else")]
    let claim = std::env::var("SUDO_USER").ok().map(Shown::from);
    Actor { who: format!("console:{}", Shown::new(&name)), claim }
}

/// If root runs this, becomes the owner of `dir`; anybody else stays who they are.
pub(super) fn become_owner_of(dir: &Path) -> Result<(), Failure> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let found = fs::metadata(dir).map_err(|e| {
        Failure::new(format!("cannot look at {}: {e}", dir.display())).hint("`kbmfa-server init` makes it")
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
