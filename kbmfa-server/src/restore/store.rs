//! The SQL that finds what a restore would change.

use std::collections::BTreeMap;

use super::{Snapshot, Thing};
use crate::audit::store::{self as audit, archive, head};
use crate::ca::store as ca;
use crate::db::at_restore::{AtRestore, Listing, Table};
use crate::db::{self, Error, Tx};
use crate::deliveries::store as deliveries;
use crate::employees::ledger::store as ledger;
use crate::employees::store as employees;
use crate::enrolment::store as enrolment;
use crate::grants::store as grants;
use crate::keys::store as keys;
use crate::logins::store as logins;
use crate::machines::host_keys::store as host_keys;
use crate::machines::hosts::store as hosts;
use crate::machines::store as machines;
use crate::pools::store as pools;
use crate::sessions::store as sessions;

/// Every table, with what a restore does to its rows. Lists are printed in this order.
const TABLES: &[&[Table]] = &[
    machines::TABLES,
    host_keys::TABLES,
    pools::TABLES,
    employees::TABLES,
    ledger::TABLES,
    grants::TABLES,
    keys::TABLES,
    deliveries::TABLES,
    enrolment::TABLES,
    logins::TABLES,
    hosts::TABLES,
    sessions::TABLES,
    ca::TABLES,
    audit::TABLES,
    db::TABLES,
];

fn tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().copied().flatten()
}

/// All items of a database that a restore could bring back or make vanish.
pub fn snapshot(tx: &Tx<'_>) -> Result<Snapshot, Error> {
    let (mut things, mut ends) = (BTreeMap::new(), Vec::new());
    for (order, table) in tables().enumerate() {
        match &table.at_restore {
            AtRestore::Listed(listing) => {
                for (id, label) in rows(tx, listing)? {
                    things.insert((order, id), Thing { listing, name: label });
                }
            }
            AtRestore::Ends(Some(listing)) => {
                ends.extend(rows(tx, listing)?.into_iter().map(|(_, name)| Thing { listing, name }));
            }
            AtRestore::Ends(None) | AtRestore::GrantsNothing(_) => {}
        }
    }
    ends.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Snapshot { head: head(tx)?, things, ends })
}

fn rows(tx: &Tx<'_>, listing: &Listing) -> Result<Vec<(String, String)>, Error> {
    let now = [tx.now.into()];
    let values = if listing.sql.contains("?1") { now.as_slice() } else { &[] };
    tx.query(listing.sql, values, |row| Ok(((listing.id)(row)?, row.text("label")?)))
}

/// Ends all join tokens and invites, also used ones: repeating a join would revive a credential, and repeating an
/// enrolment a key.
pub fn end_one_time_secrets(tx: &Tx<'_>) -> Result<(), Error> {
    tx.execute("DELETE FROM join_token", &[])?;
    tx.execute("DELETE FROM invite", &[])?;
    Ok(())
}

/// The last archived event, up to which the database has no events. 0 without an archive.
pub fn archived_to(tx: &Tx<'_>) -> Result<i64, Error> {
    Ok(archive::newest(tx)?.map_or(0, |checkpoint| checkpoint.last.seq))
}

/// The seal of an event in the database, or of the last archived one. `None` for any other number.
pub fn seal(tx: &Tx<'_>, seq: i64) -> Result<Option<Vec<u8>>, Error> {
    if let Some(newest) = archive::newest(tx)?.filter(|checkpoint| checkpoint.last.seq == seq) {
        return Ok(Some(newest.last.seal.as_bytes().to_vec()));
    }
    tx.query_one("SELECT seal FROM event WHERE seq = ?1", &[seq.into()], |row| row.blob("seal"))
}

/// Number of events after `seq`, by kind.
pub fn events_after(tx: &Tx<'_>, seq: i64) -> Result<BTreeMap<String, i64>, Error> {
    let sql = "SELECT kind, count(*) AS events FROM event WHERE seq > ?1 GROUP BY kind";
    let rows = tx.query(sql, &[seq.into()], |row| Ok((row.text("kind")?, row.integer("events")?)))?;
    Ok(rows.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::sqlite_fixture;

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
        let mut known: Vec<&str> = tables().map(|table| table.name).collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(there, known, "say in the TABLES of its module what becomes of a new table at a restore");
        for table in tables() {
            let is_well_said = match &table.at_restore {
                AtRestore::Listed(listing) | AtRestore::Ends(Some(listing)) => {
                    let sql = format!("{} ", listing.sql);
                    sql.contains(&format!(" FROM {} ", table.name))
                }
                AtRestore::Ends(None) => true,
                AtRestore::GrantsNothing(why) => !why.is_empty(),
            };
            assert!(is_well_said, "{table:?}");
        }
    }
}
