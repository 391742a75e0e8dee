//! Errors of the database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::SCHEMA_VERSION;

/// Why the database failed. It can be cloned, because several callers may share one commit.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The engine's own error.
    #[error("database: {0}")]
    Engine(EngineError),
    /// The schema has another version than this program needs.
    #[error("{path} has schema version {found}, and this program needs version {SCHEMA_VERSION}")]
    WrongVersion {
        /// The database file.
        path: String,
        /// The version that it has.
        found: i64,
    },
    /// A row has a value that no version of this program writes.
    #[error("the database contains an invalid value: {0}")]
    BadValue(String),
    /// A restored database is read-only until somebody has confirmed the restore.
    #[error(
        "the database was restored from a backup and is read-only until `kbmfa-server restore --confirm`"
    )]
    ReadOnly,
    /// Another program has the file open.
    #[error("{0} is in use; stop every server on it first")]
    InUse(String),
    /// A file could not be copied or moved.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// Why.
        cause: Arc<std::io::Error>,
    },
    /// The database rolled back a whole transaction, with the work of several callers.
    #[error("the database rolled back the transaction")]
    RolledBack,
    /// A write did not end in time.
    #[error("the database did not accept a write within {0:?}")]
    Slow(Duration),
    /// More work waits than can be done in time.
    #[error("the database is overloaded")]
    Overloaded,
    /// The writer has ended.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// True if a restart of the server may help. False for a full disk, another program's lock or an
    /// unconfirmed restore: a server that keeps running then refuses logins, and one that exits would be
    /// unreachable, which is worse.
    pub fn may_end_by_restart(&self) -> bool {
        match self {
            Self::Engine(error) => !error.outlasts_a_restart,
            Self::ReadOnly | Self::RolledBack | Self::Overloaded => false,
            _ => true,
        }
    }
}

/// An engine's error.
#[derive(Debug, Clone)]
pub struct EngineError {
    cause: Arc<dyn std::error::Error + Send + Sync>,
    /// True for a full disk or another program's lock, which a restart does not change.
    outlasts_a_restart: bool,
}

impl EngineError {
    pub(super) fn new(
        cause: impl std::error::Error + Send + Sync + 'static,
        outlasts_a_restart: bool,
    ) -> Self {
        Self { cause: Arc::new(cause), outlasts_a_restart }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}
