//! The verbs of the command line: one file for each noun. They change the database in transactions of their
//! own, and then notify a running server. So they work whether a server runs or not.

pub mod access;
pub mod audit;
pub mod backup;
pub mod ca;
pub mod check;
pub mod doctor;
pub mod employee;
pub mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod grant;
pub mod import;
pub mod init;
pub mod key;
pub mod legacy_env;
pub mod login;
pub mod machine;
pub mod policy;
pub mod pool;
pub mod provision;
pub mod reload;
pub mod restore;
pub mod roster;
pub mod session;

mod csv;
mod folder;
mod named_in_rules;
mod output;
mod print;
mod privileges;
mod sheet;
mod time_arg;

use kbmfa_finding::Finding;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::admin_socket::{Refusal, client};
use crate::audit::Actor;
use crate::config::{self, Config};
use crate::db::{self, Db, Tx};

/// The hint for a missing configuration.
const NOT_INITIALISED: &str = "`kbmfa-server init` makes it; or `serve`, from the old tool's variables: KB_TYPE and so \
                               on, and KBMFA_NAMES";

/// What every verb needs: the configuration's path, and the form of the output.
pub struct Admin {
    config: PathBuf,
    json: bool,
    utc: bool,
    actor: Actor,
}

impl Admin {
    /// With this configuration file, printing tables or JSON, with times in local time or in UTC.
    pub fn new(config: PathBuf, json: bool, utc: bool) -> Self {
        Self { config, json, utc, actor: privileges::actor() }
    }

    /// Path of the configuration.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Switches from root to the owner of the state directory, so that root never owns a file in it.
    ///
    /// # Errors
    /// If the configuration is wrong or the change is not allowed.
    pub fn become_owner(&self) -> Result<Config, Failure> {
        let config = Config::read(&self.config).map_err(|error| match error {
            config::Error::Unreadable { ref cause, .. } if cause.kind() == ErrorKind::NotFound => {
                Failure::new(error).hint(NOT_INITIALISED)
            }
            error => Failure::new(error),
        })?;
        privileges::become_owner_of(&config.state_dir)?;
        Ok(config)
    }

    /// The configuration and the open database.
    fn open(&self) -> Result<(Config, Db), Failure> {
        let config = self.become_owner()?;
        let db = open_database(&config)?;
        Ok((config, db))
    }

    /// Makes one change in the name of the person who runs this, and notifies a running server.
    fn change<T: Send + 'static, E>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>, &Config, &Actor) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure>
    where
        E: From<db::Error> + std::error::Error + Send + 'static,
    {
        self.attempt(name, work)?.map_err(Failure::new)
    }

    /// [`Self::change`] that returns the error of the work as it is.
    fn attempt<T: Send + 'static, E>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>, &Config, &Actor) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, Failure>
    where
        E: From<db::Error> + Send + 'static,
    {
        let (config, db) = self.open()?;
        let (state_dir, actor) = (config.state_dir.clone(), self.actor.clone());
        let done = db.write_blocking(name, move |tx| work(tx, &config, &actor));
        if done.is_ok() {
            client::notify_server(&state_dir);
        }
        Ok(done)
    }
}

/// Opens the existing database. Its hints never suggest creating it again, because that would hide the old
/// one.
fn open_database(config: &Config) -> Result<Db, Failure> {
    privileges::check_database(&config.state_dir)?;
    Db::open(&config.state_dir).map_err(|error| {
        let is_there = config.state_dir.join(db::FILE).exists();
        let hint = match error {
            db::Error::WrongVersion { .. } => {
                "only `kbmfa-server serve` of the right version brings it up to date".to_owned()
            }
            _ if is_there => "stop the server and restore a backup (`kbmfa-server restore`)".to_owned(),
            _ => format!(
                "there is no database in {}: `kbmfa-server init` makes one; `kbmfa-server restore` brings a backup back",
                config.state_dir.display()
            ),
        };
        Failure::new(error).hint(hint)
    })
}

/// Checks whether this account can use the database, before a server tries.
///
/// # Errors
/// What is wrong, and the fix.
pub fn check_database(config: &Config) -> Result<(), Failure> {
    Ok(privileges::check_database(&config.state_dir)?)
}

/// What went wrong, and perhaps what to do about it.
#[derive(Debug)]
pub struct Failure {
    error: String,
    hints: Vec<String>,
    exit: Exit,
}

impl From<Refusal> for Failure {
    fn from(Refusal { error, hints }: Refusal) -> Self {
        Self { error, hints, exit: Exit::Failed }
    }
}

/// The exit status of a verb that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It failed.
    Failed,
    /// A dry run found something that would change, and has printed it.
    WouldChange,
    /// The reader of the output has closed it.
    ReaderGone,
    /// The command line is wrong.
    Usage,
}

impl Exit {
    /// The exit status; `docs/operations.md` lists them.
    pub fn status(self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Failed => 1,
            Self::WouldChange => 2,
            // EX_USAGE of sysexits.h; clap's own 2 would read as a dry run that found something.
            Self::Usage => 64,
        }
    }
}

impl Failure {
    /// An error without a hint.
    pub fn new(error: impl fmt::Display) -> Self {
        Self { error: error.to_string(), hints: Vec::new(), exit: Exit::Failed }
    }

    /// A wrong command line.
    pub fn usage(error: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, ..Self::new(error) }
    }

    /// A dry run has printed what would change.
    pub(super) fn would_change() -> Self {
        Self { exit: Exit::WouldChange, ..Self::new("") }
    }

    /// Standard output was closed by its reader.
    pub(super) fn reader_gone() -> Self {
        Self { exit: Exit::ReaderGone, ..Self::new("") }
    }

    /// The failure as a finding of `doctor`.
    fn finding(&self, what: &str) -> Finding {
        let finding = Finding::fault(what, &self.error);
        if self.hints.is_empty() { finding } else { finding.fix(self.hints.join("; ")) }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The error for programs: `{"error": "..", "hints": [".."]}`.
    pub fn to_json(&self) -> String {
        serde_json::json!({ "error": self.error, "hints": self.hints }).to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.error.lines().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}kbmfa-server: error: {line}")?;
        }
        self.hints.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}
