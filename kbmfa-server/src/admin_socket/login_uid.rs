//! The kernel's login uid: the account that logged in, whatever su or sudo did since.

use std::fs;
use std::path::Path;

/// What the login uid says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginUid {
    /// The account with this uid logged in.
    Set(u32),
    /// There is none, as in a container or a service, or this system does not show it.
    Unset,
    /// The process has ended.
    Gone,
}

impl LoginUid {
    /// The login uid of this process.
    pub fn own() -> Self {
        Self::at(Path::new("/proc"), "self")
    }

    /// The login uid of the connected process, by the pid that the kernel reports. The pid 0 means another
    /// pid namespace.
    pub(super) fn of_peer(pid: Option<i32>) -> Self {
        match pid {
            Some(pid) if pid > 0 => Self::at(Path::new("/proc"), &pid.to_string()),
            _ => Self::Unset,
        }
    }

    fn at(proc: &Path, process: &str) -> Self {
        let dir = proc.join(process);
        match fs::read_to_string(dir.join("loginuid")) {
            Ok(text) => text.trim().parse().map_or(Self::Unset, Self::read),
            // With hidepid= the processes of other accounts are invisible, even process 1.
            Err(_) if !dir.exists() && proc.join("1").exists() => Self::Gone,
            Err(_) => Self::Unset,
        }
    }

    /// `(uid_t)-1` means that no login uid was set.
    fn read(uid: u32) -> Self {
        if uid == u32::MAX { Self::Unset } else { Self::Set(uid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_uid_is_set_or_unset_and_a_process_that_is_gone_is_neither() {
        let proc = tempfile::tempdir().unwrap();
        let make = |process: &str, text: Option<&str>| {
            let dir = proc.path().join(process);
            fs::create_dir(&dir).unwrap();
            if let Some(text) = text {
                fs::write(dir.join("loginuid"), text).unwrap();
            }
        };
        let of = |process: &str| LoginUid::at(proc.path(), process);
        assert_eq!(of("7"), LoginUid::Unset, "no process is shown here");
        make("1", Some("4294967295"));
        make("2", Some("2001\n"));
        make("3", None);
        assert_eq!(of("1"), LoginUid::Unset);
        assert_eq!(of("2"), LoginUid::Set(2001));
        assert_eq!(of("3"), LoginUid::Unset, "a kernel without audit");
        assert_eq!(of("7"), LoginUid::Gone);
        assert_eq!(LoginUid::of_peer(Some(0)), LoginUid::Unset);
        assert_eq!(LoginUid::of_peer(None), LoginUid::Unset);
    }
}
