//! The SQL of the audit log: appends events, and reads them in order. The submodules have search, the word
//! index and archives.

pub mod archive;
pub mod index;
pub mod search;

use kbmfa_proto::names::{LoginId, MachineName, UserName};
use kbmfa_proto::text::SafeText;
use serde::Serialize;

use super::chain::{Broken, Fault, Head, Link, Seal, Walk, Witness};
use super::event::{Event, Kind};
use crate::clock::Time;
use crate::db::at_restore::Table;
use crate::db::{Error, Row, Tx};

/// What a restore does to the audit log's tables.
pub const TABLES: &[Table] = &[
    Table::grants_nothing("event", "the audit log; the comparison counts what is undone"),
    Table::grants_nothing("event_words", "the index of the audit log"),
    Table::grants_nothing("event_words_state", "the index of the audit log"),
    Table::grants_nothing("checkpoint", "what was archived; the comparison says how far"),
];

/// Version of the canonical bytes' format.
const BODY_VERSION: i64 = 1;

/// Number of events read at a time. It limits the memory for a chain of millions.
const PAGE: i64 = 5_000;

/// The canonical bytes: this struct as JSON, in this order. The same bytes are stored and hashed.
#[derive(Serialize)]
struct Body<'a> {
    v: i64,
    seq: i64,
    at: Time,
    #[serde(flatten)]
    event: &'a Event,
}

/// Seals an event and writes it. Call it in the transaction of the action that it records.
///
/// # Errors
/// If it cannot be written; the transaction must then fail.
pub fn append(tx: &Tx<'_>, event: &Event) -> Result<Head, Error> {
    let before = head(tx)?;
    let seq = before.seq + 1;
    let body = serde_json::to_string(&Body { v: BODY_VERSION, seq, at: tx.now, event })
        .map_err(|e| Error::BadValue(e.to_string()))?;
    let seal = before.seal.next(body.as_bytes());
    tx.execute(
        "INSERT INTO event (seq, at, kind, actor, claim, login, machine, account, body, prev, seal, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        &[
            seq.into(),
            tx.now.into(),
            event.kind.as_str().into(),
            event.actor.who.as_str().into(),
            event.actor.claim.as_ref().map(SafeText::as_str).into(),
            event.login.as_ref().map(LoginId::as_str).into(),
            event.machine.as_ref().map(MachineName::as_str).into(),
            event.user.as_ref().map(UserName::as_str).into(),
            body.as_str().into(),
            before.seal.as_bytes().into(),
            seal.as_bytes().into(),
            BODY_VERSION.into(),
        ],
    )?;
    index::add(tx, seq, &body)?;
    Ok(Head { seq, seal })
}

/// The head: number and seal of the last event.
pub fn head(tx: &Tx<'_>) -> Result<Head, Error> {
    let last = tx.query_one("SELECT seq, seal FROM event ORDER BY seq DESC LIMIT 1", &[], |row| {
        let seal = row.blob("seal")?;
        let seal =
            Seal::from_bytes(&seal).ok_or_else(|| Error::BadValue("a seal of the wrong length".into()))?;
        Ok(Head { seq: row.integer("seq")?, seal })
    })?;
    Ok(last.unwrap_or(Head::EMPTY))
}

/// Verifies the chain from the newest checkpoint to its end, and that it still contains the event of a given
/// head.
///
/// # Errors
/// The outer error is the database's. The inner result names the first event that is broken.
pub fn verify(tx: &Tx<'_>, witness: Option<&Witness>) -> Result<Result<Head, Broken>, Error> {
    let start = archive::newest(tx)?.map_or(Head::EMPTY, |checkpoint| checkpoint.last);
    verify_on(tx, Walk::from(start, witness.cloned()))
}

/// [`verify`], continued after a walk through archives.
pub fn verify_on(tx: &Tx<'_>, mut walk: Walk) -> Result<Result<Head, Broken>, Error> {
    let stray = "SELECT seq FROM event WHERE seq < 1 ORDER BY seq LIMIT 1";
    if let Some(seq) = tx.query_one(stray, &[], |row| row.integer("seq"))? {
        return Ok(Err(Broken { seq, fault: Fault::Stray }));
    }
    loop {
        let page = links(tx, walk.head.seq, i64::MAX)?;
        if let Some(broken) = page.iter().find_map(|link| walk.follow(link).err()) {
            return Ok(Err(broken));
        }
        if page.is_empty() {
            break;
        }
    }
    Ok(match archive::first_unsealed(tx)? {
        Some(broken) => Err(broken),
        None => walk.finish(),
    })
}

/// A page of events after `seq`, up to `last`.
pub fn links(tx: &Tx<'_>, seq: i64, last: i64) -> Result<Vec<Link>, Error> {
    tx.query(
        "SELECT seq, at, kind, actor, claim, login, machine, account, body, prev, seal, version FROM event
         WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
        &[seq.into(), last.into(), PAGE.into()],
        link,
    )
}

/// Numbers of the first and the last event between two moments, in the order of the chain.
pub fn between(
    tx: &Tx<'_>,
    since: Option<Time>,
    until: Option<Time>,
) -> Result<std::ops::RangeInclusive<i64>, Error> {
    let kept = archive::newest(tx)?.map_or(0, |checkpoint| checkpoint.last.seq);
    let (mut first, mut last) = (kept + 1, head(tx)?.seq);
    let number = |row: &Row<'_>| row.integer_or_null("seq");
    if let Some(since) = since {
        let sql = "SELECT min(seq) AS seq FROM event WHERE at >= ?1";
        first = first.max(tx.query_one(sql, &[since.into()], number)?.flatten().unwrap_or(last + 1));
    }
    if let Some(until) = until {
        let sql = "SELECT max(seq) AS seq FROM event WHERE at < ?1";
        last = tx.query_one(sql, &[until.into()], number)?.flatten().unwrap_or(0);
    }
    Ok(first..=last)
}

fn link(row: &Row<'_>) -> Result<Link, Error> {
    let body = row.text("body")?;
    let columns_match = columns_match(row, &body)?;
    Ok(Link {
        seq: row.integer("seq")?,
        body,
        columns_match,
        prev: row.blob("prev")?,
        seal: row.blob("seal")?,
    })
}

/// Compares the searchable columns with the body, so that an edit of a column is detected.
fn columns_match(row: &Row<'_>, body: &str) -> Result<bool, Error> {
    let Ok(sealed) = serde_json::from_str::<serde_json::Value>(body) else { return Ok(false) };
    let text = |pointer: &str| sealed.pointer(pointer).and_then(|value| value.as_str()).map(str::to_owned);
    let number = |name: &str| sealed.get(name).and_then(serde_json::Value::as_i64);
    Ok(number("v") == Some(row.integer("version")?)
        && number("seq") == Some(row.integer("seq")?)
        && number("at") == Some(row.integer("at")?)
        && text("/kind") == row.text_or_null("kind")?
        && text("/actor/who") == row.text_or_null("actor")?
        && text("/actor/claim") == row.text_or_null("claim")?
        && text("/login") == row.text_or_null("login")?
        && text("/machine") == row.text_or_null("machine")?
        && text("/user") == row.text_or_null("account")?)
}

/// The columns of an event.
pub struct Recorded {
    /// What happened.
    pub kind: Kind,
    /// Who did it.
    pub actor: String,
    /// The login that it is about.
    pub login: Option<String>,
    /// The machine's name at that time.
    pub machine: Option<String>,
    /// The Unix account.
    pub account: Option<String>,
    /// The sealed JSON.
    pub body: String,
}

/// A page of the events after `seq`, whichever process wrote them, and the number of the last one. If that
/// number is `seq`, there are no more.
pub fn since(tx: &Tx<'_>, seq: i64) -> Result<(i64, Vec<Recorded>), Error> {
    let rows = tx.query(
        "SELECT seq, kind, actor, login, machine, account, body FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        &[seq.into(), PAGE.into()],
        |row| {
            let event = Recorded {
                kind: row.parsed("kind")?,
                actor: row.text("actor")?,
                login: row.text_or_null("login")?,
                machine: row.text_or_null("machine")?,
                account: row.text_or_null("account")?,
                body: row.text("body")?,
            };
            Ok((row.integer("seq")?, event))
        },
    )?;
    let newest = rows.last().map_or(seq, |(seq, _)| *seq);
    Ok((newest, rows.into_iter().map(|(_, event)| event).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::Fault;
    use crate::audit::event::Actor;
    use crate::db::testing::{Fixture, fixture, sqlite_fixture};

    fn with_events() -> Fixture {
        events_in(fixture())
    }

    fn events_in(fixture: Fixture) -> Fixture {
        for name in ["web1", "web2", "db1"] {
            fixture
                .db
                .write_blocking("event", move |tx| {
                    let event = Event::new(Kind::MachineAdded, Actor::new("console:root"));
                    append(tx, &event.machine(&name.parse().unwrap()).detail("note", format!("for {name}")))
                })
                .unwrap();
        }
        fixture
    }

    fn verified(fixture: &Fixture, witness: Option<&Witness>) -> Result<Head, Broken> {
        fixture.db.read_blocking(|tx| verify(tx, witness)).unwrap()
    }

    fn tamper(fixture: &Fixture, sql: &'static str) {
        fixture.db.write_blocking("tamper", move |tx| tx.execute(sql, &[])).unwrap();
    }

    #[test]
    fn what_was_appended_verifies() {
        assert_eq!(verified(&with_events(), None).unwrap().seq, 3);
    }

    #[test]
    fn each_way_of_tampering_is_named() {
        let check = |sql, seq, fault| {
            let fixture = with_events();
            let head = verified(&fixture, None).unwrap();
            tamper(&fixture, sql);
            let witness = head.to_string().parse().unwrap();
            assert_eq!(verified(&fixture, Some(&witness)), Err(Broken { seq, fault }), "{sql}");
        };
        check("UPDATE event SET body = replace(body, 'web2', 'web9') WHERE seq = 2", 2, Fault::Edited);
        check("UPDATE event SET machine = 'web9' WHERE seq = 2", 2, Fault::ColumnsDiffer);
        check("UPDATE event SET at = at + 1 WHERE seq = 2", 2, Fault::ColumnsDiffer);
        check("UPDATE event SET actor = 'x' WHERE seq = 1", 1, Fault::ColumnsDiffer);
        check("UPDATE event SET version = 2 WHERE seq = 2", 2, Fault::ColumnsDiffer);
        check("UPDATE event SET claim = 'x' WHERE seq = 1", 1, Fault::ColumnsDiffer);
        check("DELETE FROM event WHERE seq = 2", 2, Fault::Missing);
        check("DELETE FROM event WHERE seq = 3", 3, Fault::CutOff);
        check("DELETE FROM event", 3, Fault::CutOff);
        check("DELETE FROM event WHERE seq < 3", 1, Fault::Missing);
    }

    #[test]
    fn an_event_before_the_first_is_broken() {
        let fixture = events_in(sqlite_fixture());
        let smuggled = "INSERT INTO event (seq, at, kind, actor, body, prev, seal, version)
             SELECT -1, at, kind, actor, body, prev, seal, version FROM event WHERE seq = 1";
        tamper(&fixture, "PRAGMA ignore_check_constraints = ON");
        tamper(&fixture, smuggled);
        assert_eq!(verified(&fixture, None), Err(Broken { seq: -1, fault: Fault::Stray }));
    }

    #[test]
    fn a_head_that_was_written_down_must_still_be_there() {
        let (fixture, other) = (with_events(), with_events());
        tamper(&other, "UPDATE event SET at = 0");
        let head = verified(&fixture, None).unwrap();
        let witness: Witness = head.to_string().parse().unwrap();
        assert_eq!(verified(&fixture, Some(&witness)), Ok(head));
        let foreign = "2:000000000000".parse().unwrap();
        let fault = Fault::NotTheWitnessed;
        assert_eq!(verified(&fixture, Some(&foreign)), Err(Broken { seq: 2, fault }));
    }
}
