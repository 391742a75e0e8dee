//! The spool: reports that could not be sent, one file each, in a directory that only root can read.
//!
//! A file appears whole or not at all, so a process that dies leaves nothing invalid. Files are not synced: a
//! crash of the machine can lose reports of its last seconds, but never affects a login.

use kbmfa_proto::names::ReportId;
use kbmfa_proto::session::{
    KEPT_KEY_BYTES_MAX, REPORTS_BYTES_MAX, REPORTS_MAX, Reports, SessionEvent, SessionReport,
};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, open, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::str::FromStr;

use crate::files::{self, Kind};
use crate::sys;

/// Maximum number of stored reports. Beyond it each new one replaces the oldest; alarms are dropped last.
const KEPT_MAX: usize = 256;

/// Maximum number of directory entries that are read.
const ENTRIES_MAX: usize = 4 * KEPT_MAX;

/// Age in microseconds after which a partly written file is left over from a crash.
const STALE_US: u64 = 60_000_000;

/// Bytes that the JSON around the reports takes in a body.
const FRAME_BYTES: usize = r#"{"reports":[]}"#.len();

/// Why the spool, or one file in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it belongs to user {0}, not to root")]
    Owner(u32),
    #[error("its mode is {0:04o}; use chmod 0700")]
    Mode(u32),
    #[error("{0}")]
    File(#[from] files::Error),
    #[error("it holds no report of this name")]
    NotAReport,
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// The open directory. It cannot be swapped between check and use.
#[derive(Debug)]
pub struct Spool {
    dir: OwnedFd,
    kept_max: usize,
}

/// The oldest reports that fit into one request.
#[derive(Debug)]
pub struct Batch {
    pub reports: Reports<Box<RawValue>>,
    files: Vec<Name>,
}

/// The fields of a report that the spool needs.
#[derive(Deserialize)]
struct Head {
    id: ReportId,
    #[serde(default)]
    lost: u64,
}

impl Spool {
    /// Opens the spool at `path`; `None` if it does not exist.
    pub fn open(path: &Path) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => File::from(opened?),
        };
        let metadata = dir.metadata()?;
        if ![0, sys::effective_uid()].contains(&metadata.uid()) {
            return Err(Error::Owner(metadata.uid()));
        }
        match metadata.mode() & 0o7777 {
            private if private & !0o700 == 0 => Ok(Some(Self { dir: dir.into(), kept_max: KEPT_MAX })),
            mode => Err(Error::Mode(mode)),
        }
    }

    /// Opens the spool at `path`. Creates it if it does not exist.
    pub fn make(path: &Path) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open(path)?.ok_or_else(|| Error::Io(io::ErrorKind::NotFound.into()))
    }

    /// Stores a report. Returns how many older ones were dropped, and writes that number into the report.
    pub fn keep(&self, mut report: SessionReport) -> Result<u64, Error> {
        let mut kept = self.names()?;
        kept.sort_by_key(|name| (name.alarm, name.clone()));
        let too_many = (kept.len() + 1).saturating_sub(self.kept_max);
        let victims = kept.get(..too_many).unwrap_or_default();
        let lost = victims.iter().map(|name| 1 + self.read(name).map_or(0, |(_, head)| head.lost));
        let lost = lost.fold(0, u64::saturating_add);
        report.lost = report.lost.saturating_add(lost);
        report.key = report.key.filter(|key| key.len() <= KEPT_KEY_BYTES_MAX);
        let text = serde_json::to_vec(&report).map_err(io::Error::from)?;
        self.write(&Name::of(&report), &text)?;
        // Removed last: after a crash some reports may be counted as lost that are not, but no lost one is
        // missing in the count.
        self.remove_all(victims);
        Ok(lost)
    }

    /// The oldest reports, as many as fit into one request. Removes invalid files, and adds a line about each
    /// to `complaints`.
    pub fn batch(&self, complaints: &mut Vec<String>) -> Result<Batch, Error> {
        let mut batch = Batch { reports: Reports { reports: Vec::new() }, files: Vec::new() };
        let mut room = REPORTS_BYTES_MAX - FRAME_BYTES;
        let mut names = self.names()?;
        names.sort();
        for name in names {
            if batch.files.len() == REPORTS_MAX {
                break;
            }
            let report = match self.read(&name) {
                // The process of another login has sent and removed it.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    complaints.push(format!("{name} is removed: {error}"));
                    self.remove(&name.to_string());
                    continue;
                }
                Ok((report, _)) => report,
            };
            // The comma after it is included.
            let bytes = report.get().len() + 1;
            if bytes > room {
                break;
            }
            room -= bytes;
            batch.reports.reports.push(report);
            batch.files.push(name);
        }
        Ok(batch)
    }

    /// Removes reports that the server has accepted.
    pub fn handed_in(&self, batch: &Batch) {
        self.remove_all(&batch.files);
    }

    /// The stored reports, unordered. Files with other names are ignored.
    fn names(&self) -> Result<Vec<Name>, Error> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir)?.take(ENTRIES_MAX) {
            let entry = entry?;
            let Ok(text) = entry.file_name().to_str() else { continue };
            if let Ok(name) = text.parse() {
                names.push(name);
            } else if let Some(Ok(name)) = text.strip_prefix(HALF).map(str::parse::<Name>)
                && u64::try_from(crate::clock::wall_us()).unwrap_or(0).abs_diff(name.at_us) > STALE_US
            {
                self.remove(text);
            }
        }
        Ok(names)
    }

    /// A report as it was written, and its head.
    fn read(&self, name: &Name) -> Result<(Box<RawValue>, Head), Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.dir, name.to_string(), flags, Mode::empty())?;
        let text = files::read_open(File::from(file), Kind::Secret)?;
        let head = serde_json::from_str::<Head>(&text).ok().filter(|head| head.id == name.id);
        let head = head.filter(|_| text.len() < REPORTS_BYTES_MAX - FRAME_BYTES);
        let report = RawValue::from_string(text.as_str().to_owned()).ok();
        report.zip(head).ok_or(Error::NotAReport)
    }

    fn write(&self, name: &Name, text: &[u8]) -> Result<(), Error> {
        let half = format!("{HALF}{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.dir, &half, flags, Mode::RUSR | Mode::WUSR)?);
        let written = file.write_all(text).map_err(Error::from);
        let placed = written.and_then(|()| Ok(renameat(&self.dir, &half, &self.dir, name.to_string())?));
        if placed.is_err() {
            self.remove(&half);
        }
        placed
    }

    fn remove_all(&self, names: &[Name]) {
        for name in names {
            self.remove(&name.to_string());
        }
    }

    /// Removes a report. If that fails it is sent again, which has no effect.
    fn remove(&self, name: &str) {
        let _ = unlinkat(&self.dir, name, AtFlags::empty());
    }
}

/// Prefix of a partly written file's name.
const HALF: &str = ".half-";

/// The name of a report's file: its time, so that names sort by age, the report's id, and whether it is an
/// alarm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    at_us: u64,
    id: ReportId,
    alarm: bool,
}

impl Name {
    fn of(report: &SessionReport) -> Self {
        let alarm = report.event == SessionEvent::LetInUnreachable;
        Self { at_us: u64::try_from(report.at_us).unwrap_or(0), id: report.id.clone(), alarm }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.alarm { "alarm" } else { "report" };
        write!(f, "{:020}-{}.{kind}", self.at_us, self.id)
    }
}

impl FromStr for Name {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (stem, kind) = text.split_once('.').ok_or(())?;
        let (at_us, id) = stem.split_once('-').ok_or(())?;
        let alarm = match kind {
            "alarm" => true,
            "report" => false,
            _ => return Err(()),
        };
        let name = Self { at_us: at_us.parse().map_err(|_| ())?, id: id.parse().map_err(|_| ())?, alarm };
        // Accepts only the canonical spelling, so that the name can be built again from its parts.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

/// Whether the module gives such a name to files in the spool, whole or partly written.
pub fn is_ours(name: &str) -> bool {
    name.strip_prefix(HALF).unwrap_or(name).parse::<Name>().is_ok()
}

#[cfg(test)]
pub mod tests;
