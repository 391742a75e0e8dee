//! A small disk for a server's state, which a test fills up.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::process::{brief, run};

/// A small disk, mounted until this is dropped.
#[derive(Debug)]
pub struct Disk {
    place: PathBuf,
}

impl Disk {
    /// Moves the contents of a directory to a disk of a few megabytes, and mounts the disk there. Nothing may
    /// use the directory meanwhile.
    pub fn under(place: &Path) -> Self {
        let aside = place.with_extension("aside");
        fs::rename(place, &aside).unwrap();
        fs::create_dir(place).unwrap();
        run(brief("mount").args(["-t", "tmpfs", "-o", "mode=700,size=8m", "kbmfa-disk"]).arg(place));
        let disk = Self { place: place.to_owned() };
        run(brief("cp").arg("-a").arg(aside.join(".")).arg(place));
        disk
    }

    /// Fills the disk completely.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let error = loop {
            if let Err(error) = filler.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    /// Frees the space again.
    pub fn clear(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Works even if the test failed and its server still runs.
        brief("umount").arg("--lazy").arg(&self.place).status().ok();
    }
}
