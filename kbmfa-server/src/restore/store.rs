//! The SQL of what a restore would change.

use std::collections::BTreeMap;

use super::{Kind, Snapshot, Thing};
use crate::audit::store::{archive, head};
use crate::db::{Error, Row, Tx};
use crate::random::to_hex;

/// All that can come back or vanish, each with the rows that stand for it. A table that grants somebody something belongs
/// here, or ends with a restore; the tests below hold every table of the schema to that.
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
    Ok(Snapshot { head: head(tx)?, things, ends: open_join_tokens(tx)? })
}

/// Tokens with which a machine could join now.
fn open_join_tokens(tx: &Tx<'_>) -> Result<Vec<Thing>, Error> {
    let sql = "SELECT name FROM join_token JOIN machine ON machine.id = machine_id
               WHERE expires_at > ?1 AND credential_hash IS NULL AND removed_at IS NULL ORDER BY name";
    tx.query(sql, &[tx.now.into()], |row| Ok(Thing { kind: Kind::JoinToken, name: row.text("name")? }))
}

/// Ends all tokens to join with, also those that were used: the same trade again would revive a credential.
///
/// # Errors
/// What the database says.
pub fn end_join_tokens(tx: &Tx<'_>) -> Result<(), Error> {
    tx.execute("DELETE FROM join_token", &[])?;
    Ok(())
}

fn id(kind: Kind, row: &Row<'_>) -> Result<String, Error> {
    match kind {
        Kind::Credential => Ok(to_hex(&row.blob("hash")?)),
        Kind::Machine | Kind::JoinToken | Kind::Pool | Kind::PoolMember | Kind::Employee => row.text("id"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::sqlite_fixture;

    /// What becomes of a table's rows at a restore. A table that grants somebody something must not just come back.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fate {
        /// They count, and the comparison lists those that come back.
        Listed,
        /// They end with the restore or its confirmation.
        Ends,
        /// They grant nobody anything, for this reason.
        GrantsNothing(&'static str),
    }

    /// Every table, and what becomes of it. A test holds this to the schema.
    const TABLES: &[(&str, Fate)] = &[
        ("machine", Fate::Listed),
        ("credential", Fate::Listed),
        ("pool", Fate::Listed),
        ("pool_machine", Fate::Listed),
        ("employee", Fate::Listed),
        ("join_token", Fate::Ends),
        ("login", Fate::Ends),
        ("ask", Fate::Ends),
        ("ask_copy", Fate::Ends),
        ("answer", Fate::Ends),
        ("event", Fate::GrantsNothing("the audit log; the comparison counts what is undone")),
        ("event_words", Fate::GrantsNothing("the index of the audit log")),
        ("event_words_state", Fate::GrantsNothing("the index of the audit log")),
        ("checkpoint", Fate::GrantsNothing("what was archived; the comparison says how far")),
        ("lease", Fate::GrantsNothing("runs out by itself, and is taken from a process that is gone")),
        ("notice", Fate::GrantsNothing("what people are told; at worst a second time")),
        ("session", Fate::GrantsNothing("what machines reported")),
        ("report", Fate::GrantsNothing("which reports are known; at worst one is taken twice")),
        (
            "machine_ca",
            Fate::GrantsNothing(
                "what machines said that they trust; each says it anew with its next refresh",
            ),
        ),
        ("credential_host", Fate::GrantsNothing("where credentials were used; noted anew with each login")),
        ("meta", Fate::GrantsNothing("what the database says of itself")),
        ("relay_state", Fate::GrantsNothing("what was said half a minute ago does not count")),
        ("relay_member", Fate::GrantsNothing("what was said half a minute ago does not count")),
    ];

    #[test]
    fn every_table_that_grants_something_is_known_to_the_comparison() {
        let fixture = sqlite_fixture();
        let sql =
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                   AND name NOT LIKE 'event\\_words\\_%' ESCAPE '\\'";
        let mut there: Vec<String> =
            fixture.db.read_blocking(|tx| tx.query(sql, &[], |row| row.text("name"))).unwrap();
        there.push("event_words_state".to_owned());
        there.sort_unstable();
        let mut known: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(there, known, "say in TABLES what becomes of a new table at a restore");
        for (name, fate) in TABLES {
            let is_listed =
                THINGS.iter().any(|(_, sql)| sql.contains(&format!(" FROM {name} ")) || sql.ends_with(name));
            assert_eq!(is_listed, *fate == Fate::Listed, "{name}");
            assert!(!matches!(fate, Fate::GrantsNothing("")), "{name}");
        }
    }
}
