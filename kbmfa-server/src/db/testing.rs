//! A database of one test's own.

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
    /// A directory, removed at the end. SQLite has its file in it.
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    /// The same database, as another process has it.
    pub(crate) fn reopen(&self) -> Db {
        self.reopen_with(&self.clock)
    }

    /// The same database, with another clock.
    pub(crate) fn reopen_with(&self, clock: &ManualClock) -> Db {
        Db::with_clock(self.dir.path(), Arc::new(clock.clone())).unwrap()
    }
}

/// Makes one.
pub(crate) fn fixture() -> Fixture {
    sqlite_fixture()
}

/// Makes one in SQLite, for what other engines do not have.
pub(crate) fn sqlite_fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    Db::open_and_migrate(dir.path()).unwrap().close();
    let clock = ManualClock::new(Time::from_micros(START));
    let db = Db::with_clock(dir.path(), Arc::new(clock.clone())).unwrap();
    Fixture { db, clock, dir }
}
