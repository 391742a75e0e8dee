//! Replaces files atomically: after a crash the old file or the new one is on disk, whole.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of a file that anybody may read.
pub(super) const PUBLIC: u32 = 0o644;
/// Mode of a file that only its owner may read.
pub(super) const SECRET: u32 = 0o600;

/// Makes the directory, if it is not there.
pub(super) fn directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// Writes a new file, and returns once it is on disk. An existing file is an error.
pub(super) fn create(dir: &Path, name: &str, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(dir.join(name))?;
    // The umask may have removed some of the bits.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    sync(dir)
}

/// Writes a file, or replaces it completely.
pub(super) fn replace(dir: &Path, name: &str, mode: u32, text: &str) -> io::Result<()> {
    let temporary = format!(".{name}.tmp");
    match fs::remove_file(dir.join(&temporary)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => create(dir, &temporary, mode, text)?,
    }
    rename(dir, &temporary, name)
}

/// Renames a file within the directory, replacing what was there.
pub(super) fn rename(dir: &Path, from: &str, to: &str) -> io::Result<()> {
    fs::rename(dir.join(from), dir.join(to))?;
    sync(dir)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        // A leftover of a crash.
        fs::write(dir.join(".x.tmp"), "half").unwrap();
        for (mode, text) in [(PUBLIC, "old"), (SECRET, "new")] {
            replace(dir, "x", mode, text).unwrap();
            assert_eq!(fs::read_to_string(dir.join("x")).unwrap(), text);
            assert_eq!(fs::metadata(dir.join("x")).unwrap().mode() & 0o777, mode);
        }
        assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), "x", SECRET, "first").unwrap();
        assert!(create(dir.path(), "x", SECRET, "second").is_err());
    }
}
