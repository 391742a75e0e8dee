//! Counts the CPU time of some processes and all their children, including those that ended, by a cgroup of
//! their own.

use kbmfa_tests::wait::until_within;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

/// Where version 2 of cgroups is: beside version 1, or alone.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// How long its processes may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Some processes, and all that they start.
pub(crate) struct Group(PathBuf);

impl Group {
    /// An empty one.
    pub(crate) fn new(name: &str) -> Self {
        let is_there = |root: &&Path| root.join("cgroup.controllers").exists();
        let root = ROOTS.into_iter().map(Path::new).find(is_there).expect("version 2 of cgroups");
        let path = root.join(format!("kbmfa-bench-{}-{name}", process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Counts this process from now on.
    pub(crate) fn adopt(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Milliseconds of CPU so far.
    pub(crate) fn cpu_ms(&self) -> f64 {
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
