//! Archives: the cut between archived events and those in the database. A checkpoint row says where the chain
//! continues, and a sealed event says the same, so that a forged cut is detected.

use kbmfa_proto::text::SafeText;
use serde_json::Value as Json;
use std::ops::RangeInclusive;

use super::{Error as DbError, Row, Tx, append, head, index};
use crate::audit::chain::{Broken, Fault, Head, Seal};
use crate::audit::event::{Actor, Event, Kind};
use crate::clock::Time;

/// Number of events deleted in one transaction, so that logins do not wait long.
const BATCH: i64 = 200;

/// An archive file, and the range of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The first event in the file.
    pub first: i64,
    /// The last event in the file.
    pub last: Head,
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    /// Where the file was written.
    pub file: SafeText,
}

/// A cut, as recorded in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last archived event; the chain continues after it.
    pub last: Head,
    /// The archive.
    pub archive: Archive,
    archived_at: Time,
    archived_by: String,
    event: i64,
}

/// Why events were not archived.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The audit log has changed since the file was written.
    #[error("the audit log has changed meanwhile: somebody else archives, or a login has come back to life")]
    Changed,
}

const CHECKPOINT: &str =
    "SELECT seq, seal, first_seq, sha256, file, archived_at, archived_by, event FROM checkpoint";

fn checkpoint(row: &Row<'_>) -> Result<Checkpoint, DbError> {
    let bad = || DbError::BadValue("a seal of the wrong length".into());
    let seal = Seal::from_bytes(&row.blob("seal")?).ok_or_else(bad)?;
    let last = Head { seq: row.integer("seq")?, seal };
    let (first, sha256, file) =
        (row.integer("first_seq")?, row.text("sha256")?, SafeText::from(row.text("file")?));
    Ok(Checkpoint {
        last,
        archive: Archive { first, last, sha256, file },
        archived_at: row.time("archived_at")?,
        archived_by: row.text("archived_by")?,
        event: row.integer("event")?,
    })
}

/// The newest checkpoint, if anything was ever archived.
pub fn newest(tx: &Tx<'_>) -> Result<Option<Checkpoint>, DbError> {
    tx.query_one(&format!("{CHECKPOINT} ORDER BY seq DESC LIMIT 1"), &[], checkpoint)
}

/// All checkpoints, oldest first.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Checkpoint>, DbError> {
    tx.query(&format!("{CHECKPOINT} ORDER BY seq"), &[], checkpoint)
}

/// The first checkpoint that differs from the sealed event about it. The event of an older checkpoint may be
/// in an archive; that of the newest one never is.
pub(super) fn first_unsealed(tx: &Tx<'_>) -> Result<Option<Broken>, DbError> {
    let checkpoints = all(tx)?;
    let archived = checkpoints.last().map_or(0, |checkpoint| checkpoint.last.seq);
    for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.event > archived) {
        let sql = "SELECT body FROM event WHERE seq = ?1";
        let body = tx.query_one(sql, &[checkpoint.event.into()], |row| row.text("body"))?;
        if !body.is_some_and(|body| is_sealed(checkpoint, &body)) {
            return Ok(Some(Broken { seq: checkpoint.last.seq, fault: Fault::CheckpointDiffers }));
        }
    }
    let has_none = |checkpoint: &Checkpoint| checkpoint.event <= checkpoint.last.seq;
    let forged = checkpoints.last().filter(|newest| has_none(newest));
    Ok(forged.map(|newest| Broken { seq: newest.last.seq, fault: Fault::CheckpointDiffers }))
}

fn is_sealed(checkpoint: &Checkpoint, body: &str) -> bool {
    let Ok(sealed) = serde_json::from_str::<Json>(body) else { return false };
    let says = |pointer: &str, text: &str| sealed.pointer(pointer).and_then(Json::as_str) == Some(text);
    let archive = &checkpoint.archive;
    says("/kind", Kind::AuditArchived.as_str())
        && says("/actor/who", &checkpoint.archived_by)
        && sealed.get("at").and_then(Json::as_i64) == Some(checkpoint.archived_at.micros())
        && says("/detail/first", &archive.first.to_string())
        && says("/detail/last", &archive.last.seq.to_string())
        && says("/detail/seal", &archive.last.seal.to_string())
        && says("/detail/sha256", &archive.sha256)
        && says("/detail/file", archive.file.as_str())
}

/// Numbers of the events that may be archived: all from the oldest to the last one before both `before` and
/// `keep_from`. Empty if there are none.
pub fn part(tx: &Tx<'_>, before: Time, keep_from: Option<i64>) -> Result<RangeInclusive<i64>, DbError> {
    let kept = newest(tx)?.map_or(0, |checkpoint| checkpoint.last.seq);
    // If a clock was set back, older times follow newer ones. So the chain is cut at the first newer one.
    let sql = "SELECT min(seq) AS seq FROM event WHERE at >= ?1 AND +seq > ?2";
    let newer = tx.query_one(sql, &[before.into(), kept.into()], |row| row.integer_or_null("seq"))?;
    let end = newer.flatten().unwrap_or(head(tx)?.seq + 1).min(keep_from.unwrap_or(i64::MAX));
    Ok(kept + 1..=end - 1)
}

/// Cuts the chain once the archive is written: inserts a checkpoint and its sealed event.
///
/// # Errors
/// [`Error::Changed`] if the archive does not follow the last one, or differs from the chain.
pub fn cut(tx: &Tx<'_>, actor: &Actor, archive: &Archive, before: Time) -> Result<Head, Error> {
    let kept = newest(tx)?.map_or(0, |checkpoint| checkpoint.last.seq);
    let seal = tx.query_one("SELECT seal FROM event WHERE seq = ?1", &[archive.last.seq.into()], |row| {
        row.blob("seal")
    })?;
    if archive.first != kept + 1 || seal.as_deref() != Some(archive.last.seal.as_bytes()) {
        return Err(Error::Changed);
    }
    let event = Event::new(Kind::AuditArchived, actor.clone())
        .detail("first", archive.first)
        .detail("last", archive.last.seq)
        .detail("seal", archive.last.seal)
        .detail("sha256", &archive.sha256)
        .detail("file", &archive.file)
        .detail("before", before);
    let head = append(tx, &event)?;
    tx.execute(
        "INSERT INTO checkpoint (seq, seal, first_seq, sha256, file, archived_at, archived_by, event)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            archive.last.seq.into(),
            archive.last.seal.as_bytes().into(),
            archive.first.into(),
            archive.sha256.as_str().into(),
            archive.file.as_str().into(),
            tx.now.into(),
            actor.who.as_str().into(),
            head.seq.into(),
        ],
    )?;
    Ok(head)
}

/// Deletes some of the events in the newest archive; true if there are more. Nothing reads them any more, so
/// this may be interrupted and continued.
pub fn prune_some(tx: &Tx<'_>) -> Result<bool, DbError> {
    let Some(checkpoint) = newest(tx)? else { return Ok(false) };
    let sql =
        "SELECT max(seq) AS seq FROM (SELECT seq FROM event WHERE seq <= ?1 ORDER BY seq LIMIT ?2) AS old";
    let last =
        tx.query_one(sql, &[checkpoint.last.seq.into(), BATCH.into()], |row| row.integer_or_null("seq"))?;
    let Some(last) = last.flatten() else { return Ok(false) };
    index::remove_to(tx, last)?;
    tx.execute("DELETE FROM event WHERE seq <= ?1", &[last.into()])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::search::{Filter, search};
    use super::super::{links, verify};
    use super::*;
    use crate::audit::chain::Witness;
    use crate::db::testing::{Fixture, START, fixture};
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn with_events(count: i64) -> Fixture {
        let fixture = fixture();
        for n in 1..=count {
            let event =
                Event::new(Kind::PoolAdded, Actor::new("console:root")).detail("pool", format!("p{n}"));
            fixture.db.write_blocking("event", move |tx| append(tx, &event)).unwrap();
            fixture.clock.advance(HOUR);
        }
        fixture
    }

    fn hour(n: u32) -> Time {
        Time::from_micros(START) + HOUR * n
    }

    fn archive_to(fixture: &Fixture, last: i64) -> Result<Head, Error> {
        let kept = fixture.db.read_blocking(newest).unwrap().map_or(0, |checkpoint| checkpoint.last.seq);
        let link = fixture.db.read_blocking(|tx| links(tx, last - 1, last)).unwrap().remove(0);
        let last = Head { seq: last, seal: Seal::from_bytes(&link.seal).unwrap() };
        let archive = Archive { first: kept + 1, last, sha256: "00".into(), file: "/f".into() };
        fixture.db.write_blocking("cut", move |tx| cut(tx, &Actor::new("console:root"), &archive, tx.now))
    }

    fn verified(fixture: &Fixture) -> Result<Head, Broken> {
        fixture.db.read_blocking(|tx| verify(tx, None)).unwrap()
    }

    fn tamper(fixture: &Fixture, sql: &'static str) {
        fixture.db.write_blocking("tamper", move |tx| tx.execute(sql, &[])).unwrap();
    }

    #[test]
    fn the_part_ends_before_the_day_and_before_what_must_be_kept() {
        let fixture = with_events(5);
        let check = |before, keep_from, first, last| {
            let part = fixture.db.read_blocking(|tx| part(tx, before, keep_from)).unwrap();
            assert_eq!(part.into_inner(), (first, last));
        };
        check(hour(3), None, 1, 3);
        check(hour(3), Some(3), 1, 2);
        check(hour(0), None, 1, 0);
        check(hour(99), None, 1, 5);
        archive_to(&fixture, 2).unwrap();
        check(hour(3), None, 3, 3);
        check(hour(1), None, 3, 2);
    }

    #[test]
    fn a_chain_that_was_cut_verifies_from_its_checkpoint_before_and_after_the_deletion() {
        let fixture = with_events(5);
        for last in [2, 4] {
            let head = archive_to(&fixture, last).unwrap();
            assert_eq!(verified(&fixture), Ok(head));
            while fixture.db.write_blocking("prune", prune_some).unwrap() {}
            assert_eq!(verified(&fixture), Ok(head));
            let left = fixture.db.read_blocking(|tx| links(tx, 0, i64::MAX)).unwrap();
            assert_eq!(left.first().unwrap().seq, last + 1);
        }
        let old: Witness = "1:000000000000".parse().unwrap();
        let outcome = fixture.db.read_blocking(|tx| verify(tx, Some(&old))).unwrap();
        assert_eq!(outcome, Err(Broken { seq: 1, fault: Fault::Archived }));
    }

    #[test]
    fn archived_events_are_not_found_even_before_they_are_deleted() {
        let fixture = with_events(3);
        archive_to(&fixture, 2).unwrap();
        for text in [None, Some("console:root".to_owned())] {
            let filter = Filter { text, limit: 9, ..Filter::default() };
            let found = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
            assert_eq!(found.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 4]);
        }
    }

    #[test]
    fn an_archive_that_does_not_follow_or_does_not_fit_is_refused() {
        let fixture = with_events(3);
        let refused = |first, seq| {
            let last = Head { seq, seal: Seal::GENESIS };
            let archive = Archive { first, last, sha256: "00".into(), file: "/f".into() };
            let done =
                fixture.db.write_blocking("cut", move |tx| cut(tx, &Actor::new("x"), &archive, tx.now));
            assert!(matches!(done, Err(Error::Changed)));
        };
        refused(1, 2);
        refused(2, 3);
        refused(1, 9);
        assert_eq!(verified(&fixture).unwrap().seq, 3);
    }

    #[test]
    fn each_way_of_forging_a_cut_is_named() {
        let check = |sql, seq, fault| {
            let fixture = with_events(5);
            archive_to(&fixture, 2).unwrap();
            while fixture.db.write_blocking("prune", prune_some).unwrap() {}
            tamper(&fixture, sql);
            assert_eq!(verified(&fixture), Err(Broken { seq, fault }), "{sql}");
        };
        check("DELETE FROM checkpoint", 1, Fault::Missing);
        check(
            "UPDATE checkpoint SET seal = (SELECT prev FROM event WHERE seq = checkpoint.event)",
            3,
            Fault::OutOfPlace,
        );
        check("UPDATE checkpoint SET sha256 = '11'", 2, Fault::CheckpointDiffers);
        check("UPDATE checkpoint SET event = 4", 2, Fault::CheckpointDiffers);
        check("UPDATE checkpoint SET event = 1", 2, Fault::CheckpointDiffers);
        check("UPDATE checkpoint SET file = '/other'", 2, Fault::CheckpointDiffers);
        check(
            "INSERT INTO checkpoint SELECT 4, seal, 3, '00', '/f', 0, 'console:root', 6 FROM event WHERE seq = 4",
            4,
            Fault::CheckpointDiffers,
        );
        check("DELETE FROM event WHERE seq = 3", 3, Fault::Missing);
    }
}
