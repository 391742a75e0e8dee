//! The engine that ships: SQLite, in one file with a write-ahead log.

mod migrate;

use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, ToSqlOutput, ValueRef};
use rusqlite::{OpenFlags, ToSql, params_from_iter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::engine::{self, Access, Columns, Dialect, ReadRow};
use super::error::EngineError;
use super::{Error, Value};
use crate::clock::{Clock, Time};
pub use migrate::SCHEMA_VERSION;

/// How long a transaction waits for another process's lock before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of prepared statements that a connection caches: more than there are.
const CACHED_STATEMENTS: usize = 256;

/// The writer's page cache in KiB. An event is written at the end of its table, and at a random position in
/// each index. With the default of 2 MiB, commits to a long audit log would write most pages more than once.
const WRITER_CACHE: i64 = 64 * 1024;

/// A database file and the clock of its transactions.
pub(super) struct Sqlite {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Sqlite {
    pub(super) fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { path, clock }
    }

    fn open(&self, more: OpenFlags) -> Result<Connection, Error> {
        Ok(Connection { sqlite: open(&self.path, more)?, clock: Arc::clone(&self.clock) })
    }
}

impl engine::Engine for Sqlite {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn connect(&self, access: Access) -> Result<Box<dyn engine::Connection>, Error> {
        let connection = self.open(OpenFlags::empty())?;
        match access {
            Access::Write => connection.sqlite.pragma_update(None, "cache_size", -WRITER_CACHE)?,
            Access::Read => connection.sqlite.pragma_update(None, "query_only", true)?,
        }
        Ok(Box::new(connection))
    }

    fn changes(&self) -> Result<Box<dyn engine::Changes>, Error> {
        Ok(Box::new(Changes(open(&self.path, OpenFlags::empty())?)))
    }

    fn migrate(&self) -> Result<(), Error> {
        migrate::run(&mut open(&self.path, OpenFlags::SQLITE_OPEN_CREATE)?, &self.path)
    }

    fn expect_current_schema(&self) -> Result<(), Error> {
        migrate::expect_current(&open(&self.path, OpenFlags::empty())?, &self.path)
    }

    fn check(&self) -> Result<Vec<String>, Error> {
        let connection = open(&self.path, OpenFlags::empty())?;
        let mut check = connection.prepare("PRAGMA integrity_check")?;
        let lines = check.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    fn backup(&self, to: &Path) -> Result<Box<dyn engine::Connection>, Error> {
        let source = open(&self.path, OpenFlags::empty())?;
        source.execute("VACUUM INTO ?1", [to.display().to_string()])?;
        let sqlite = rusqlite::Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Box::new(Connection { sqlite, clock: Arc::clone(&self.clock) }))
    }
}

fn open(path: &Path, more: OpenFlags) -> Result<rusqlite::Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // WAL: readers never wait for the writer. FULL: a power cut loses no approval.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Each savepoint saves the pages that it changes. By default it does so in a temporary file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Plans must not depend on the values of a statement. Otherwise SQLite would prepare statements that sort
    // or join again for each value, which helps none of ours.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

struct Connection {
    sqlite: rusqlite::Connection,
    clock: Arc<dyn Clock>,
}

impl Connection {
    fn run(&self, statement: &str) -> Result<(), Error> {
        Ok(self.sqlite.prepare_cached(statement)?.execute([]).map(drop)?)
    }
}

impl engine::Connection for Connection {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn begin_write(&self) -> Result<(), Error> {
        // A deferred transaction that reads first fails with SQLITE_BUSY_SNAPSHOT if another process writes
        // before it does. No busy timeout prevents that.
        self.run("BEGIN IMMEDIATE")
    }

    fn begin_read(&self) -> Result<(), Error> {
        self.run("BEGIN")
    }

    fn is_in_transaction(&self) -> bool {
        !self.sqlite.is_autocommit()
    }

    fn commit(&self) -> Result<(), Error> {
        self.run("COMMIT")
    }

    fn roll_back(&self) {
        if self.is_in_transaction()
            && let Err(error) = self.run("ROLLBACK")
        {
            log::error!("a transaction could not be rolled back: {error}");
        }
    }

    fn savepoint(&self) -> Result<(), Error> {
        self.run("SAVEPOINT work")
    }

    fn release_savepoint(&self) -> Result<(), Error> {
        self.run("RELEASE work")
    }

    fn roll_back_to_savepoint(&self) -> Result<(), Error> {
        self.run("ROLLBACK TO work")?;
        self.run("RELEASE work")
    }

    fn execute(&self, sql: &str, values: &[Value]) -> Result<usize, Error> {
        let mut statement = self.sqlite.prepare_cached(sql)?;
        let changed = statement.execute(params_from_iter(values))?;
        count_steps(&statement);
        Ok(changed)
    }

    fn query(&self, sql: &str, values: &[Value], read: &mut ReadRow<'_>) -> Result<(), Error> {
        let mut statement = self.sqlite.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if !read(&Row(row))? {
                break;
            }
        }
        drop(rows);
        count_steps(&statement);
        Ok(())
    }
}

struct Row<'a, 'b>(&'a rusqlite::Row<'b>);

impl Row<'_, '_> {
    fn get<T: FromSql>(&self, column: &str) -> Result<Option<T>, Error> {
        Ok(self.0.get(column)?)
    }
}

impl Columns for Row<'_, '_> {
    fn integer(&self, column: &str) -> Result<Option<i64>, Error> {
        self.get(column)
    }

    fn text(&self, column: &str) -> Result<Option<String>, Error> {
        self.get(column)
    }

    fn blob(&self, column: &str) -> Result<Option<Vec<u8>>, Error> {
        self.get(column)
    }
}

struct Changes(rusqlite::Connection);

impl engine::Changes for Changes {
    fn version(&self) -> Result<i64, Error> {
        Ok(self.0.query_row("PRAGMA data_version", [], |row| row.get(0))?)
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let lasts = [rusqlite::ErrorCode::DiskFull, rusqlite::ErrorCode::DatabaseBusy];
        let lasts = error.sqlite_error_code().is_some_and(|code| lasts.contains(&code));
        Self::Engine(EngineError::new(error, lasts))
    }
}

#[cfg(not(test))]
fn count_steps(_: &rusqlite::Statement<'_>) {}

#[cfg(test)]
fn count_steps(statement: &rusqlite::Statement<'_>) {
    steps::add(statement);
}

/// Counts the steps of SQLite's virtual machine that statements take. They are the same on every computer.
#[cfg(test)]
pub(crate) mod steps {
    use rusqlite::{Statement, StatementStatus};
    use std::cell::Cell;

    thread_local!(static STEPS: Cell<i64> = const { Cell::new(0) });

    pub(super) fn add(statement: &Statement<'_>) {
        let taken = i64::from(statement.reset_status(StatementStatus::VmStep));
        STEPS.set(STEPS.get() + taken);
    }

    /// Steps that `work` takes on this thread.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (T, i64) {
        let before = STEPS.get();
        let done = work();
        (done, STEPS.get() - before)
    }
}

#[cfg(test)]
mod plans;
#[cfg(test)]
mod tests;
