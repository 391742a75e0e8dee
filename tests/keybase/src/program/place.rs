//! Paths of the socket and files of a home's service.

use std::fs;
use std::path::{Path, PathBuf};

use super::environment::get;
use super::failure::{Failure, Result};
use super::flags::Flags;

#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) home: PathBuf,
    pub(crate) config_dir: PathBuf,
    pub(crate) socket: PathBuf,
}

impl Place {
    /// Finds the home: from the flag, or from the environment. The XDG variables count only for the account's
    /// real home.
    pub(crate) fn find(flags: &Flags) -> Result<Self> {
        let given = flags.value("home").map(str::to_owned).or_else(|| get("HOME"));
        let home = PathBuf::from(given.ok_or_else(|| Failure::new("no home directory"))?);
        let is_real = real_home().is_some_and(|real| real == home);
        let xdg = |name| get(name).map(PathBuf::from).filter(|_| is_real);
        let name =
            match flags.value("run-mode").map(str::to_owned).or_else(|| get("KEYBASE_RUN_MODE")).as_deref() {
                None | Some("prod") => "keybase".to_owned(),
                Some(mode) => format!("keybase.{mode}"),
            };
        let config_dir = xdg("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join(&name);
        let runtime_dir = xdg("XDG_RUNTIME_DIR").map_or_else(|| config_dir.clone(), |dir| dir.join(&name));
        let socket = flags.value("socket-file").map(str::to_owned).or_else(|| get("KEYBASE_SOCKET_FILE"));
        let socket = socket.map_or_else(|| runtime_dir.join("keybased.sock"), PathBuf::from);
        Ok(Self { home, config_dir, socket })
    }

    /// Creates the directories for the socket and the files.
    pub(crate) fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.config_dir)?;
        Ok(fs::create_dir_all(self.socket.parent().unwrap_or(Path::new("/")))?)
    }
}

/// The home directory in the account's entry.
fn real_home() -> Option<PathBuf> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let own = lines.find(|fields| fields.get(2) == Some(&uid.as_str()))?;
    own.get(5).map(PathBuf::from)
}
