//! The trait of a database engine. Only SQLite ships. The unit tests also run on PostgreSQL, so that no store
//! depends on a single engine.

use std::path::Path;

use super::{Error, Value};
use crate::clock::Time;

/// The SQL dialect of an engine, for the few statements without a common form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL 15 or newer.
    Postgres,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Read,
}

/// One database.
pub(super) trait Engine: Send + Sync {
    /// The moment now, by the clock of the transactions. Does not block.
    fn now(&self) -> Time;

    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, Error>;

    /// A new counter of commits.
    fn changes(&self) -> Result<Box<dyn Changes>, Error>;

    /// Runs the missing schema steps, all in one transaction.
    fn migrate(&self) -> Result<(), Error>;

    /// Refuses a schema of any other version than [`super::SCHEMA_VERSION`].
    fn expect_current_schema(&self) -> Result<(), Error>;

    /// Reads everything and lists what is damaged.
    fn check(&self) -> Result<Vec<String>, Error>;

    /// Copies everything, as of one moment, into a file that does not exist or is empty, and opens the copy
    /// for reading.
    fn backup(&self, to: &Path) -> Result<Box<dyn Connection>, Error>;
}

/// One connection. It has at most one open transaction.
pub(super) trait Connection: Send {
    fn dialect(&self) -> Dialect;

    /// The moment now, by the clock of the transactions. Does not block.
    fn now(&self) -> Time;

    /// Begins a transaction. It holds the write lock of the database, against every process, from its first
    /// statement on.
    fn begin_write(&self) -> Result<(), Error>;

    /// Begins a transaction that sees one state of the database.
    fn begin_read(&self) -> Result<(), Error>;

    /// False after an error that rolled back the whole transaction.
    fn is_in_transaction(&self) -> bool;

    fn commit(&self) -> Result<(), Error>;

    fn roll_back(&self);

    /// Begins a savepoint. Not nested.
    fn savepoint(&self) -> Result<(), Error>;

    fn release_savepoint(&self) -> Result<(), Error>;

    fn roll_back_to_savepoint(&self) -> Result<(), Error>;

    /// Runs one statement; returns how many rows it changed.
    fn execute(&self, sql: &str, values: &[Value]) -> Result<usize, Error>;

    /// Calls `read` with each row until it returns false.
    fn query(&self, sql: &str, values: &[Value], read: &mut ReadRow<'_>) -> Result<(), Error>;
}

/// Reads one row; false ends the query.
pub(super) type ReadRow<'a> = dyn FnMut(&dyn Columns) -> Result<bool, Error> + 'a;

/// One row. A column that is NULL is `None`; one of another type, or none of that name, is an error.
pub(super) trait Columns {
    fn integer(&self, column: &str) -> Result<Option<i64>, Error>;
    fn text(&self, column: &str) -> Result<Option<String>, Error>;
    fn blob(&self, column: &str) -> Result<Option<Vec<u8>>, Error>;
}

/// Detects commits by any process.
pub(super) trait Changes: Send {
    /// A number that differs from the one before if there was a commit in between.
    fn version(&self) -> Result<i64, Error>;
}
