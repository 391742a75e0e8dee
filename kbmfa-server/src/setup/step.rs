//! The steps by which a machine is set up: what each is called for people, and its line for `setup.sh`. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

use super::Wanted;
use crate::provision::wire::request;

/// A file that root owns, at a place that `setup.sh` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    /// The server's key, where root owns it.
    Key,
    /// The revoked keys. Made empty, and never changed.
    Revoked,
    /// Which sudo profiles the machine accepts.
    Policy,
    /// Whose signed orders the machine takes.
    Signers,
    /// The program that sudo allows.
    Helper,
    /// What sudo allows.
    Rule,
    /// What sshd reads.
    DropIn,
}

impl File {
    /// Every file.
    pub const ALL: [Self; 7] =
        [Self::Key, Self::Revoked, Self::Policy, Self::Signers, Self::Helper, Self::Rule, Self::DropIn];

    /// Its name in requests and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Revoked => "revoked",
            Self::Policy => "policy",
            Self::Signers => "signers",
            Self::Helper => "helper",
            Self::Rule => "rule",
            Self::DropIn => "dropin",
        }
    }

    /// Its path.
    pub fn path(self, wanted: &Wanted) -> String {
        match self {
            Self::Key => format!("/etc/ssh/kbmfa/keys/{}", wanted.admin),
            Self::Revoked => super::plan::REVOKED.to_owned(),
            Self::Policy => "/etc/ssh/kbmfa/policy".to_owned(),
            Self::Signers => "/etc/ssh/kbmfa/signers".to_owned(),
            Self::Helper => crate::provision::ssh::HELPER.to_owned(),
            Self::Rule => "/etc/sudoers.d/zz-kbmfa".to_owned(),
            Self::DropIn => super::plan::DROP_IN.to_owned(),
        }
    }
}

/// One change of a machine. Each may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Puts sshd back, because an earlier run changed it and did not confirm that.
    Undo,
    /// Makes the directories for keys.
    Directories,
    /// Makes the server's account.
    Account,
    /// Writes a file, in one step.
    Write {
        /// Which.
        file: File,
        /// Its whole content.
        content: String,
    },
    /// Writes the server's key into the account's own file.
    HomeKey,
    /// Sets the account's password.
    Password,
    /// Saves what sshd reads, and starts the timer that puts it back.
    Arm,
    /// Has sshd read our file before its own lines.
    Include,
    /// Checks what sshd would do now, and has it read its files.
    Reload,
    /// Ends the timer: the change stays.
    Confirm,
}

impl Step {
    /// The request for it.
    pub fn request(&self, wanted: &Wanted) -> String {
        let line = match self {
            Self::Undo => "undo".to_owned(),
            Self::Directories => "directories".to_owned(),
            Self::Account => "account".to_owned(),
            Self::Write { file, content } => format!("write {} {}", file.word(), token(content)),
            Self::HomeKey => format!("home-key {}", token(&format!("{}\n", wanted.key_line))),
            Self::Password => {
                let text = wanted.password.as_ref().map_or("", |password| password.text.as_str());
                format!("password {}", token(text))
            }
            Self::Arm => format!("arm {}", wanted.undo_after),
            Self::Include => "include".to_owned(),
            Self::Reload => "reload".to_owned(),
            Self::Confirm => "confirm".to_owned(),
        };
        request("step", &format!("{} {} {line}\n", wanted.admin, wanted.source))
    }

    /// The step in words. What is written is shown as it is written, but for the helper, which is long.
    pub fn words(&self, wanted: &Wanted) -> String {
        let admin = &wanted.admin;
        match self {
            Self::Undo => {
                "put sshd's files back as they were before an earlier run that was not confirmed".to_owned()
            }
            Self::Directories => "make the directory /etc/ssh/kbmfa/keys".to_owned(),
            Self::Account => format!("make the account {admin}, with the shell /bin/sh and no password"),
            Self::Write { file: file @ File::Helper, .. } => format!("write {}", file.path(wanted)),
            Self::Write { file: file @ File::Revoked, .. } => format!("write {}, empty", file.path(wanted)),
            Self::Write { file, content } => {
                let lines = content.lines().fold(String::new(), |text, line| text + "\n      " + line);
                format!("write {}:{lines}", file.path(wanted))
            }
            Self::HomeKey => {
                format!("write into ~{admin}/.ssh/authorized_keys:\n      {}", wanted.key_line)
            }
            Self::Password => format!("set a password for {admin}, which this server keeps for sudo"),
            Self::Arm => format!(
                "save what sshd reads; the machine puts it back after {} s unless the change is confirmed",
                wanted.undo_after
            ),
            Self::Include => {
                format!(
                    "write as the first line of /etc/ssh/sshd_config:\n      Include {}",
                    super::plan::DROP_IN
                )
            }
            Self::Reload => "check sshd's configuration, and reload sshd".to_owned(),
            Self::Confirm => {
                format!("confirm the change of sshd, after a new connection as {admin} has worked")
            }
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It was so already.
    Unchanged,
    /// It was done.
    Changed,
    /// It failed, with a word of `setup.sh` and perhaps a text of the machine.
    Failed(String, String),
}

impl Done {
    /// Reads the reply to a step; `None` if it is not understood.
    pub fn read(lines: &[String]) -> Option<Self> {
        let [line] = lines else { return None };
        let words: Vec<&str> = line.split(' ').collect();
        Some(match words.as_slice() {
            ["result", "ok"] => Self::Unchanged,
            ["result", "changed"] => Self::Changed,
            ["result", "failed", word] => Self::Failed(super::report::cut(word), String::new()),
            ["result", "failed", word, text] => {
                Self::Failed(super::report::cut(word), super::report::text_of(text)?)
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("it was so already"),
            Self::Changed => f.write_str("done"),
            Self::Failed(word, text) if text.is_empty() => write!(f, "failed: {}", meaning(word)),
            Self::Failed(word, text) => {
                let text: String = text
                    .chars()
                    .take(1000)
                    .flat_map(|c| match c {
                        '\n' => vec![' '],
                        c if c.is_control() => Vec::new(),
                        c => vec![c],
                    })
                    .collect();
                write!(f, "failed: {} ({})", meaning(word), text.trim())
            }
        }
    }
}

/// What a word of `setup.sh` means.
fn meaning(word: &str) -> &str {
    match word {
        "write" => "a file could not be written; is the disk full, or read-only?",
        "directory" => "the directory, or one above it, can be written by others than root",
        "group-taken" => "a group of this name exists",
        "group-in-sudoers" => "sudoers has rules for a group of this name",
        "home-exists" => "its home exists already",
        "sudoers-syntax" => "sudoers would have a fault; nothing of it was kept",
        "config" => "sshd would refuse its configuration",
        "not-effective" => "sshd would still use other values; look for lines in a Match block",
        "reload" => "sshd could not be told to read its files",
        "too-late" => "the machine had put sshd back already",
        "not-armed" => "the machine had put sshd back already, because it took too long",
        "odd" => "a link or a directory is where a file should be",
        word => word,
    }
}

/// Base64; `-` for nothing.
fn token(content: &str) -> String {
    if content.is_empty() { "-".to_owned() } else { STANDARD.encode(content) }
}
