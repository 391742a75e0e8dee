//! The database: one writer with group commit, a few readers, named transactions, migrations.
//!
//! `rusqlite` is named in this folder only. Stores speak to [`Tx`] in the SQL that SQLite and PostgreSQL
//! share, so no store may assume that this process is the only one.

pub mod lease;
pub mod meta;
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
    /// More work waits than can be done in time.
    #[error("the database is overloaded")]
    Overloaded,
    /// The writer has ended.
    #[error("the database is closed")]
    Closed,
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
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    fn insert(name: &'static str) -> impl FnOnce(&Tx<'_>) -> Result<(), Error> + Send + 'static {
        move |tx| {
            tx.execute("INSERT INTO pool (id, name, created_at) VALUES (?1, ?1, 0)", &[name.into()])?;
            Ok(())
        }
    }

    fn pools(db: &Db) -> Vec<String> {
        db.read_blocking(|tx| tx.query("SELECT name FROM pool ORDER BY name", &[], |row| row.text("name")))
            .unwrap()
    }

    #[test]
    fn work_that_fails_leaves_nothing_behind_and_spoils_nobody_elses() {
        let fixture = testing::fixture();
        fixture.db.write_blocking("good", insert("good")).unwrap();
        let failed = fixture.db.write_blocking("bad", |tx| {
            insert("bad")(tx)?;
            Err::<(), _>(Error::BadValue("on purpose".into()))
        });
        assert!(matches!(failed, Err(Error::BadValue(_))));
        assert_eq!(pools(&fixture.db), ["good"]);
    }

    #[tokio::test]
    async fn many_writers_share_commits_and_each_gets_its_own_answer() {
        let fixture = testing::fixture();
        let writes: Vec<_> = (0..200_i64)
            .map(|n| {
                let db = fixture.db.clone();
                tokio::spawn(async move {
                    db.write("row", move |tx| {
                        let name = format!("p{n}");
                        tx.execute(
                            "INSERT INTO pool (id, name, created_at) VALUES (?1, ?1, 0)",
                            &[name.into()],
                        )?;
                        Ok::<_, Error>(n)
                    })
                    .await
                })
            })
            .collect();
        for (n, write) in (0..).zip(writes) {
            assert_eq!(write.await.unwrap().unwrap(), n);
        }
        let (jobs, commits) = fixture.db.counters();
        assert_eq!(jobs, 200);
        assert!(commits < jobs, "{commits} commits for {jobs} jobs");
    }

    /// Notes its name when it is done, and brings more work as it ends.
    fn noted(
        db: &Db,
        done: &Done,
        priority: Priority,
        name: &'static str,
        then: impl FnOnce(&Db) + Send + 'static,
    ) {
        let (done, its_db) = (Arc::clone(done), db.clone());
        let work = move |_: &Tx<'_>| {
            done.with(|done| done.push(name));
            then(&its_db);
            Ok::<_, Error>(())
        };
        drop(db.writer.submit(name, (priority, When::Writable), work).unwrap());
    }

    type Done = Arc<Shared<Vec<&'static str>>>;

    #[test]
    fn urgent_work_passes_bulk_work_that_waits_and_neither_starves() {
        let fixture = testing::fixture();
        let (db, done) = (&fixture.db, Done::default());
        let (open, opened) = std::sync::mpsc::channel::<()>();
        noted(db, &done, Priority::Urgent, "first", move |_| opened.recv().unwrap());
        for name in ["b1", "b2", "b3", "b4"] {
            noted(db, &done, Priority::Bulk, name, |_| ());
        }
        // Urgent work that comes while other urgent work is done, again and again.
        let more = Arc::clone(&done);
        noted(db, &done, Priority::Urgent, "u1", move |db| {
            let again = Arc::clone(&more);
            noted(db, &more, Priority::Urgent, "u2", move |db| {
                noted(db, &again, Priority::Urgent, "u3", |_| ());
            });
        });
        open.send(()).unwrap();
        db.write_blocking("last", |_| Ok::<_, Error>(())).unwrap();
        while done.with(|done| done.len()) < 8 {
            db.write_blocking("last", |_| Ok::<_, Error>(())).unwrap();
        }
        assert_eq!(done.get(), ["first", "u1", "b1", "u2", "b2", "u3", "b3", "b4"]);
    }

    #[test]
    fn two_processes_write_without_losing_a_row() {
        let fixture = testing::fixture();
        let other = Db::open(fixture.dir.path()).unwrap();
        std::thread::scope(|scope| {
            for (db, names) in [(&fixture.db, ["a", "b"]), (&other, ["c", "d"])] {
                scope.spawn(move || names.map(|name| db.write_blocking("row", insert(name)).unwrap()));
            }
        });
        assert_eq!(pools(&fixture.db), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_commit_by_anybody_changes_the_version() {
        let fixture = testing::fixture();
        let changes = fixture.db.watch().unwrap();
        let before = changes.version().unwrap();
        assert_eq!(changes.version().unwrap(), before);
        fixture.db.write_blocking("row", insert("x")).unwrap();
        assert_ne!(changes.version().unwrap(), before);
    }

    #[test]
    fn a_statement_is_parsed_once_whatever_values_it_is_run_with() {
        let fixture = testing::fixture();
        let connection = connect(&fixture.dir.path().join(FILE), OpenFlags::empty()).unwrap();
        let mut statement = connection.prepare("SELECT id FROM ask WHERE login_id = ?1 ORDER BY id").unwrap();
        for login in ["a", "b", "c"] {
            assert!(!statement.exists([login]).unwrap());
            statement.clear_bindings();
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }

    #[test]
    fn a_schema_of_another_version_is_refused() {
        let fixture = testing::fixture();
        let path = fixture.dir.path().join(FILE);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Db::open(fixture.dir.path()), Err(Error::WrongVersion { found: 99, .. })));
        assert!(matches!(Db::open_and_migrate(fixture.dir.path()), Err(Error::WrongVersion { .. })));
    }

    #[test]
    fn nothing_is_written_while_the_database_is_read_only() {
        let fixture = testing::fixture();
        let halt = |tx: &Tx<'_>| meta::set(tx, meta::READ_ONLY, "{}");
        fixture.db.write_blocking("halt", halt).unwrap();
        assert!(matches!(fixture.db.write_blocking("row", insert("x")), Err(Error::ReadOnly)));
        assert!(matches!(
            Db::open(fixture.dir.path()).unwrap().write_blocking("row", insert("x")),
            Err(Error::ReadOnly)
        ));
        assert!(pools(&fixture.db).is_empty());
        fixture.db.write_even_read_only("go on", |tx| meta::remove(tx, meta::READ_ONLY)).unwrap();
        fixture.db.write_blocking("row", insert("x")).unwrap();
        assert_eq!(pools(&fixture.db), ["x"]);
    }

    #[test]
    fn a_backup_holds_what_the_database_holds() {
        let fixture = testing::fixture();
        fixture.db.write_blocking("row", insert("kept")).unwrap();
        let copy = tempfile::tempdir().unwrap();
        fixture.db.backup(&copy.path().join(FILE), |_| Ok(())).unwrap();
        assert_eq!(pools(&Db::open(copy.path()).unwrap()), ["kept"]);
    }
}
