//! The output file of a verb. It is created with the caller's rights, before root is given up for the owner
//! of the state directory, and is written through its descriptor afterwards. So root can name a file in a
//! directory of root's, and no database is read with root's rights.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Failure;

/// Size of a database's header in bytes. It is written last, so that an incomplete copy never looks complete.
const DATABASE_HEAD: usize = 4096;

/// A new file, which is removed or emptied on drop unless it is kept.
pub(super) struct Output {
    path: PathBuf,
    dir: File,
    name: OsString,
    file: File,
    is_kept: bool,
}

impl Output {
    /// Creates a file that only its owner can read. An existing file is an error, and is not changed.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let refused = |error: io::Error| Failure::new(format!("cannot make {shown}: {error}"));
        let Some(name) = path.file_name().map(ToOwned::to_owned) else {
            return Err(refused(io::ErrorKind::IsADirectory.into()));
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = File::open(dir)
            .map_err(|error| refused(error).hint("make the directory first: install -d -m 700 DIRECTORY"))?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file =
            openat(&dir, name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(
                |error| match error {
                    Errno::EEXIST => Failure::new(format!("{shown} exists already"))
                        .hint("no file is ever replaced: choose another name, or move that one away"),
                    error => refused(error.into()),
                },
            )?;
        Ok(Self { path: path.to_owned(), dir, name, file: file.into(), is_kept: false })
    }

    /// The path, for messages.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The open file, to write to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The open file, to read from its beginning.
    pub(super) fn reread(&self) -> Result<File, Failure> {
        let mut file = self.file.try_clone().map_err(|error| self.failed(&error))?;
        file.seek(SeekFrom::Start(0)).map_err(|error| self.failed(&error))?;
        Ok(file)
    }

    /// Copies a whole database into the file, its first page last.
    pub(super) fn copy_database(&self, mut from: &File) -> Result<(), Failure> {
        let mut copy = || {
            let mut head = Vec::with_capacity(DATABASE_HEAD);
            from.take(DATABASE_HEAD as u64).read_to_end(&mut head)?;
            let mut to = &self.file;
            to.seek(SeekFrom::Start(head.len() as u64))?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()?;
            to.seek(SeekFrom::Start(0))?;
            to.write_all(&head)
        };
        copy().map_err(|error| self.failed(&error))
    }

    /// Syncs the file and its directory to disk.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.file.sync_all().and_then(|()| self.dir.sync_all()).map_err(|error| self.failed(&error))
    }

    /// Keeps the file.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new(format!("cannot write {}: {error}", self.path.display()))
    }

    /// Whether the path still names this file.
    fn is_ours(&self) -> bool {
        let there = fstatat(&self.dir, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        matches!((there, fstat(&self.file)), (Ok(there), Ok(own))
            if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino))
    }
}

impl Drop for Output {
    /// Removes an incomplete file, because it must not look complete. If root was given up, the program may
    /// not remove it from a directory of root's: then it is left empty.
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = self.file.set_len(0);
            if self.is_ours() {
                let _ = unlinkat(&self.dir, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_somebody_else_has_made_is_neither_replaced_nor_followed_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (there, link, target) =
            (dir.path().join("there"), dir.path().join("link"), dir.path().join("target"));
        fs::write(&there, "theirs").unwrap();
        symlink(&target, &link).unwrap();
        for path in [&there, &link] {
            let refused = Output::create(path).err().unwrap().to_string();
            assert!(
                refused.contains("exists already") && refused.contains("choose another name"),
                "{refused}"
            );
        }
        assert!(!target.exists());
        let new = dir.path().join("new");
        let output = Output::create(&new).unwrap();
        fs::remove_file(&new).unwrap();
        fs::write(&new, "theirs").unwrap();
        drop(output);
        for path in [&there, &new] {
            assert_eq!(fs::read_to_string(path).unwrap(), "theirs");
        }
    }

    #[test]
    fn an_incomplete_file_is_removed_and_a_complete_one_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let output = Output::create(&path).unwrap();
        output.file().write_all(b"half").unwrap();
        drop(output);
        assert!(!path.exists());
        let output = Output::create(&path).unwrap();
        output.file().write_all(b"whole").unwrap();
        output.sync().unwrap();
        assert_eq!(io::read_to_string(output.reread().unwrap()).unwrap(), "whole");
        output.keep();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_database_is_copied_whole_whatever_its_length() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, 1, DATABASE_HEAD, 3 * DATABASE_HEAD + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let (from, to) = (dir.path().join("from"), dir.path().join(length.to_string()));
            fs::write(&from, &bytes).unwrap();
            let output = Output::create(&to).unwrap();
            output.copy_database(&File::open(&from).unwrap()).unwrap();
            output.keep();
            assert_eq!(fs::read(&to).unwrap(), bytes);
        }
    }
}
