//! What differs between systems, as pure functions of [`Os`]: all three are tested wherever the tests run.

use std::path::{Path, PathBuf};

use crate::Error;

/// The system of the employee's computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Os {
    /// Linux and other systems of that kind.
    Linux,
    /// macOS.
    Mac,
    /// Windows with its own OpenSSH client.
    Windows,
}

impl Os {
    /// The system for which this program was built.
    pub(crate) const fn here() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::Mac
        } else {
            Self::Linux
        }
    }

    /// File name of a program of OpenSSH.
    pub(crate) fn program(self, name: &str) -> String {
        match self {
            Self::Linux | Self::Mac => name.to_owned(),
            Self::Windows => format!("{name}.exe"),
        }
    }

    /// Unix permissions of `~/.ssh`; none where the directory inherits those of the profile, which only its
    /// owner can open.
    pub(crate) fn directory_mode(self) -> Option<u32> {
        match self {
            Self::Linux | Self::Mac => Some(0o700),
            Self::Windows => None,
        }
    }

    /// A path as a quoted value of `~/.ssh/config`. None if ssh cannot read it there: its format has no way
    /// to write a quote, a line break, or `${` that is not a variable. Percent signs are doubled, because ssh
    /// expands them.
    pub(crate) fn in_config(self, path: &Path) -> Option<String> {
        let text = path.to_str()?;
        if text.contains(['"', '\'']) || text.contains("${") || text.chars().any(char::is_control) {
            return None;
        }
        let text = match self {
            Self::Linux | Self::Mac => text.replace('\\', "\\\\"),
            Self::Windows => text.replace('\\', "/"),
        };
        Some(format!("\"{}\"", text.replace('%', "%%")))
    }

    /// A path as one word of a command line that a person copies. None if it has a character that a shell
    /// treats specially also between double quotes.
    pub(crate) fn in_shell(self, path: &Path) -> Option<String> {
        let text = path.to_str()?;
        let special = match self {
            Self::Linux | Self::Mac => ['"', '$', '`', '\\', '!'],
            Self::Windows => ['"', '$', '`', '%', '!'],
        };
        if text.contains(special) || text.chars().any(char::is_control) {
            return None;
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "/\\:._-".contains(c);
        Some(if text.chars().all(plain) { text.to_owned() } else { format!("\"{text}\"") })
    }

    /// What a person calls this computer, from its host name; macOS gives it a domain of its own.
    pub(crate) fn device(self, host_name: &str) -> String {
        let short = host_name.split('.').next().unwrap_or_default().trim();
        match (short, self) {
            ("" | "localhost", Self::Mac) => "my Mac".to_owned(),
            ("" | "localhost", _) => "my computer".to_owned(),
            (name, _) => name.to_owned(),
        }
    }
}

/// The computer on which the program runs.
#[derive(Debug, Clone)]
pub(crate) struct Computer {
    /// Its system.
    pub(crate) os: Os,
    /// The person's home directory.
    pub(crate) home: PathBuf,
    /// What it calls itself.
    pub(crate) name: String,
}

impl Computer {
    pub(crate) fn here() -> Result<Self, Error> {
        let home = std::env::home_dir().filter(|home| home.is_absolute()).ok_or(Error::NoHome)?;
        let name = Os::here().device(&gethostname::gethostname().to_string_lossy());
        Ok(Self { os: Os::here(), home, name })
    }

    /// `~/.ssh`.
    pub(crate) fn ssh_dir(&self) -> PathBuf {
        self.home.join(".ssh")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_names_and_modes() {
        let of = |os: Os| (os.program("ssh-keygen"), os.directory_mode());
        assert_eq!(of(Os::Linux), ("ssh-keygen".into(), Some(0o700)));
        assert_eq!(of(Os::Mac), ("ssh-keygen".into(), Some(0o700)));
        assert_eq!(of(Os::Windows), ("ssh-keygen.exe".into(), None));
        assert_eq!(Os::Mac.device("Annas-MacBook.local"), "Annas-MacBook");
        assert_eq!(Os::Windows.device("DESKTOP-1"), "DESKTOP-1");
        assert_eq!(Os::Linux.device("localhost.localdomain"), "my computer");
    }

    #[test]
    fn a_path_is_written_so_that_ssh_reads_the_same_path() {
        for (os, path, written) in [
            (Os::Linux, "/home/a b/.ssh/id", Some("\"/home/a b/.ssh/id\"")),
            (Os::Mac, "/Users/50%/id", Some("\"/Users/50%%/id\"")),
            (Os::Windows, "C:\\Users\\Anna B\\.ssh\\id", Some("\"C:/Users/Anna B/.ssh/id\"")),
            (Os::Linux, "/home/\"/id", None),
            (Os::Linux, "/home/${HOME}/id", None),
            (Os::Linux, "/home/\nHost */id", None),
        ] {
            assert_eq!(os.in_config(Path::new(path)).as_deref(), written, "{path}");
        }
    }

    #[test]
    fn a_path_on_a_command_line_is_one_word_or_left_out() {
        for (os, path, written) in [
            (Os::Linux, "/home/anna/.ssh/id", Some("/home/anna/.ssh/id")),
            (Os::Mac, "/Users/a b/id", Some("\"/Users/a b/id\"")),
            (Os::Windows, "C:\\Users\\Anna B\\id", Some("\"C:\\Users\\Anna B\\id\"")),
            (Os::Linux, "/home/$(reboot)/id", None),
            (Os::Linux, "/home/a;b/id", Some("\"/home/a;b/id\"")),
            (Os::Windows, "C:\\%TEMP%\\id", None),
        ] {
            assert_eq!(os.in_shell(Path::new(path)).as_deref(), written, "{path}");
        }
    }
}
