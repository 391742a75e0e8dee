//! Rules for trusting a file, shared by the module and the server: type, owner and mode. Everything is pure
//! except reading modes and owners.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The sticky bit: in a directory that has it, people can remove and rename only their own files.
const STICKY: u32 = 0o1000;

/// Who may read a file. Nobody but its owner may write to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Everybody.
    All,
    /// Its owner and its group.
    Group,
    /// Its owner alone.
    Owner,
}

/// Why a file or directory is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It is a directory, a device or the like.
    #[error("it is not a regular file")]
    NotAFile,
    /// This user owns it, who is neither root nor the expected account.
    #[error("it belongs to user {0}, not to root")]
    Owner(u32),
    /// Others could write to it, with this mode.
    #[error("its mode is {0:04o}: others could write to it; use chmod go-w")]
    Writable(u32),
    /// Others could read it, with this mode.
    #[error("its mode is {0:04o}: others could read it; use chmod {fix}", fix = chmod(*.1))]
    Readable(u32, Readers),
}

/// The chmod argument that removes the excess rights to read.
fn chmod(readers: Readers) -> &'static str {
    if readers == Readers::Group { "o-rwx" } else { "0600" }
}

impl Distrust {
    /// The command that fixes it.
    pub fn fix(self, path: &Path, owner: &str) -> String {
        let path = path.display();
        match self {
            Self::NotAFile => format!("replace {path} by a regular file"),
            Self::Owner(_) => format!("chown {owner} {path}"),
            Self::Writable(_) => format!("chmod go-w {path}"),
            Self::Readable(_, readers) => format!("chmod {} {path}", chmod(readers)),
        }
    }
}

/// Checks an open file. Root and `own` may own it.
pub fn check(metadata: &Metadata, readers: Readers, own: u32) -> Result<(), Distrust> {
    if !metadata.is_file() {
        return Err(Distrust::NotAFile);
    }
    owned_and_closed(metadata, own)?;
    let (mode, forbidden) = match readers {
        Readers::All => return Ok(()),
        Readers::Group => (metadata.mode() & 0o7777, 0o007),
        Readers::Owner => (metadata.mode() & 0o7777, 0o077),
    };
    if mode & forbidden == 0 { Ok(()) } else { Err(Distrust::Readable(mode, readers)) }
}

fn owned_and_closed(metadata: &Metadata, own: u32) -> Result<(), Distrust> {
    let mode = metadata.mode() & 0o7777;
    if ![0, own].contains(&metadata.uid()) {
        Err(Distrust::Owner(metadata.uid()))
    } else if mode & 0o022 != 0 && !(metadata.is_dir() && mode & STICKY != 0) {
        Err(Distrust::Writable(mode))
    } else {
        Ok(())
    }
}

/// Every directory on the path to this file, its links and their targets, in which somebody else could
/// replace it.
pub fn check_way(path: &Path, own: u32) -> io::Result<Vec<(PathBuf, Distrust)>> {
    let mut found: Vec<(PathBuf, Distrust)> = Vec::new();
    for end in [std::path::absolute(path)?, fs::canonicalize(path)?] {
        for dir in end.ancestors().skip(1) {
            let distrust = owned_and_closed(&fs::metadata(dir)?, own).err();
            if let Some(distrust) = distrust.filter(|_| found.iter().all(|(known, _)| known != dir)) {
                found.push((dir.to_owned(), distrust));
            }
        }
    }
    Ok(found)
}
