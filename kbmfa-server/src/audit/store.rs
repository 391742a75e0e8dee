//! The SQL of the audit: append, walk, search.

use kbmfa_proto::names::{LoginId, MachineName, UserName};
use serde::Serialize;
use std::fmt::Write as _;

use super::chain::{self, Broken, Fault, Head, Link, Seal, Witness};
use super::event::{Event, Kind};
use crate::clock::Time;
use crate::db::{Error, Row, Tx, Value};

/// Form of the canonical bytes.
const BODY_VERSION: i64 = 1;

/// Events read at a time while verifying: bounds memory on a chain of millions.
const PAGE: i64 = 10_000;

/// The canonical bytes: this struct as JSON, in this order. What was hashed is stored as it was hashed.
#[derive(Serialize)]
struct Body<'a> {
    v: i64,
    seq: i64,
    at: Time,
    #[serde(flatten)]
    event: &'a Event,
}

/// Seals an event and writes it. Call it in the transaction that makes the event happen.
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
        "INSERT INTO event (seq, at, kind, actor, login, machine, user, body, prev, seal, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        &[
            seq.into(),
            tx.now.into(),
            event.kind.as_str().into(),
            event.actor.who.as_str().into(),
            event.login.as_ref().map(LoginId::as_str).into(),
            event.machine.as_ref().map(MachineName::as_str).into(),
            event.user.as_ref().map(UserName::as_str).into(),
            body.into(),
            before.seal.as_bytes().into(),
            seal.as_bytes().into(),
            BODY_VERSION.into(),
        ],
    )?;
    Ok(Head { seq, seal })
}

/// The last event.
///
/// # Errors
/// What the database says.
pub fn head(tx: &Tx<'_>) -> Result<Head, Error> {
    let last = tx.query_one("SELECT seq, seal FROM event ORDER BY seq DESC LIMIT 1", &[], |row| {
        let seal = row.blob("seal")?;
        let seal =
            Seal::from_bytes(&seal).ok_or_else(|| Error::BadValue("a seal of the wrong length".into()))?;
        Ok(Head { seq: row.integer("seq")?, seal })
    })?;
    Ok(last.unwrap_or(Head::EMPTY))
}

/// Walks the whole chain; if a head was written down, checks that the chain still contains it.
///
/// # Errors
/// What the database says. The inner result names the first broken event.
pub fn verify(tx: &Tx<'_>, witness: Option<&Witness>) -> Result<Result<Head, Broken>, Error> {
    let mut head = Head::EMPTY;
    loop {
        let page = tx.query(
            "SELECT seq, at, kind, actor, login, machine, user, body, prev, seal, version FROM event
             WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            // From the very first row on: one before the first event would be one too many.
            &[if head.seq == 0 { i64::MIN } else { head.seq }.into(), PAGE.into()],
            link,
        )?;
        for link in &page {
            head = match chain::follow(head, link) {
                Ok(head) => head,
                Err(broken) => return Ok(Err(broken)),
            };
            let seen = witness.filter(|witness| witness.seq == head.seq);
            if seen.is_some_and(|witness| !witness.matches(&head.seal)) {
                return Ok(Err(Broken { seq: head.seq, fault: Fault::NotTheWitnessed }));
            }
        }
        if page.is_empty() {
            break;
        }
    }
    match witness {
        Some(witness) if witness.seq > head.seq => Ok(Err(Broken { seq: witness.seq, fault: Fault::CutOff })),
        _ => Ok(Ok(head)),
    }
}

fn link(row: &Row<'_, '_>) -> Result<Link, Error> {
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

/// The columns exist for searching; an edit of one of them must not go unnoticed.
fn columns_match(row: &Row<'_, '_>, body: &str) -> Result<bool, Error> {
    let Ok(sealed) = serde_json::from_str::<serde_json::Value>(body) else { return Ok(false) };
    let text = |name: &str| sealed.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    Ok(sealed.get("v").and_then(serde_json::Value::as_i64) == Some(row.integer("version")?)
        && sealed.get("seq").and_then(serde_json::Value::as_i64) == Some(row.integer("seq")?)
        && sealed.get("at").and_then(serde_json::Value::as_i64) == Some(row.integer("at")?)
        && text("kind") == Some(row.text("kind")?)
        && sealed.pointer("/actor/who").and_then(|who| who.as_str()) == Some(&row.text("actor")?)
        && text("login") == row.text_or_null("login")?
        && text("machine") == row.text_or_null("machine")?
        && text("user") == row.text_or_null("user")?)
}

/// What to look for; everything that is given must hold.
#[derive(Debug, Default, Clone)]
pub struct Filter {
    /// About this login (its id, or the beginning of it).
    pub login: Option<String>,
    /// About this machine.
    pub machine: Option<String>,
    /// About this Unix account.
    pub user: Option<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Not before this moment.
    pub since: Option<Time>,
    /// Before this moment.
    pub until: Option<Time>,
    /// With this text anywhere in it.
    pub text: Option<String>,
    /// So many at the most, the newest of them.
    pub limit: i64,
}

/// An event as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub seq: i64,
    /// Its canonical JSON.
    pub body: String,
    /// Its seal.
    pub seal: String,
}

/// Finds events, oldest first.
///
/// # Errors
/// What the database says.
pub fn search(tx: &Tx<'_>, filter: &Filter) -> Result<Vec<Found>, Error> {
    let mut conditions: Vec<(&str, Value)> = Vec::new();
    let mut also = |condition: &'static str, value: Option<Value>| {
        conditions.extend(value.map(|value| (condition, value)));
    };
    let text = |value: &Option<String>| value.as_deref().map(Value::from);
    also("substr(login, 1, length(?)) = ?", text(&filter.login));
    also("machine = ?", text(&filter.machine));
    also("user = ?", text(&filter.user));
    also("actor = ?", text(&filter.actor));
    also("kind = ?", filter.kind.map(|kind| kind.as_str().into()));
    also("at >= ?", filter.since.map(Value::from));
    also("at < ?", filter.until.map(Value::from));
    also("instr(lower(body), lower(?)) > 0", text(&filter.text));

    let mut sql = String::from("SELECT seq, body, seal FROM event WHERE 1 = 1");
    let mut values = Vec::new();
    for (condition, value) in conditions {
        values.push(value);
        sql.push_str(" AND ");
        sql.push_str(&condition.replace('?', &format!("?{}", values.len())));
    }
    values.push(filter.limit.into());
    let _ = write!(sql, " ORDER BY seq DESC LIMIT ?{}", values.len());
    let mut found = tx.query(&sql, &values, |row| {
        let seal = crate::random::to_hex(&row.blob("seal")?);
        Ok(Found { seq: row.integer("seq")?, body: row.text("body")?, seal })
    })?;
    found.reverse();
    Ok(found)
}

/// Logins that events of these kinds after `seq` are about, with the newest event's number: what anybody,
/// in any process, has done since.
///
/// # Errors
/// What the database says.
pub fn logins_since(tx: &Tx<'_>, seq: i64, kinds: &[Kind]) -> Result<(i64, Vec<String>), Error> {
    let rows =
        tx.query("SELECT seq, kind, login FROM event WHERE seq > ?1 ORDER BY seq", &[seq.into()], |row| {
            let wanted = kinds.contains(&row.parsed("kind")?);
            Ok((row.integer("seq")?, row.text_or_null("login")?.filter(|_| wanted)))
        })?;
    let newest = rows.last().map_or(seq, |(seq, _)| *seq);
    Ok((newest, rows.into_iter().filter_map(|(_, login)| login).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::Actor;
    use crate::db::testing::{Fixture, fixture};

    fn with_events() -> Fixture {
        let fixture = fixture();
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
        check("DELETE FROM event WHERE seq = 2", 2, Fault::Missing);
        check("DELETE FROM event WHERE seq = 3", 3, Fault::CutOff);
        check("DELETE FROM event", 3, Fault::CutOff);
    }

    #[test]
    fn an_event_before_the_first_is_one_too_many() {
        let fixture = with_events();
        let smuggled =
            "INSERT INTO event SELECT -1, at, kind, actor, login, machine, user, body, prev, seal, version
                        FROM event WHERE seq = 1";
        tamper(&fixture, "PRAGMA ignore_check_constraints = ON");
        tamper(&fixture, smuggled);
        assert_eq!(verified(&fixture, None), Err(Broken { seq: 1, fault: Fault::Missing }));
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

    #[test]
    fn search_finds_by_each_field() {
        let fixture = with_events();
        let check = |filter: Filter, expected: &[i64]| {
            let filter = Filter { limit: 10, ..filter };
            let found = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
            assert_eq!(found.iter().map(|event| event.seq).collect::<Vec<_>>(), expected, "{filter:?}");
        };
        let some = |text: &str| Some(text.to_owned());
        check(Filter::default(), &[1, 2, 3]);
        check(Filter { machine: some("web2"), ..Filter::default() }, &[2]);
        check(Filter { actor: some("console:root"), ..Filter::default() }, &[1, 2, 3]);
        check(Filter { actor: some("console:eve"), ..Filter::default() }, &[]);
        check(Filter { kind: Some(Kind::MachineRemoved), ..Filter::default() }, &[]);
        check(Filter { text: some("FOR DB1"), ..Filter::default() }, &[3]);
        check(Filter { text: some("%' OR 1=1 --"), ..Filter::default() }, &[]);
        check(Filter { since: Some(Time::from_micros(i64::MAX)), ..Filter::default() }, &[]);
        check(Filter { until: Some(Time::from_micros(i64::MAX)), ..Filter::default() }, &[1, 2, 3]);
    }
}
