//! Lists what `leave` removes: files with the names that kbmfa gives them, then empty directories. A file
//! elsewhere that pam.toml names may belong to somebody else, so it is kept.

use std::fs;
use std::path::{Path, PathBuf};

use pam_kbmfa::config::{Ca, Config, default_spool};
use pam_kbmfa::spool;

/// The timer of `kbmfa-host refresh`.
pub(super) const TIMER: &str = "kbmfa-host-refresh.timer";

/// The units that `leave` removes: the timer and its service.
pub(super) const UNITS: [&str; 2] = [TIMER, "kbmfa-host-refresh.service"];

/// Files that `join` and `refresh` write. pam.toml is last, because it says where the spool is.
const NAMES: [&str; 5] = ["credential", "credential.new", "ca.pem", "pam.toml.new", "pam.toml"];

/// What will be removed, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) files: Vec<PathBuf>,
    pub(super) directories: Vec<PathBuf>,
    /// Files elsewhere that pam.toml names.
    pub(super) left: Vec<PathBuf>,
    /// Unsent reports in the spool.
    pub(super) reports: usize,
}

impl Plan {
    /// Makes the plan. `root` is the directory that contains systemd's units; `/` except in tests.
    pub(super) fn new(root: &Path, config_file: &Path, config: Option<&Config>) -> Self {
        let units = root.join("etc/systemd/system");
        let mut files = vec![units.join("timers.target.wants").join(TIMER)];
        files.extend(UNITS.map(|unit| units.join(unit)));
        files.push(root.join("var/lib/systemd/timers").join(format!("stamp-{TIMER}")));
        let spool = config.map_or_else(default_spool, |config| config.spool.clone());
        let kept = in_spool(&spool);
        let is_report =
            |file: &&PathBuf| file.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
        let reports = kept.iter().filter(is_report).count();
        files.extend(kept);
        let dir = config_file.parent().unwrap_or(config_file);
        for name in NAMES {
            files.extend([dir.join(format!(".{name}.tmp")), dir.join(name)]);
        }
        if !files.iter().any(|file| file == config_file) {
            files.push(config_file.to_owned());
        }
        files.retain(|file| fs::symlink_metadata(file).is_ok_and(|metadata| !metadata.is_dir()));
        let mut directories = vec![spool.clone()];
        // The module creates this directory for the spool alone.
        directories
            .extend(spool.parent().filter(|parent| parent.ends_with("kbmfa-host")).map(Path::to_owned));
        directories.push(dir.to_owned());
        directories.retain(|directory| directory.is_dir());
        if files.is_empty() {
            // A directory with other files is kept.
            directories.retain(|directory| fs::read_dir(directory).is_ok_and(|mut all| all.next().is_none()));
        }
        let named = config.into_iter().flat_map(|config| {
            let ca = if let Ca::File(ca) = &config.ca { Some(ca.clone()) } else { None };
            [Some(config.credential.clone()), ca].into_iter().flatten()
        });
        let left = named.filter(|file| !files.contains(file) && file.exists()).collect();
        Self { files, directories, left, reports }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.directories.is_empty()
    }
}

/// Files of the module in the spool.
fn in_spool(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(spool::is_ours));
    ours.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_files_are_removed_by_name_and_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let (etc, spool) = (root.join("etc/kbmfa"), root.join("var/lib/kbmfa-host/spool"));
        for directory in [&etc, &spool, &root.join("etc/systemd/system")] {
            fs::create_dir_all(directory).unwrap();
        }
        let config_file = etc.join("pam.toml");
        let text = format!(
            "servers = [\"https://192.0.2.7\"]\nca = \"{0}/shared.pem\"\ncredential = \"{1}/credential\"\nspool = \"{2}\"\n",
            root.display(),
            etc.display(),
            spool.display()
        );
        fs::write(&config_file, &text).unwrap();
        let report = spool.join(format!("{:020}-{}.report", 1, "ab".repeat(16)));
        let others = [etc.join("server.toml"), spool.join("letter.txt"), root.join("shared.pem")];
        let unit = root.join("etc/systemd/system").join(TIMER);
        for file in [&etc.join("credential"), &report, &unit].into_iter().chain(&others) {
            fs::write(file, "").unwrap();
        }
        let config = Config::parse(&config_file, &text).unwrap();
        let plan = Plan::new(root, &config_file, Some(&config));
        assert_eq!(plan.files, [unit, report, etc.join("credential"), config_file.clone()]);
        assert_eq!(plan.left, [root.join("shared.pem")]);
        assert_eq!(plan.directories, [spool.clone(), root.join("var/lib/kbmfa-host"), etc]);
        assert_eq!(plan.reports, 1);
        for file in &plan.files {
            fs::remove_file(file).unwrap();
        }
        assert!(Plan::new(root, &config_file, Some(&config)).is_empty(), "the rest is not ours");
    }
}
