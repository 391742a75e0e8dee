//! The syslog of one machine: a datagram socket that collects all lines of its programs.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::wait::until;

/// `LOG_AUTHPRIV`, where PAM modules log.
pub const AUTHPRIV: u32 = 10;

/// The severities that tests use.
pub mod severity {
    #![allow(missing_docs, reason = "syslog(3) has them")]
    pub const ALERT: u32 = 1;
    pub const CRIT: u32 = 2;
    pub const ERR: u32 = 3;
    pub const WARNING: u32 = 4;
    pub const NOTICE: u32 = 5;
    pub const INFO: u32 = 6;
}

/// One line, as a program sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The facility, such as [`AUTHPRIV`].
    pub facility: u32,
    /// Its severity, see [`severity`].
    pub severity: u32,
    /// The text after the time: `sshd[7]: pam_kbmfa(sshd:account): ...`.
    pub text: String,
}

/// Collects lines until it is dropped.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    lines: Arc<Mutex<Vec<Line>>>,
    thread: Option<JoinHandle<()>>,
}

impl Syslog {
    /// Listens at `path`, which is mounted as the machine's `/dev/log`.
    pub fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        crate::files::set_mode(path, 0o666);
        let lines = Arc::new(Mutex::new(vec![]));
        let collected = Arc::clone(&lines);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 8192];
            // `drop` ends the thread with an empty datagram.
            while let Ok(length @ 1..) = socket.recv(&mut buffer) {
                let line = parse(&String::from_utf8_lossy(&buffer[..length]));
                collected.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { path: path.to_owned(), lines, thread: Some(thread) }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines that contain `part`; waits until there is at least one.
    pub fn lines_with(&self, part: &str) -> Vec<Line> {
        self.so_many_with(1, part)
    }

    /// The lines that contain `part`; waits until there are at least this many.
    pub fn so_many_with(&self, count: usize, part: &str) -> Vec<Line> {
        until(&format!("'{part}' in the syslog, {count} times"), || {
            let mut lines = self.lines();
            lines.retain(|line| line.text.contains(part));
            (lines.len() >= count).then_some(lines)
        })
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        if UnixDatagram::unbound().unwrap().send_to(&[], &self.path).is_ok() {
            self.thread.take().unwrap().join().ok();
        }
    }
}

/// Parses `<86>Nov 21 21:00:00 sshd[7]: text`. The time has a fixed length.
fn parse(datagram: &str) -> Line {
    let (priority, rest) = datagram.trim_start_matches('<').split_once('>').unwrap_or(("0", datagram));
    let priority: u32 = priority.parse().unwrap_or_default();
    let text = rest.get("Nov 21 21:00:00 ".len()..).unwrap_or(rest);
    Line {
        facility: priority / 8,
        severity: priority % 8,
        text: text.trim_end_matches(['\n', '\0']).to_owned(),
    }
}
