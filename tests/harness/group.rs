//! Measures the CPU time of some processes and all of their children, including those that have ended, with a
//! cgroup of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use crate::wait::until_within;

/// Directories in which version 2 of cgroups may be mounted: beside version 1, or alone.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Longest time in which its processes must end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cgroup: some processes, and all that they start.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// An empty group.
    pub fn new(name: &str) -> Self {
        let is_there = |root: &&Path| root.join("cgroup.controllers").exists();
        let root = ROOTS.into_iter().map(Path::new).find(is_there).expect("version 2 of cgroups");
        let path = root.join(format!("kbmfa-bench-{}-{name}", process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Measures this process from now on.
    pub fn adopt(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// CPU time so far, in milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        let text = fs::read_to_string(self.0.join("cpu.stat")).unwrap();
        let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        used.parse::<f64>().unwrap() / 1e3
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        until_within(PATIENCE, || fs::remove_dir(&self.0).ok());
    }
}
