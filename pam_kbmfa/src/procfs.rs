//! Reads facts from `/proc`: a process's parent, session and start time, and its sockets.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// The login uid of a process without a login, as the kernel reports it: `(uid_t) -1`.
const NEVER_SET: u32 = u32::MAX;

/// `/proc`, or a model of it in a test.
#[derive(Debug, Clone)]
pub struct Proc {
    root: PathBuf,
}

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// 0 if it is outside this process's pid namespace: for example, if `docker exec` or `nsenter` started
    /// this process.
    pub parent: u32,
    /// The process that leads its session; 0 in the same cases as `parent`.
    pub session: u32,
    /// Clock ticks since boot; distinguishes it from a later process with the same pid.
    pub start: u64,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Proc {
    pub fn at(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_owned() }
    }

    /// A random text that is new at each boot.
    pub fn boot_id(&self) -> io::Result<String> {
        Ok(fs::read_to_string(self.root.join("sys/kernel/random/boot_id"))?.trim().to_owned())
    }

    pub fn process(&self, pid: u32) -> io::Result<Process> {
        let stat = fs::read(self.root.join(pid.to_string()).join("stat"))?;
        parse_stat(&String::from_utf8_lossy(&stat)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The kernel's login uid of this process; `None` if it was never set.
    pub fn login_uid(&self) -> io::Result<Option<u32>> {
        let text = fs::read_to_string(self.root.join("self/loginuid"))?;
        let uid = text.trim().parse::<u32>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok((uid != NEVER_SET).then_some(uid))
    }

    /// The sockets that a process holds, each as its descriptor there and its inode.
    pub fn sockets(&self, pid: u32) -> io::Result<impl Iterator<Item = (RawFd, u64)>> {
        let entries = fs::read_dir(self.root.join(pid.to_string()).join("fd"))?;
        Ok(entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let link = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, parse_socket(link.to_str()?)?))
        }))
    }
}

/// Reads pid, parent (field 4), session (field 6) and start time (field 22) of `/proc/PID/stat`. Field 2 is the program's name
/// in parentheses, and a program may be called `x) S 1 (y`.
pub fn parse_stat(text: &str) -> Option<Process> {
    let pid = text.split(' ').next()?.parse().ok()?;
    let (_name, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, parent, session, start })
}

/// The inode in `socket:[12345]`.
pub fn parse_socket(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_program_name_cannot_deceive_the_parser() {
        let tail = "S 41 42 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 200";
        for name in ["sshd", "x) S 1 (y", ") (", "a b"] {
            let expected = Process { pid: 42, parent: 41, session: 40, start: 98765 };
            assert_eq!(parse_stat(&format!("42 ({name}) {tail}")), Some(expected), "{name}");
        }
        assert_eq!(parse_stat("42 (sshd) S 41"), None);
    }

    #[test]
    fn a_login_uid_that_was_never_set_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("self")).unwrap();
        for (text, expected) in [("4294967295", None), ("0", Some(0)), ("1000\n", Some(1000))] {
            fs::write(dir.path().join("self/loginuid"), text).unwrap();
            assert_eq!(Proc::at(dir.path()).login_uid().unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_real_proc_is_understood() {
        let own = std::process::id();
        let proc = Proc::default();
        let process = proc.process(own).unwrap();
        assert_eq!(process.pid, own);
        assert_eq!(process.parent, std::os::unix::process::parent_id());
        assert!(process.start > 0);
        assert_eq!(proc.boot_id().unwrap().len(), 36);
    }

    proptest! {
        #[test]
        fn no_text_makes_these_parsers_panic(text in "\\PC{0,120}") {
            let _ = parse_stat(&text);
            let _ = parse_socket(&text);
        }

        #[test]
        fn any_name_and_numbers_read_back(name in "[^\0]{0,20}", pid: u32, parent: u32, session: u32, start: u64) {
            let text = format!("{pid} ({name}) S {parent} 0 {session} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 {start} 0");
            prop_assert_eq!(parse_stat(&text), Some(Process { pid, parent, session, start }));
        }
    }
}
