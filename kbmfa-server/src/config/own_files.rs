//! Checks the server's own files. It trusts no file that others could have written, and uses no secret that
//! others can read.

use kbmfa_proto::file_rules::{self, Distrust, Readers};
use nix::unistd::{Uid, User};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Config;
use crate::db;
use crate::employees::password;
use crate::http::Certificate;
use crate::http::downloads::is_name;

/// One file or directory that the server does not trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFault {
    /// Its path.
    pub path: PathBuf,
    /// Why, for people.
    pub why: String,
    /// The command that fixes it.
    pub fix: String,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl Config {
    /// Faults of the files that decide who may log in. Call it as the account that the server runs as.
    pub fn file_faults(&self, config: &Path) -> Vec<FileFault> {
        let (own, mut faults) = (Uid::effective(), Vec::new());
        for (path, readers) in self.own_files(config) {
            look(&path, readers, own, &mut faults);
        }
        faults
    }

    /// Every file that the server reads and trusts, and who may read it.
    fn own_files(&self, config: &Path) -> Vec<(PathBuf, Readers)> {
        let mut files =
            vec![(config.to_owned(), Readers::All), (self.state_dir.join(db::FILE), Readers::All)];
        files.push((self.state_dir.join(password::FILE), Readers::Owner));
        match &self.http.certificate {
            Certificate::Ours(ours) => {
                files.push((ours.certificate(), Readers::Owner));
                let authorities = fs::read_dir(ours.ca_dir()).into_iter().flatten().flatten();
                for dir in authorities.map(|entry| entry.path()).filter(|path| !path.is_symlink()) {
                    files.push((dir.join("ca.key"), Readers::Owner));
                    files.push((dir.join("ca.pem"), Readers::All));
                }
            }
            Certificate::Own { cert, key } => {
                files.extend([(cert.clone(), Readers::All), (key.clone(), Readers::Group)]);
            }
        }
        // Employees run what is served there.
        if let Some(directory) = &self.http.downloads {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let served = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_name));
            files.extend(served.map(|entry| (entry.path(), Readers::All)));
        }
        files.extend(self.auth_token_file.clone().map(|path| (path, Readers::Group)));
        if let Some(keybase) = &self.chat {
            files.extend(keybase.paperkey_file.clone().map(|path| (path, Readers::Group)));
        }
        files
    }
}

/// Checks one file. Missing and unreadable files are reported elsewhere.
fn look(path: &Path, readers: Readers, own: Uid, faults: &mut Vec<FileFault>) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mut found: Vec<(PathBuf, Distrust)> = file_rules::check(&metadata, readers, own.as_raw())
        .err()
        .map(|why| (path.to_owned(), why))
        .into_iter()
        .collect();
    match file_rules::check_way(path, own.as_raw()) {
        Ok(on_the_way) => found.extend(on_the_way),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let fix = format!("let the server's account enter the directories above {}", path.display());
            faults.push(FileFault { path: path.to_owned(), why: error.to_string(), fix });
        }
    }
    for (path, why) in found {
        if faults.iter().all(|known| known.path != path) {
            let fix = why.fix(&path, &account(own));
            faults.push(FileFault { path, why: why.to_string(), fix });
        }
    }
}

fn account(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Changes a server's directory of valid files by `change`, and returns the faults.
    fn faults_after(change: impl Fn(&Path)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        for name in ["ca/1/ca.key", "ca/1/ca.pem", "tls/server.pem", "kbmfa.db", "token", "password.key"] {
            let path = state.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "0123456789abcdef").unwrap();
            mode(&path, if name == "ca/1/ca.pem" { 0o644 } else { 0o600 });
        }
        symlink("1", state.join("ca/signs")).unwrap();
        for name in ["", "ca", "ca/1", "tls"] {
            mode(&state.join(name), 0o700);
        }
        let text = format!(
            "[server]\nstate_dir = {:?}\nauth_token_file = {:?}\nauth_token_from = [\"10.0.0.0/8\"]\n",
            state,
            state.join("token")
        );
        let config = dir.path().join("server.toml");
        fs::write(&config, &text).unwrap();
        mode(&config, 0o644);
        let read = Config::parse(&config, &text).unwrap();
        change(dir.path());
        let shown = |fault: &FileFault| {
            let path = fault.path.strip_prefix(dir.path()).unwrap_or(&fault.path).display();
            format!("{path}: {}", fault.fix.replace(&format!("{}/", dir.path().display()), ""))
        };
        read.file_faults(&config).iter().map(shown).collect()
    }

    #[test]
    fn each_unsafe_file_is_named_with_its_fix() {
        assert_eq!(faults_after(|_| ()), Vec::<String>::new());
        for (name, wrong, fix) in [
            ("server.toml", 0o666, "chmod go-w server.toml"),
            ("server.toml", 0o664, "chmod go-w server.toml"),
            ("state/ca/1/ca.key", 0o640, "chmod 0600 state/ca/1/ca.key"),
            ("state/ca/1/ca.key", 0o606, "chmod go-w state/ca/1/ca.key"),
            ("state/tls/server.pem", 0o644, "chmod 0600 state/tls/server.pem"),
            ("state/password.key", 0o640, "chmod 0600 state/password.key"),
            ("state/token", 0o644, "chmod o-rwx state/token"),
            ("state/kbmfa.db", 0o660, "chmod go-w state/kbmfa.db"),
            ("state", 0o770, "chmod go-w state"),
            ("state/ca", 0o777, "chmod go-w state/ca"),
        ] {
            let found = faults_after(|dir| mode(&dir.join(name), wrong));
            assert_eq!(found, [format!("{name}: {fix}")], "{wrong:o}");
        }
        assert_eq!(faults_after(|dir| mode(&dir.join("state/token"), 0o640)), Vec::<String>::new());
    }

    #[test]
    fn a_directory_above_that_others_can_write_to_is_a_fault_unless_it_is_sticky() {
        let found = faults_after(|dir| mode(dir, 0o777));
        assert!(found.len() == 1 && found[0].contains("chmod go-w"), "{found:?}");
        assert_eq!(faults_after(|dir| mode(dir, 0o1777)), Vec::<String>::new());
    }

    #[test]
    fn a_link_is_followed_and_so_is_the_way_to_its_target() {
        let found = faults_after(|dir| {
            let (token, real) = (dir.join("state/token"), dir.join("elsewhere"));
            fs::create_dir(&real).unwrap();
            fs::rename(&token, real.join("token")).unwrap();
            symlink(real.join("token"), &token).unwrap();
            mode(&real, 0o777);
        });
        assert_eq!(found, ["elsewhere: chmod go-w elsewhere"]);
    }
}
