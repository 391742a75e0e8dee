//! Tests of behaviour that only SQLite has.

use rusqlite::{Connection, OpenFlags, StatementStatus};

use super::open;
use crate::db::testing::sqlite_fixture;
use crate::db::{Db, Error, FILE, meta};

#[test]
fn a_statement_is_prepared_once_for_all_values() {
    let fixture = sqlite_fixture();
    let connection = open(&fixture.dir.path().join(FILE), OpenFlags::empty()).unwrap();
    let mut statement = connection.prepare("SELECT id FROM ask WHERE login_id = ?1 ORDER BY id").unwrap();
    for login in ["a", "b", "c"] {
        assert!(!statement.exists([login]).unwrap());
        statement.clear_bindings();
    }
    assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
}

#[test]
fn a_schema_of_another_version_is_refused() {
    let fixture = sqlite_fixture();
    let path = fixture.dir.path().join(FILE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Db::open(fixture.dir.path()), Err(Error::WrongVersion { found: 99, .. })));
    assert!(matches!(Db::open_and_migrate(fixture.dir.path()), Err(Error::WrongVersion { .. })));
}

#[test]
fn a_backup_holds_what_the_database_holds() {
    let fixture = sqlite_fixture();
    fixture.db.write_blocking("row", |tx| meta::set(tx, "x", "kept")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    fixture.db.backup(&copy.path().join(FILE), |_| Ok(())).unwrap();
    let copy = Db::open(copy.path()).unwrap();
    let kept = copy.read_blocking(|tx| meta::get(tx, "x")).unwrap();
    assert_eq!(kept.as_deref(), Some("kept"));
}
