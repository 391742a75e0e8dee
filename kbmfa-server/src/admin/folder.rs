//! A new directory with the output files of a verb. It is made with the caller's rights, before root is given up, and
//! then belongs to the account that the verb works as. Nothing that exists is written to.

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, fchown, unlinkat};
use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::Failure;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The directory. Unless it is kept, what is in it is removed on drop: a part of an export must not look whole.
pub(super) struct Folder {
    path: PathBuf,
    dir: File,
    /// What was made in it, in that order; `true` for a directory.
    made: Vec<(PathBuf, bool)>,
    is_kept: bool,
}

impl Folder {
    /// Makes a directory that only `owner` can enter. One that exists is an error.
    pub(super) fn create(path: &Path, owner: &Metadata) -> Result<Self, Failure> {
        let shown = path.display();
        let refused = |error: io::Error| Failure::new(format!("cannot make {shown}: {error}"));
        let name = path.file_name().ok_or_else(|| refused(io::ErrorKind::AlreadyExists.into()))?;
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = File::open(parent).map_err(refused)?;
        mkdirat(&parent, name, Mode::S_IRWXU).map_err(|error| match error {
            Errno::EEXIST => Failure::new(format!("{shown} exists already"))
                .hint("nothing is ever replaced: choose another name, or move that one away"),
            error => refused(error.into()),
        })?;
        let dir: File =
            openat(&parent, name, DIRECTORY, Mode::empty()).map_err(|error| refused(error.into()))?.into();
        if Uid::effective().is_root() {
            // Nobody can have put another directory of root's in its place that matters: it is private and empty.
            let found = fstat(&dir).map_err(|error| refused(error.into()))?;
            let is_fresh = found.st_uid == 0 && found.st_mode & 0o7777 == 0o700 && found.st_nlink <= 2;
            if !is_fresh {
                return Err(Failure::new(format!("{shown} was changed while it was made")));
            }
            fchown(&dir, Some(owner.uid().into()), Some(owner.gid().into()))
                .map_err(|error| refused(error.into()))?;
        }
        Ok(Self { path: path.to_owned(), dir, made: Vec::new(), is_kept: false })
    }

    /// Writes a new file, below directories that are made if they are missing.
    pub(super) fn add(&mut self, file: &Path, text: &str) -> Result<(), Failure> {
        let shown = self.path.join(file);
        let refused = |error: io::Error| Failure::new(format!("cannot write {}: {error}", shown.display()));
        let is_plain = file.components().all(|part| matches!(part, Component::Normal(_)));
        let name = file
            .file_name()
            .filter(|_| is_plain)
            .ok_or_else(|| refused(io::ErrorKind::InvalidInput.into()))?;
        let mut dir = self.dir.try_clone().map_err(refused)?;
        let mut so_far = PathBuf::new();
        for part in file.parent().into_iter().flat_map(Path::components) {
            so_far.push(part);
            match mkdirat(&dir, part.as_os_str(), Mode::S_IRWXU) {
                Ok(()) => self.made.push((so_far.clone(), true)),
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(refused(error.into())),
            }
            let next = openat(&dir, part.as_os_str(), DIRECTORY, Mode::empty());
            dir = next.map_err(|error| refused(error.into()))?.into();
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let new = openat(&dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let mut new: File = new.map_err(|error| refused(error.into()))?.into();
        self.made.push((file.to_owned(), false));
        new.write_all(text.as_bytes()).and_then(|()| new.sync_all()).map_err(refused)
    }

    /// Keeps it. Returns the number of its files.
    pub(super) fn keep(mut self) -> Result<usize, Failure> {
        let name = self.path.display();
        self.dir.sync_all().map_err(|error| Failure::new(format!("cannot write {name}: {error}")))?;
        self.is_kept = true;
        Ok(self.made.iter().filter(|(_, is_dir)| !is_dir).count())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        for (path, is_dir) in self.made.iter().rev() {
            let flags = if *is_dir { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
            let _ = unlinkat(&self.dir, path, flags);
        }
        // If root was given up, it stays, empty, in a directory of root's.
        let _ = fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_is_new_and_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let owner = fs::metadata(dir.path()).unwrap();
        let (there, link, new) = (dir.path().join("there"), dir.path().join("link"), dir.path().join("new"));
        fs::create_dir(&there).unwrap();
        symlink(&there, &link).unwrap();
        for path in [&there, &link] {
            let refused = Folder::create(path, &owner).err().unwrap().to_string();
            assert!(refused.contains("exists already"), "{refused}");
        }
        let mut folder = Folder::create(&new, &owner).unwrap();
        folder.add(Path::new("web1/dora"), "k\n").unwrap();
        for bad in ["web1/dora", "../out", "/etc/x", ""] {
            assert!(folder.add(Path::new(bad), "k\n").is_err(), "{bad}");
        }
        drop(folder);
        assert!(!new.exists() && !dir.path().join("out").exists());
        let mut folder = Folder::create(&new, &owner).unwrap();
        folder.add(Path::new("web1/dora"), "k\n").unwrap();
        folder.add(Path::new("web1/emil"), "l\n").unwrap();
        assert_eq!(folder.keep().unwrap(), 2);
        assert_eq!(fs::read_to_string(new.join("web1/emil")).unwrap(), "l\n");
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o777, 0o700);
    }
}
