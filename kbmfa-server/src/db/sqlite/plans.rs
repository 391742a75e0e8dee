//! Checks the query plan of every SQL statement in the sources. A statement on a table that grows with use
//! must find its rows by an index and in the index's order, so that no statement slows down as tables grow.

use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;

use super::open;
use crate::db::{Dialect, FILE, statements, testing};

/// Tables that grow with every login, report or message.
const GROWING: &[&str] = &[
    "login",
    "ask",
    "ask_copy",
    "answer",
    "event",
    "session",
    "report",
    "notice",
    "event_words",
    "event_words_docsize",
    "own_login",
];

/// Statements that read many rows on purpose: the file, a piece of the statement, and why that does no harm.
const MEANT: &[(&str, &str, &str)] = &[
    ("logins/store.rs", "count(*) AS n FROM login WHERE state = 'pending'", "by an index of those that wait"),
    ("audit/store/index.rs", "DELETE FROM event_words WHERE rowid <= ?1", "it goes by the rows' numbers"),
    (
        "logins/store.rs",
        "UNION ALL SELECT login_id",
        "an archive is made, in a reader: all that is unfinished",
    ),
    ("restore/store.rs", "GROUP BY kind", "a restore is made: the backup's rest of the audit log, read once"),
    ("sessions/store.rs", "WHERE ?1 = '' OR account = ?1", "the operator's list, in a reader, newest first"),
    ("sessions/store.rs", "own.connection = login.connection", "the operator's list, in a reader"),
    (
        "sessions/store.rs",
        "FROM session WHERE opened_at IS NOT NULL AND closed_at IS NULL",
        "by the index of open ones",
    ),
];

/// The steps of a plan that read a growing table from end to end, or sort it.
fn costly_steps(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let words: Vec<&str> =
        sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let is_growing = |name: &str| {
        let stands_for =
            words.windows(3).find(|three| three[1] == "AS" && three[2] == name).map(|three| three[0]);
        GROWING.contains(&stands_for.unwrap_or(name))
    };
    let touches_growing = words.iter().any(|word| GROWING.contains(word));
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let (mut rows, mut steps) = (explain.raw_query(), Vec::new());
    while let Some(row) = rows.next()? {
        steps.push(row.get::<_, String>("detail")?);
    }
    // Without a condition the limit ends the scan early.
    let is_limited = !words.contains(&"WHERE") && words.contains(&"LIMIT");
    let scans = |step: &str| {
        step.strip_prefix("SCAN ").is_some_and(|rest| is_growing(rest.split(' ').next().unwrap()))
    };
    Ok(steps
        .into_iter()
        .filter(|step| scans(step) && !is_limited || touches_growing && step.contains("TEMP B-TREE"))
        .collect())
}

#[test]
fn every_statement_finds_what_it_looks_for_by_an_index() {
    let fixture = testing::sqlite_fixture();
    let connection = open(&fixture.dir.path().join(FILE), OpenFlags::empty()).unwrap();
    let (mut seen, mut faults, mut meant) = (0, Vec::new(), BTreeSet::new());
    for (file, sql) in statements::all(Dialect::Sqlite) {
        seen += 1;
        let steps = costly_steps(&connection, &sql).unwrap_or_else(|error| panic!("{file}: {sql}: {error}"));
        let excuse = MEANT.iter().position(|(of, piece, _)| *of == file && sql.contains(piece));
        match (steps.is_empty(), excuse) {
            (true, _) => {}
            (false, Some(excuse)) => drop(meant.insert(excuse)),
            (false, None) => faults.push(format!("{file}: {}\n    {sql}", steps.join(", "))),
        }
    }
    let idle = MEANT.iter().enumerate().filter(|(n, _)| !meant.contains(n));
    faults.extend(idle.map(|(_, (file, piece, _))| format!("{file}: {piece:?} needs no excuse any more")));
    assert!(seen > 100, "this test has lost sight of the statements: it sees {seen}");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn this_test_sees_scans_and_sorting() {
    let fixture = testing::sqlite_fixture();
    let connection = open(&fixture.dir.path().join(FILE), OpenFlags::empty()).unwrap();
    let costly = |sql: &str| costly_steps(&connection, sql).unwrap().len();
    assert_eq!(costly("SELECT machine_name FROM login WHERE machine_name = ?1"), 1);
    assert_eq!(
        costly("SELECT own.account FROM login AS own WHERE own.reason = ?1 ORDER BY own.reason, own.opened"),
        2
    );
    assert_eq!(costly("SELECT name FROM machine ORDER BY created_at"), 0);
    assert_eq!(costly("SELECT account FROM login WHERE id = ?1"), 0);
}
