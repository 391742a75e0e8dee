//! The database: one writer with group commit, a pool of readers, transactions, leases, the schema.
//!
//! Only `sqlite` knows which database engine this is. Stores use [`Tx`] with SQL that SQLite and PostgreSQL
//! share, and none may assume that this process is the only one.

pub mod at_restore;
pub mod lease;
pub mod meta;
pub mod probe;
pub mod replace;

mod engine;
mod error;
#[cfg(test)]
mod postgres;
mod sqlite;
mod tx;
mod writer;

pub use engine::Dialect;
pub use error::Error;
pub use sqlite::SCHEMA_VERSION;
#[cfg(test)]
pub(crate) use sqlite::steps;
pub use tx::{Row, Tx, Value};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::oneshot::error::RecvError;

use crate::clock::{Clock, SystemClock, Time};
use crate::shared::Shared;
use at_restore::Table;
use engine::{Access, Connection, Engine};
use sqlite::Sqlite;
use writer::{Priority, When};

/// What a restore does to this module's own tables.
pub const TABLES: &[Table] = &[
    Table::grants_nothing("lease", "expires by itself, and is taken from a process that is gone"),
    Table::grants_nothing("meta", "what the database says of itself"),
];

/// Name of the database file inside the state directory.
pub const FILE: &str = "kbmfa.db";

/// Longest time that one piece of bulk work should take ([`Db::for_bulk`]): the next login waits for it.
pub const BULK_WORK: Duration = writer::BULK_TIME;

/// Longest pause between two pieces of work, for other processes that may be waiting.
const REST_MAX: Duration = Duration::from_millis(200);

/// Maximum number of read connections in use at once. Each has a page cache of up to 2 MiB and three file descriptors.
const READERS_MAX: usize = 16;

/// A handle to the database. Clones share everything.
#[derive(Clone)]
pub struct Db {
    engine: Arc<dyn Engine>,
    writer: writer::Writer,
    /// How [`Self::write`] and [`Self::write_blocking`] queue their work.
    mode: (Priority, When),
    idle_readers: Arc<Shared<Vec<Box<dyn Connection>>>>,
    reader_permits: Arc<Semaphore>,
}

impl Db {
    /// Opens the database in `state_dir`, which must be at [`SCHEMA_VERSION`].
    ///
    /// # Errors
    /// [`Error::WrongVersion`] for any other version; [`Error::Engine`] if there is no database.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        Self::with_clock(state_dir, Arc::new(SystemClock))
    }

    /// Opens the database in `state_dir`, migrates its schema, and creates it if there is none. Only `init`
    /// and `serve` may do that.
    ///
    /// # Errors
    /// [`Error::WrongVersion`] if it was written by a newer program.
    pub fn open_and_migrate(state_dir: &Path) -> Result<Self, Error> {
        let engine = Sqlite::new(state_dir.join(FILE), Arc::new(SystemClock));
        engine.migrate()?;
        Self::start(Arc::new(engine))
    }

    /// [`Self::open`] with another clock.
    pub fn with_clock(state_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::start(Arc::new(Sqlite::new(state_dir.join(FILE), clock)))
    }

    fn start(engine: Arc<dyn Engine>) -> Result<Self, Error> {
        engine.expect_current_schema()?;
        let writer = writer::Writer::start(engine.connect(Access::Write)?)?;
        let reader_permits = Arc::new(Semaphore::new(READERS_MAX));
        let mode = (Priority::Urgent, When::Writable);
        Ok(Self { engine, writer, mode, idle_readers: Arc::default(), reader_permits })
    }

    /// The same database, for writes that no login waits for: reports, pruning, indexing. They run after all
    /// other work, but at least one piece in each commit. They are refused as [`Error::Overloaded`] long
    /// before other work is. A piece may take about [`BULK_WORK`]; split larger work.
    #[must_use]
    pub fn for_bulk(&self) -> Self {
        Self { mode: (Priority::Bulk, When::Writable), ..self.clone() }
    }

    /// The same database, also writable while it is read-only: for restore and its confirmation.
    #[must_use]
    pub fn even_read_only(&self) -> Self {
        Self { mode: (Priority::Urgent, When::Always), ..self.clone() }
    }

    /// The current time, by the clock of the transactions.
    pub fn now(&self) -> Time {
        self.engine.now()
    }

    /// Runs `work` in a write transaction, and returns after its commit is on disk. If `work` fails, it
    /// leaves nothing behind. The work of several callers may share one commit.
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
        answered(self.writer.submit(name, self.mode, work)?.await)
    }

    /// [`Self::write`] for programs without an async runtime.
    pub fn write_blocking<T, E>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        answered(self.writer.submit(name, self.mode, work)?.blocking_recv())
    }

    /// Repeats `work`, each time in its own transaction, until it returns false. Between two transactions it
    /// pauses for as long as the last one took, so that other processes, such as the server, can write.
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

    /// Runs `work` on a consistent snapshot. Blocks its thread: async code uses [`Self::read`].
    pub fn read_blocking<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.idle_readers.with(Vec::pop);
        let connection = match idle {
            Some(connection) => connection,
            None => self.engine.connect(Access::Read)?,
        };
        connection.begin_read()?;
        let result = work(&Tx::new(connection.as_ref(), connection.now()));
        connection.roll_back();
        self.idle_readers.with(|idle| {
            if idle.len() < READERS_MAX {
                idle.push(connection);
            }
        });
        result
    }

    /// Runs `work` on a consistent snapshot, on a thread where it may block.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let permit = Arc::clone(&self.reader_permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let db = self.clone();
        let read = move || {
            let result = db.read_blocking(work);
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| E::from(Error::Closed))?
    }

    /// Reads everything and lists what is damaged.
    ///
    /// # Errors
    /// If it cannot be read at all.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        self.engine.check()
    }

    /// Closes the database. If this is the last handle, returns when its files are closed.
    pub fn close(self) {
        drop(self.idle_readers.with(std::mem::take));
        self.writer.close();
    }

    /// Copies the whole database, as of one moment, into a file that does not exist or is empty, and runs
    /// `look` on the copy. Writers continue meanwhile and cannot delay it.
    ///
    /// # Errors
    /// [`Error::Engine`] if the file cannot be written; what `look` says.
    pub fn backup<T>(&self, to: &Path, look: impl FnOnce(&Tx<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let copy = self.engine.backup(to)?;
        look(&Tx::new(copy.as_ref(), copy.now()))
    }

    /// A counter that changes whenever any process commits.
    ///
    /// # Errors
    /// [`Error::Engine`] if the file cannot be read.
    pub fn watch(&self) -> Result<Changes, Error> {
        Ok(Changes(self.engine.changes()?))
    }

    /// Waits until the writer has ended. It ends only because of a fault.
    pub async fn writer_ends(&self) {
        self.writer.ends().await;
    }

    /// Number of jobs done and of commits made since the start.
    pub fn counters(&self) -> (u64, u64) {
        self.writer.counters()
    }

    /// The names of the write transactions since the last call, in order.
    #[cfg(test)]
    pub(crate) fn take_written(&self) -> Vec<&'static str> {
        self.writer.take_names()
    }

    /// Number of jobs since the start whose commit failed.
    pub fn failed_writes(&self) -> u64 {
        self.writer.failed()
    }

    /// Returns when the writer has done all queued work. Writes nothing.
    ///
    /// # Errors
    /// The error does not matter to the caller: the writer has made a round.
    pub async fn writer_goes_round(&self) -> Result<(), Error> {
        let nothing = |_: &Tx<'_>| Ok::<_, Error>(());
        self.writer
            .submit("round", (Priority::Urgent, When::Always), nothing)?
            .await
            .map_err(|_| Error::Closed)?
    }
}

/// The writer's result for a piece of work; an error if the writer has ended.
fn answered<T, E: From<Error>>(answer: Result<Result<T, E>, RecvError>) -> Result<T, E> {
    answer.unwrap_or_else(|_| Err(E::from(Error::Closed)))
}

/// Detects commits by any process.
pub struct Changes(Box<dyn engine::Changes>);

impl Changes {
    /// A number that differs from the one before if there was a commit in between.
    pub fn version(&self) -> Result<i64, Error> {
        self.0.version()
    }
}

#[cfg(test)]
mod statements;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
