//! A temporary database for one test: SQLite, or PostgreSQL if `KBMFA_TEST_POSTGRES` has the address of a
//! server.

use std::sync::atomic::{AtomicU32, Ordering};

use super::postgres::Postgres;
use super::*;
use crate::clock::ManualClock;

/// Start of a test's clock, in microseconds since 1970: noon of an ordinary day.
pub(crate) const START: i64 = 1_795_262_400_000_000;

/// A fresh database with a clock that the test moves.
pub(crate) struct Fixture {
    /// The database.
    pub(crate) db: Db,
    /// Its clock.
    pub(crate) clock: ManualClock,
    /// A directory, removed at the end. SQLite has its file in it.
    pub(crate) dir: tempfile::TempDir,
    /// The schema in PostgreSQL; `None` for SQLite, whose file is in the directory.
    schema: Option<Schema>,
}

/// A schema of a PostgreSQL database, dropped at the end.
struct Schema {
    url: String,
    name: String,
}

impl Drop for Schema {
    fn drop(&mut self) {
        let dropped = ::postgres::Client::connect(&self.url, ::postgres::NoTls)
            .and_then(|mut client| client.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.name)));
        if let Err(error) = dropped {
            log::warn!("{}: {error}", self.name);
        }
    }
}

impl Fixture {
    /// Name of its schema in PostgreSQL.
    pub(super) fn schema_name(&self) -> String {
        self.schema.as_ref().unwrap().name.clone()
    }

    /// Opens the same database as another process would.
    pub(crate) fn reopen(&self) -> Db {
        self.reopen_with(&self.clock)
    }

    /// Opens the same database with another clock.
    pub(crate) fn reopen_with(&self, clock: &ManualClock) -> Db {
        match &self.schema {
            None => Db::with_clock(self.dir.path(), Arc::new(clock.clone())).unwrap(),
            Some(schema) => {
                let clock = Arc::new(clock.clone());
                Db::start(Arc::new(Postgres::new(&schema.url, &schema.name, clock))).unwrap()
            }
        }
    }
}

/// Address of the PostgreSQL database, if the tests are to use one.
#[expect(clippy::disallowed_methods, reason = "tests/setup/postgres.sh hands it over so")]
pub(super) fn postgres_url() -> Option<String> {
    std::env::var("KBMFA_TEST_POSTGRES").ok()
}

/// Runs a test's async work. The fixture is made before and dropped after, outside the runtime, because
/// PostgreSQL's client blocks.
pub(crate) fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

/// A fixture in the engine that the tests use.
pub(crate) fn fixture() -> Fixture {
    match postgres_url() {
        None => sqlite_fixture(),
        Some(url) => postgres_fixture(url),
    }
}

/// A fixture in SQLite, for tests of what other engines do not have.
pub(crate) fn sqlite_fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    Db::open_and_migrate(dir.path()).unwrap().close();
    let clock = ManualClock::new(Time::from_micros(START));
    let db = Db::with_clock(dir.path(), Arc::new(clock.clone())).unwrap();
    Fixture { db, clock, dir, schema: None }
}

/// A fixture in PostgreSQL.
pub(super) fn postgres_fixture(url: String) -> Fixture {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let clock = ManualClock::new(Time::from_micros(START));
    let engine = Postgres::new(&url, &name, Arc::new(clock.clone()));
    engine.migrate().unwrap();
    let db = Db::start(Arc::new(engine)).unwrap();
    Fixture { db, clock, dir: tempfile::tempdir().unwrap(), schema: Some(Schema { url, name }) }
}
