//! The word index. It hides full-text search behind four statements, the only ones that differ between
//! database engines. The index is not evidence: search results are read from the sealed rows, and the index
//! can be rebuilt at any time.

use super::{Error, Tx};
use crate::audit::words::{self, Wanted};
use crate::db::Dialect;

/// Number of events indexed in one transaction, so that other work does not wait long.
const BATCH: i64 = 100;

/// The statements of an engine's full-text search.
struct Statements {
    add: &'static str,
    clear: &'static str,
    /// True for a row of `event_words` that matches the expression `?1`.
    matches: &'static str,
    /// The expression for words that begin with a text.
    beginning: &'static str,
    and: &'static str,
    /// Counts the events that are missing in the index. It reads the index's own table of rows, because a
    /// search for each of millions of events would take minutes.
    hidden: &'static str,
}

const SQLITE: Statements = Statements {
    add: "INSERT INTO event_words (rowid, words) VALUES (?1, ?2)",
    clear: "INSERT INTO event_words (event_words) VALUES ('delete-all')",
    matches: "event_words MATCH ?1",
    beginning: " *",
    and: " AND ",
    hidden: "SELECT count(*) AS n FROM event WHERE seq >= (SELECT missing_before FROM event_words_state)
             AND seq NOT IN (SELECT id FROM event_words_docsize)",
};

const POSTGRES: Statements = Statements {
    add: "INSERT INTO event_words (rowid, words) VALUES (?1, array_to_tsvector(string_to_array(?2, ' ')))",
    clear: "DELETE FROM event_words",
    matches: "event_words.words @@ ?1::text::tsquery",
    beginning: ":*",
    and: " & ",
    hidden: "SELECT count(*) AS n FROM event WHERE seq >= (SELECT missing_before FROM event_words_state)
             AND seq NOT IN (SELECT rowid FROM event_words)",
};

fn statements(tx: &Tx<'_>) -> &'static Statements {
    match tx.dialect() {
        Dialect::Sqlite => &SQLITE,
        Dialect::Postgres => &POSTGRES,
    }
}

/// Indexes the words of an event, right before the commit and together with those of all other events in it.
/// SQLite would otherwise write its index once for each savepoint.
pub(super) fn add(tx: &Tx<'_>, seq: i64, body: &str) -> Result<(), Error> {
    let words = words::of_event(body);
    tx.execute_before_commit(statements(tx).add, vec![seq.into(), words.into()])
}

/// Removes the words of the events up to `last`.
pub(super) fn remove_to(tx: &Tx<'_>, last: i64) -> Result<(), Error> {
    tx.execute("DELETE FROM event_words WHERE rowid <= ?1", &[last.into()])?;
    Ok(())
}

/// The condition for rows of `event_words` with all these words, and the value of its `?1`.
pub(super) fn matching(dialect: Dialect, wanted: &[Wanted]) -> (&'static str, String) {
    let (statements, quote) = match dialect {
        Dialect::Sqlite => (&SQLITE, '"'),
        Dialect::Postgres => (&POSTGRES, '\''),
    };
    let terms = wanted.iter().map(|wanted| {
        let end = if wanted.beginning { statements.beginning } else { "" };
        format!("{quote}{}{quote}{end}", escaped(dialect, &wanted.word))
    });
    (statements.matches, terms.collect::<Vec<_>>().join(statements.and))
}

/// Escapes a word for the engine. Words never contain SQLite's quotation mark.
fn escaped(dialect: Dialect, word: &str) -> String {
    match dialect {
        Dialect::Sqlite => word.to_owned(),
        Dialect::Postgres => word.replace('\\', "\\\\").replace('\'', "''"),
    }
}

/// True if every event can be found by its words.
pub fn is_complete(tx: &Tx<'_>) -> Result<bool, Error> {
    Ok(state(tx)? == (words::FORM, 0))
}

/// Indexes some of the missing events; true if there are more.
pub fn complete_some(tx: &Tx<'_>) -> Result<bool, Error> {
    let (form, mut missing_before) = state(tx)?;
    if form != words::FORM {
        missing_before = reset(tx)?;
    }
    if missing_before == 0 {
        return Ok(false);
    }
    let batch = tx.query(
        "SELECT seq, body FROM event WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
        &[missing_before.into(), BATCH.into()],
        |row| Ok((row.integer("seq")?, row.text("body")?)),
    )?;
    for (seq, body) in &batch {
        add(tx, *seq, body)?;
    }
    let missing_before = batch.last().map_or(0, |(seq, _)| *seq);
    tx.execute("UPDATE event_words_state SET missing_before = ?1", &[missing_before.into()])?;
    Ok(missing_before != 0)
}

/// Clears the index. Returns the number of the first event that will be indexed at once; older ones are
/// missing now.
pub fn reset(tx: &Tx<'_>) -> Result<i64, Error> {
    tx.execute_deferred()?;
    tx.execute(statements(tx).clear, &[])?;
    let missing_before = super::head(tx)?.seq + 1;
    tx.execute(
        "UPDATE event_words_state SET form = ?1, missing_before = ?2",
        &[words::FORM.into(), missing_before.into()],
    )?;
    Ok(missing_before)
}

/// The number of events that are missing although the index is marked as complete.
pub fn hidden(tx: &Tx<'_>) -> Result<i64, Error> {
    Ok(tx.query_one(statements(tx).hidden, &[], |row| row.integer("n"))?.unwrap_or(0))
}

fn state(tx: &Tx<'_>) -> Result<(i64, i64), Error> {
    let sql = "SELECT form, missing_before FROM event_words_state";
    let state = tx.query_one(sql, &[], |row| Ok((row.integer("form")?, row.integer("missing_before")?)))?;
    state.ok_or_else(|| Error::BadValue("event_words_state has no row".into()))
}

#[cfg(test)]
mod tests {
    use super::super::append;
    use super::super::search::{Filter, search};
    use super::*;
    use crate::audit::event::{Actor, Event, Kind};
    use crate::db::testing::{Fixture, fixture};

    fn with_events(count: usize) -> Fixture {
        let fixture = fixture();
        fixture
            .db
            .write_blocking("events", move |tx| {
                let event = Event::new(Kind::PoolAdded, Actor::new("console:root")).detail("pool", "web");
                (0..count).try_for_each(|_| append(tx, &event).map(drop))
            })
            .unwrap();
        fixture
    }

    fn found(fixture: &Fixture) -> usize {
        let filter = Filter { text: Some("web".into()), limit: 9999, ..Filter::default() };
        fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap().len()
    }

    #[test]
    fn a_rebuilt_index_finds_everything_however_often_it_is_interrupted() {
        let fixture = with_events(1100);
        assert!(fixture.db.read_blocking(is_complete).unwrap());
        fixture.db.write_blocking("reset", reset).unwrap();
        assert_eq!(found(&fixture), 0);
        assert!(fixture.db.write_blocking("some", complete_some).unwrap());
        fixture
            .db
            .write_blocking("more", |tx| {
                append(tx, &Event::new(Kind::PoolAdded, Actor::new("x")).detail("pool", "web"))
            })
            .unwrap();
        assert!(!fixture.db.read_blocking(is_complete).unwrap());
        while fixture.db.write_blocking("some", complete_some).unwrap() {}
        assert_eq!(found(&fixture), 1101);
        assert!(fixture.db.read_blocking(is_complete).unwrap());
    }

    #[test]
    fn an_index_of_another_version_is_rebuilt() {
        let fixture = with_events(3);
        let older = |tx: &Tx<'_>| tx.execute("UPDATE event_words_state SET form = 0", &[]);
        fixture.db.write_blocking("older", older).unwrap();
        assert!(!fixture.db.read_blocking(is_complete).unwrap());
        while fixture.db.write_blocking("some", complete_some).unwrap() {}
        assert_eq!(found(&fixture), 3);
    }

    #[test]
    fn events_that_the_index_hides_are_counted() {
        let fixture = with_events(3);
        assert_eq!(fixture.db.read_blocking(hidden).unwrap(), 0);
        let hide = |tx: &Tx<'_>| tx.execute("DELETE FROM event_words WHERE rowid = 2", &[]);
        fixture.db.write_blocking("hide", hide).unwrap();
        assert_eq!(fixture.db.read_blocking(hidden).unwrap(), 1);
    }
}
