//! The SQL of what a restore would change.

use std::collections::BTreeMap;

use super::{Kind, Snapshot, Thing};
use crate::audit::store::{archive, head};
use crate::db::{Error, Row, Tx};
use crate::random::to_hex;

/// All that can come back or vanish, each with the rows that stand for it. A table that grants somebody
/// something belongs here.
const THINGS: &[(Kind, &str)] = &[
    (Kind::Machine, "SELECT id, name AS label FROM machine WHERE removed_at IS NULL"),
    (
        Kind::Credential,
        "SELECT hash, name AS label FROM credential JOIN machine ON machine.id = machine_id
         WHERE retired_at IS NULL AND removed_at IS NULL",
    ),
    (Kind::Pool, "SELECT id, name AS label FROM pool"),
    (
        Kind::PoolMember,
        "SELECT pool_id || ' ' || machine_id AS id, machine.name || ' in ' || pool.name AS label
         FROM pool_machine JOIN pool ON pool.id = pool_id JOIN machine ON machine.id = machine_id",
    ),
    // The state is part of what stands: somebody who was suspended since would be let in again. So is that of
    // those who were removed: their account is refused for it.
    (Kind::Employee, "SELECT id || ' ' || state AS id, email || ', ' || state AS label FROM employee"),
];

/// What stands in a database now.
///
/// # Errors
/// What the database says.
pub fn snapshot(tx: &Tx<'_>) -> Result<Snapshot, Error> {
    let mut things = BTreeMap::new();
    for (kind, sql) in THINGS {
        for (id, label) in tx.query(sql, &[], |row| Ok((id(*kind, row)?, row.text("label")?)))? {
            things.insert((*kind, id), Thing { kind: *kind, name: label });
        }
    }
    Ok(Snapshot { head: head(tx)?, things })
}

fn id(kind: Kind, row: &Row<'_, '_>) -> Result<String, Error> {
    match kind {
        Kind::Credential => Ok(to_hex(&row.blob("hash")?)),
        Kind::Machine | Kind::Pool | Kind::PoolMember | Kind::Employee => row.text("id"),
    }
}

/// The last event that was archived: which ones came before it, the database does not tell. 0 without any.
///
/// # Errors
/// What the database says.
pub fn archived_to(tx: &Tx<'_>) -> Result<i64, Error> {
    Ok(archive::newest(tx)?.map_or(0, |checkpoint| checkpoint.last.seq))
}

/// The seal of an event, or of the last one that was archived; `None` if none of this number is known.
///
/// # Errors
/// What the database says.
pub fn seal(tx: &Tx<'_>, seq: i64) -> Result<Option<Vec<u8>>, Error> {
    if let Some(newest) = archive::newest(tx)?.filter(|checkpoint| checkpoint.last.seq == seq) {
        return Ok(Some(newest.last.seal.as_bytes().to_vec()));
    }
    tx.query_one("SELECT seal FROM event WHERE seq = ?1", &[seq.into()], |row| row.blob("seal"))
}

/// How many events of each kind stand after `seq`.
///
/// # Errors
/// What the database says.
pub fn events_after(tx: &Tx<'_>, seq: i64) -> Result<BTreeMap<String, i64>, Error> {
    let sql = "SELECT kind, count(*) AS events FROM event WHERE seq > ?1 GROUP BY kind";
    let rows = tx.query(sql, &[seq.into()], |row| Ok((row.text("kind")?, row.integer("events")?)))?;
    Ok(rows.into_iter().collect())
}
