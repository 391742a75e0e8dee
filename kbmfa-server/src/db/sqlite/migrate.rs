//! The schema as a list of steps. A released step never changes: a test compares its checksum.

use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

use crate::db::Error;

/// All steps, oldest first. The schema version is the number of steps that were run.
const STEPS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_approval.sql"),
    include_str!("../../../migrations/sqlite/0002_employees.sql"),
    include_str!("../../../migrations/sqlite/0003_audit_search.sql"),
    include_str!("../../../migrations/sqlite/0004_sessions.sql"),
    include_str!("../../../migrations/sqlite/0005_credentials.sql"),
    include_str!("../../../migrations/sqlite/0006_auth_token.sql"),
    include_str!("../../../migrations/sqlite/0007_relay.sql"),
    include_str!("../../../migrations/sqlite/0008_source_key.sql"),
    include_str!("../../../migrations/sqlite/0009_look_backs.sql"),
    include_str!("../../../migrations/sqlite/0010_accounts.sql"),
    include_str!("../../../migrations/sqlite/0011_ask_copy.sql"),
    include_str!("../../../migrations/sqlite/0012_credential_host.sql"),
    include_str!("../../../migrations/sqlite/0013_account.sql"),
    include_str!("../../../migrations/sqlite/0014_console_asks.sql"),
    include_str!("../../../migrations/sqlite/0015_session_typed.sql"),
    include_str!("../../../migrations/sqlite/0016_roster.sql"),
    include_str!("../../../migrations/sqlite/0017_enrolment.sql"),
    include_str!("../../../migrations/sqlite/0018_host_keys.sql"),
    include_str!("../../../migrations/sqlite/0019_deliveries.sql"),
    include_str!("../../../migrations/sqlite/0020_gone_keys.sql"),
    include_str!("../../../migrations/sqlite/0021_adoption.sql"),
    include_str!("../../../migrations/sqlite/0022_own_login.sql"),
];

/// The schema version that this program reads and writes.
pub const SCHEMA_VERSION: i64 = 22;

/// Runs the missing steps, all in one transaction.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let missing = usize::try_from(found).ok().and_then(|taken| STEPS.get(taken..));
    let Some(missing) = missing else {
        return Err(Error::WrongVersion { path: path.display().to_string(), found });
    };
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(transaction.commit()?)
}

/// Refuses a schema of any other version.
pub(super) fn expect_current(connection: &Connection, path: &Path) -> Result<(), Error> {
    match version(connection)? {
        SCHEMA_VERSION => Ok(()),
        found => Err(Error::WrongVersion { path: path.display().to_string(), found }),
    }
}

fn version(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_version_is_the_number_of_steps() {
        assert_eq!(usize::try_from(SCHEMA_VERSION).unwrap(), STEPS.len());
    }

    #[test]
    fn each_step_runs_on_a_database_with_events() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(STEPS[0]).unwrap();
        let body = r#"{"actor":{"who":"console:root","claim":"alice"}}"#;
        let sql = "INSERT INTO event (seq, at, kind, actor, body, prev, seal, version)
                   VALUES (1, 0, 'pool.added', 'console:root', ?1, x'', x'', 1)";
        connection.execute(sql, [body]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        run(&mut connection, Path::new("x")).unwrap();
        let claim: String = connection.query_row("SELECT claim FROM event", [], |row| row.get(0)).unwrap();
        assert_eq!(claim, "alice");
        let missing: i64 = connection
            .query_row("SELECT missing_before FROM event_words_state", [], |row| row.get(0))
            .unwrap();
        assert_eq!(missing, 2, "words of events that were there before are still to come");
    }

    #[test]
    fn older_logins_count_by_their_exact_source() {
        let mut connection = Connection::open_in_memory().unwrap();
        for step in &STEPS[..7] {
            connection.execute_batch(step).unwrap();
        }
        connection
            .execute_batch("INSERT INTO machine (id, name, created_at) VALUES ('m', 'web1', 0)")
            .unwrap();
        let insert = "INSERT INTO login (id, machine_id, machine_name, opened, user, service, source, connection, verdict,
                          state, opened_at, expires_at, lapses_at, poll)
                      VALUES (?1, 'm', 'web1', '{}', 'alice', 'sshd', ?2, 'boot.1', 'ask', 'pending', 0, 0, 0, 0)";
        connection.execute(insert, ("a", Some("2001:db8::1"))).unwrap();
        connection.execute(insert, ("b", None::<&str>)).unwrap();
        connection.pragma_update(None, "user_version", 7).unwrap();
        run(&mut connection, Path::new("x")).unwrap();
        let key = |id: &str| {
            let sql = "SELECT source_key FROM login WHERE id = ?1";
            connection.query_row(sql, [id], |row| row.get::<_, String>(0)).unwrap()
        };
        assert_eq!((key("a").as_str(), key("b").as_str()), ("2001:db8::1", ""));
    }

    #[test]
    fn what_the_console_was_left_with_is_posted_or_closed() {
        let mut connection = Connection::open_in_memory().unwrap();
        for step in &STEPS[..13] {
            connection.execute_batch(step).unwrap();
        }
        connection
            .execute_batch(
                "INSERT INTO machine (id, name, created_at) VALUES ('m', 'web1', 0);
                 INSERT INTO login (id, machine_id, machine_name, opened, account, service, connection, verdict, state,
                     opened_at, expires_at, lapses_at, decided_at, poll)
                 VALUES ('l', 'm', 'web1', '{}', 'alice', 'sshd', 'boot.1', 'ask', 'denied', 1, 60, 15, 7, 0);
                 INSERT INTO ask (id, login_id, relay, destination, approvers, state, asked_at)
                 SELECT relay || '-' || state, 'l', relay, 'there', 'anyone', state, 1
                 FROM (SELECT 'console' AS relay UNION ALL SELECT 'keybase'), (SELECT 'wanted' AS state UNION ALL SELECT 'ended')",
            )
            .unwrap();
        connection.pragma_update(None, "user_version", 13).unwrap();
        run(&mut connection, Path::new("x")).unwrap();
        let mut query = connection.prepare("SELECT id, state, closed_at FROM ask ORDER BY id").unwrap();
        let read = |row: &rusqlite::Row<'_>| Ok((row.get("id")?, row.get("state")?, row.get("closed_at")?));
        let found: Vec<(String, String, Option<i64>)> =
            query.query_map([], read).unwrap().map(Result::unwrap).collect();
        let is = |id: &str, state: &str, closed_at| (id.to_owned(), state.to_owned(), closed_at);
        let expected = [
            is("console-ended", "closed", Some(7)),
            is("console-wanted", "posted", None),
            is("keybase-ended", "ended", None),
            is("keybase-wanted", "wanted", None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn running_again_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        for _ in 0..2 {
            run(&mut connection, Path::new("x")).unwrap();
            expect_current(&connection, Path::new("x")).unwrap();
        }
    }

    /// A value that is valid for a column, and names the column.
    fn sample(table: &str, column: &str, kind: &str) -> String {
        match (column, kind) {
            ("body" | "opened", _) => format!("'{{\"of\":\"{table}\"}}'"),
            (_, "INTEGER") => "1".into(),
            (_, "BLOB") => "x'01'".into(),
            (reference, _) if reference.ends_with("_id") => "'id'".into(),
            _ => format!("'{column}'"),
        }
    }

    /// The tables of the schema, each with its columns and their types. Tables that the word index makes for
    /// itself are left out.
    fn tables(connection: &Connection) -> Vec<(String, Vec<(String, String)>)> {
        let sql = "SELECT t.name AS tab, c.name AS col, c.type AS kind FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
                   WHERE t.type = 'table' AND (t.name NOT LIKE 'event_words%' OR t.name = 'event_words_state')
                   ORDER BY t.name, c.cid";
        let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
        let mut query = connection.prepare(sql).unwrap();
        let mut rows = query.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let (table, column) =
                (row.get("tab").unwrap(), (row.get("col").unwrap(), row.get("kind").unwrap()));
            match found.last_mut() {
                Some((last, columns)) if *last == table => columns.push(column),
                _ => found.push((table, vec![column])),
            }
        }
        found
    }

    fn count(connection: &Connection, table: &str) -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn no_step_loses_a_row_of_any_table_that_was_there_before_it() {
        for taken in 1..STEPS.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            connection.pragma_update(None, "foreign_keys", false).unwrap();
            for step in &STEPS[..taken] {
                connection.execute_batch(step).unwrap();
            }
            connection.pragma_update(None, "user_version", i64::try_from(taken).unwrap()).unwrap();
            let before = tables(&connection);
            for (table, columns) in &before {
                let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
                let values: Vec<_> = columns.iter().map(|(name, kind)| sample(table, name, kind)).collect();
                let sql =
                    format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
                connection.execute(&sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            let counts: Vec<_> = before.iter().map(|(table, _)| count(&connection, table)).collect();
            run(&mut connection, Path::new("x")).unwrap();
            for ((table, _), rows) in before.iter().zip(counts) {
                assert_eq!(count(&connection, table), rows, "{table}, from version {taken}");
            }
            let account = |table| {
                let sql = format!("SELECT account FROM {table}");
                connection.query_row(&sql, [], |row| row.get::<_, String>(0)).unwrap()
            };
            let renamed = if taken < 13 { "user" } else { "account" };
            assert_eq!(account("login"), renamed);
            assert_eq!(account("event"), renamed);
        }
    }
}
