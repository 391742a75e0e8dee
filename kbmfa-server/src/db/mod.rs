//! The database: one writer with group commit, a few readers, named transactions, migrations.
//!
//! `rusqlite` is named in this folder only. Stores speak to [`Tx`] in the SQL that SQLite and PostgreSQL
//! share, so no store may assume that this process is the only one.

pub mod lease;
pub mod meta;
pub mod probe;
pub mod replace;

mod migrate;
mod tx;
mod writer;

pub use migrate::SCHEMA_VERSION;
#[cfg(test)]
pub(crate) use tx::steps;
pub use tx::{Row, Tx, Value};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Time};
use crate::shared::Shared;
use writer::{Priority, When};

/// Name of the database file inside the state directory.
pub const FILE: &str = "kbmfa.db";

/// How long a transaction waits for another process's lock before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one piece of bulk work should take at the most ([`Db::write_bulk`]): the next login waits for it.
pub const BULK_WORK: Duration = writer::BULK_TIME;

/// Longest rest between two turns of work that another process may be waiting for.
const REST_MAX: Duration = Duration::from_millis(200);

/// Why the database did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// SQLite's own words.
    #[error("database: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// The schema is not the one this program was written for.
    #[error("{path} has schema version {found}, and this program needs version {SCHEMA_VERSION}")]
    WrongVersion {
        /// The database file.
        path: String,
        /// The version that it has.
        found: i64,
    },
    /// A row holds a value that no version of this program wrote.
    #[error("database holds a value that makes no sense: {0}")]
    BadValue(String),
    /// A restored database takes nothing until somebody has confirmed the restore.
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
    /// The database took back a whole transaction, and with it the work of several callers.
    #[error("the database took back the transaction")]
    RolledBack,
    /// A write did not end in time.
    #[error("the database did not take a write within {0:?}")]
    Slow(Duration),
    /// More work waits than can be done in time.
    #[error("the database is overloaded")]
    Overloaded,
    /// The writer has ended.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// True if a new process may do better: not for a full disk, a lock that another program holds, or a restore that is
    /// to be confirmed. A server that runs refuses logins then; one that ends is unreachable, which is worse.
    pub fn may_end_by_restart(&self) -> bool {
        let lasts = [rusqlite::ErrorCode::DiskFull, rusqlite::ErrorCode::DatabaseBusy];
        match self {
            Self::Sqlite(error) => error.sqlite_error_code().is_none_or(|code| !lasts.contains(&code)),
            Self::ReadOnly | Self::RolledBack | Self::Overloaded => false,
            _ => true,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// A handle to the database. Clones share everything.
#[derive(Clone)]
pub struct Db {
    path: Arc<PathBuf>,
    clock: Arc<dyn Clock>,
    writer: writer::Writer,
    idle_readers: Arc<Shared<Vec<Connection>>>,
}

impl Db {
    /// Opens the database in `state_dir`, which must be at [`SCHEMA_VERSION`].
    ///
    /// # Errors
    /// [`Error::WrongVersion`] for any other version; [`Error::Sqlite`] if there is no database.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        Self::with_clock(state_dir, Arc::new(SystemClock))
    }

    /// Opens the database in `state_dir`, brings its schema up to date, and makes it if there is none.
    /// Only `init` and `serve` may do that.
    ///
    /// # Errors
    /// [`Error::WrongVersion`] if it was written by a newer program.
    pub fn open_and_migrate(state_dir: &Path) -> Result<Self, Error> {
        let mut connection = connect(&state_dir.join(FILE), OpenFlags::SQLITE_OPEN_CREATE)?;
        migrate::run(&mut connection, &state_dir.join(FILE))?;
        drop(connection);
        Self::open(state_dir)
    }

    /// The moment now, by the clock of the transactions.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// [`Self::open`] with another clock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_clock(state_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let path = state_dir.join(FILE);
        let connection = connect(&path, OpenFlags::empty())?;
        migrate::expect_current(&connection, &path)?;
        // 64 MB: an event goes to the end of its table and to a random place in each index. With the default of
        // 2 MB a long record's commits would write most pages more than once.
        connection.pragma_update(None, "cache_size", -65_536)?;
        let writer = writer::Writer::start(connection, Arc::clone(&clock))?;
        Ok(Self { path: Arc::new(path), clock, writer, idle_readers: Arc::default() })
    }

    /// Runs `work` in a write transaction and returns after its commit is on disk. Work that fails leaves
    /// nothing behind. Several callers' work may share one commit.
    ///
    /// # Errors
    /// What `work` returns, or that the commit failed.
    pub async fn write<T, E>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.writer
            .submit(name, (Priority::Urgent, When::Writable), work)?
            .await
            .map_err(|_| E::from(Error::Closed))?
    }

    /// [`Self::write`] for work that no login waits for: reports, clearing up, indexing. It comes behind all other
    /// work, one piece at least in each commit. A piece may take [`BULK_WORK`] about: whoever has more to do
    /// splits it.
    ///
    /// # Errors
    /// As [`Self::write`]; [`Error::Overloaded`] long before other work is refused.
    pub async fn write_bulk<T, E>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let answer = self.writer.submit(name, (Priority::Bulk, When::Writable), work)?;
        answer.await.map_err(|_| E::from(Error::Closed))?
    }

    /// [`Self::write`] for programs without an async runtime.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_blocking<T, E>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.writer
            .submit(name, (Priority::Urgent, When::Writable), work)?
            .blocking_recv()
            .map_err(|_| E::from(Error::Closed))?
    }

    /// Does `work` again and again, each time in a transaction of its own, until it says that there is no more. In between it
    /// rests as long as it worked, so that another process - the server, and with it every login - gets its turn.
    ///
    /// # Errors
    /// As [`Self::write`].
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line has nothing to do while others have their turn"
    )]
    pub fn write_in_turns<E: From<Error> + Send + 'static>(
        &self,
        name: &'static str,
        work: fn(&Tx<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        loop {
            let begun = self.now();
            if !self.write_blocking(name, work)? {
                return Ok(());
            }
            std::thread::sleep(self.now().since(begun).min(REST_MAX));
        }
    }

    /// [`Self::write_blocking`] also while the database is read-only: for what puts it there and ends it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_even_read_only<T, E>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.writer
            .submit(name, (Priority::Urgent, When::Always), work)?
            .blocking_recv()
            .map_err(|_| E::from(Error::Closed))?
    }

    /// Runs `work` on a consistent snapshot. Blocks its thread: async code uses [`Self::read`].
    ///
    /// # Errors
    /// What `work` returns.
    pub fn read_blocking<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.idle_readers.with(Vec::pop);
        let connection = match idle {
            Some(connection) => connection,
            None => reader(&self.path)?,
        };
        let result = {
            let snapshot = connection.unchecked_transaction().map_err(Error::from)?;
            work(&Tx::new(&snapshot, self.clock.now()))
        };
        self.idle_readers.with(|idle| idle.push(connection));
        result
    }

    /// Runs `work` on a consistent snapshot, on a thread where it may block.
    ///
    /// # Errors
    /// What `work` returns.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let db = self.clone();
        let joined = tokio::task::spawn_blocking(move || db.read_blocking(work)).await;
        joined.map_err(|_| E::from(Error::Closed))?
    }

    /// What SQLite finds wrong with the file; nothing if it is sound. Reads all of it.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if it cannot be read at all.
    pub fn faults(&self) -> Result<Vec<String>, Error> {
        let found = self
            .read_blocking(|tx| tx.query("PRAGMA integrity_check", &[], |row| row.text("integrity_check")))?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }

    /// Closes the database and returns when its files are closed, if this is the last handle.
    pub fn close(self) {
        drop(self.idle_readers.with(std::mem::take));
        self.writer.close();
    }

    /// Copies the whole database, as of one moment, into a file that is not there or empty, and takes a
    /// look at the copy. Writers go on meanwhile, and cannot hold it up.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be written; what `look` says.
    pub fn backup<T>(&self, to: &Path, look: impl FnOnce(&Tx<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let source = connect(&self.path, OpenFlags::empty())?;
        source.execute("VACUUM INTO ?1", [to.display().to_string()])?;
        let copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        look(&Tx::new(&copy, self.clock.now()))
    }

    /// A number that changes whenever anybody commits.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn watch(&self) -> Result<Changes, Error> {
        Ok(Changes { connection: reader(&self.path)? })
    }

    /// Waits until the writer has ended, which it does only by a fault.
    pub async fn writer_ends(&self) {
        self.writer.ends().await;
    }

    /// Jobs done and commits made since the start.
    pub fn counters(&self) -> (u64, u64) {
        self.writer.counters()
    }

    /// Jobs since the start whose commit failed.
    pub fn failed_writes(&self) -> u64 {
        self.writer.failed()
    }

    /// Returns when the writer has done everything that was waiting. Writes nothing.
    ///
    /// # Errors
    /// What the database says; it is the writer's round all the same.
    pub async fn writer_goes_round(&self) -> Result<(), Error> {
        let nothing = |_: &Tx<'_>| Ok::<_, Error>(());
        self.writer
            .submit("round", (Priority::Urgent, When::Always), nothing)?
            .await
            .map_err(|_| Error::Closed)?
    }

    /// SQLite's own check of the file: empty if all is well.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn integrity(&self) -> Result<Vec<String>, Error> {
        let connection = reader(&self.path)?;
        let mut check = connection.prepare("PRAGMA integrity_check")?;
        let lines = check.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

/// Tells whether anybody, in any process, has committed.
pub struct Changes {
    connection: Connection,
}

impl Changes {
    /// A number that differs from the one before if there was a commit in between.
    ///
    /// # Errors
    /// [`Error::Sqlite`] if the file cannot be read.
    pub fn version(&self) -> Result<i64, Error> {
        Ok(self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
    }
}

fn connect(path: &Path, more: OpenFlags) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // WAL: readers never wait for the writer. FULL: an approval survives a power cut.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // A plan does not depend on the values that a statement is run with. Otherwise SQLite parses whatever sorts or joins
    // anew each time, lest another plan fit them better; no statement of ours is written to gain by that.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn reader(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path, OpenFlags::empty())?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

#[cfg(test)]
mod plans;

#[cfg(test)]
pub(crate) mod testing {
    //! A database in a directory of its own.

    use super::*;
    use crate::clock::ManualClock;

    /// Noon of a plain day.
    pub(crate) const START: i64 = 1_795_262_400_000_000;

    /// A fresh database with a clock that the test moves.
    pub(crate) struct Fixture {
        /// The database.
        pub(crate) db: Db,
        /// Its clock.
        pub(crate) clock: ManualClock,
        /// Its directory, removed at the end.
        pub(crate) dir: tempfile::TempDir,
    }

    /// Makes one.
    pub(crate) fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        Db::open_and_migrate(dir.path()).unwrap().close();
        let clock = ManualClock::new(Time::from_micros(START));
        let db = Db::with_clock(dir.path(), Arc::new(clock.clone())).unwrap();
        Fixture { db, clock, dir }
    }
}

#[cfg(test)]
mod tests;
