//! What a machine reports before it is set up. The machine may be hostile: what is not understood is a failure. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

use super::step::File;

/// What is at a file's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file of root's, with this SHA-256.
    File(String),
    /// Something else: a link, a directory, or somebody else's file.
    Odd,
}

/// The password of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordState {
    /// There is one.
    Set,
    /// No password fits.
    Locked,
    /// Anybody gets in without one.
    Empty,
}

/// The server's account on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its uid.
    pub uid: u32,
    /// Its shell.
    pub shell: String,
    /// Its password.
    pub password: PasswordState,
}

/// sshd's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// sshd accepts it. The values that it has for the server's account, by their names in lower case.
    Ok(BTreeMap<String, String>),
    /// sshd refuses it, with this text.
    Broken(String),
    /// `/etc/ssh/sshd_config` is no regular file.
    Odd,
}

/// What a machine has.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `ID` of os-release, and the list of `ID_LIKE`.
    pub system: (String, String),
    /// Programs that are missing.
    pub missing: Vec<String>,
    /// Version of OpenSSH; `-` if unknown, `None` without sshd.
    pub sshd: Option<String>,
    /// sshd's configuration.
    pub config: Config,
    /// True if sshd reads our file before any line that would win over it.
    pub has_include: bool,
    /// How sshd reads its files again: a systemd unit, `process`, or `none`.
    pub reload: String,
    /// The server's account.
    pub account: Option<Account>,
    /// Where sudo has more rules for the account.
    pub other_sudo: Vec<String>,
    /// What is at the place of each file.
    pub files: BTreeMap<File, Found>,
    /// The text of the policy.
    pub policy: String,
    /// True if `/etc/ssh/kbmfa/keys` is there.
    pub has_directories: bool,
    /// True if sudoers names the directory `/etc/sudoers.d`.
    pub has_sudoers_directory: bool,
    /// True if the account's own `authorized_keys` has the server's line.
    pub has_home_key: bool,
    /// True if a change of sshd waits for its confirmation.
    pub is_armed: bool,
}

impl Report {
    /// Reads the lines of a reply. The error is the line that is not understood, or what is missing.
    ///
    /// # Errors
    /// See above.
    pub fn read(lines: &[String]) -> Result<Self, String> {
        let mut report = Self {
            system: (String::new(), String::new()),
            missing: Vec::new(),
            sshd: None,
            config: Config::Odd,
            has_include: false,
            reload: "none".to_owned(),
            account: None,
            other_sudo: Vec::new(),
            files: BTreeMap::new(),
            policy: String::new(),
            has_directories: false,
            has_sudoers_directory: false,
            has_home_key: false,
            is_armed: false,
        };
        for line in lines {
            report.take(line).ok_or_else(|| format!("the line {:?} is not understood", cut(line)))?;
        }
        let is_whole =
            !report.system.0.is_empty() && File::ALL.iter().all(|file| report.files.contains_key(file));
        if is_whole { Ok(report) } else { Err("lines are missing".to_owned()) }
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["system", id, like] => self.system = ((*id).to_owned(), (*like).to_owned()),
            ["missing", tool] => self.missing.push(cut(tool)),
            ["sshd", version] => self.sshd = Some(cut(version)),
            ["config", "ok"] => self.config = Config::Ok(BTreeMap::new()),
            ["config", "broken", text] => self.config = Config::Broken(text_of(text)?),
            ["config", "odd"] => self.config = Config::Odd,
            ["value", name, value] => {
                let Config::Ok(values) = &mut self.config else { return None };
                values.insert((*name).to_owned(), text_of(value)?);
            }
            ["include", word] => self.has_include = yes(word)?,
            ["reload", how] => self.reload = cut(how),
            ["account", "absent"] => self.account = None,
            ["account", uid, shell, password] => {
                let password = match *password {
                    "set" => PasswordState::Set,
                    "locked" => PasswordState::Locked,
                    "empty" => PasswordState::Empty,
                    _ => return None,
                };
                self.account = Some(Account { uid: uid.parse().ok()?, shell: text_of(shell)?, password });
            }
            ["other-sudo", ..] => self.other_sudo.push(cut(line.strip_prefix("other-sudo ")?)),
            ["file", word, found] => {
                let file = File::ALL.into_iter().find(|file| file.word() == *word)?;
                let found = match *found {
                    "-" => Found::Nothing,
                    "odd" => Found::Odd,
                    hash if hash.len() == 64 => Found::File(hash.to_owned()),
                    _ => return None,
                };
                self.files.insert(file, found);
            }
            ["policy", text] => self.policy = text_of(text)?,
            ["directories", word] => self.has_directories = yes(word)?,
            ["rules", word] => self.has_sudoers_directory = yes(word)?,
            ["home-key", word] => self.has_home_key = yes(word)?,
            ["undo", word] => self.is_armed = *word == "armed",
            _ => return None,
        }
        Some(())
    }
}

fn yes(word: &str) -> Option<bool> {
    match word {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Text in base64; `-` is none.
pub(super) fn text_of(token: &str) -> Option<String> {
    if token == "-" {
        return Some(String::new());
    }
    let bytes = STANDARD.decode(token).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A machine's text, short and without control characters.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(200).filter(|c| !c.is_control()).collect()
}
