//! Accounts that others made, and that an operator has handed over to this server, or back.

use kbmfa_proto::names::UserName;
use std::collections::BTreeMap;

use crate::db::at_restore::{Listing, Table, text_id};
use crate::db::{Error, Row, Tx};

/// What a restore does to this table.
pub(super) const TABLE: Table = Table::listed(
    "adoption",
    Listing {
        kind: "adoption",
        one: "account that was taken over",
        many: "accounts that were taken over",
        sql: "SELECT machine_id || ' ' || unix_name || ' ' || CAST(released AS TEXT) AS id,
                  unix_name || ' on ' || name AS label FROM adoption JOIN machine ON machine.id = machine_id",
        id: text_id,
    },
);

/// An account of a machine that an operator has handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Its uid when it was confirmed. An account of another uid is another account.
    pub uid: u32,
    /// Its shell then, if it is one that can be given back.
    pub shell: Option<String>,
    /// True if the whole `~/.ssh/authorized_keys` is ours; false: a block beside other lines.
    pub is_exclusive: bool,
    /// True if it was handed back.
    pub is_released: bool,
}

fn adoption(row: &Row<'_>) -> Result<Adoption, Error> {
    Ok(Adoption {
        uid: u32::try_from(row.integer("uid")?).unwrap_or(u32::MAX),
        shell: row.text_or_null("shell")?,
        is_exclusive: row.integer("exclusive")? != 0,
        is_released: row.integer("released")? != 0,
    })
}

/// Those of one machine.
pub fn of_machine(tx: &Tx<'_>, machine_id: &str) -> Result<BTreeMap<UserName, Adoption>, Error> {
    let sql = "SELECT unix_name, uid, shell, exclusive, released FROM adoption WHERE machine_id = ?1";
    let rows = tx.query(sql, &[machine_id.into()], |row| Ok((row.parsed("unix_name")?, adoption(row)?)))?;
    Ok(rows.into_iter().collect())
}

/// Those of all machines, by the machine's id.
pub fn all(tx: &Tx<'_>) -> Result<BTreeMap<String, BTreeMap<UserName, Adoption>>, Error> {
    let sql = "SELECT machine_id, unix_name, uid, shell, exclusive, released FROM adoption";
    let mut all: BTreeMap<String, BTreeMap<UserName, Adoption>> = BTreeMap::new();
    for (machine, name, adoption) in
        tx.query(sql, &[], |row| Ok((row.text("machine_id")?, row.parsed("unix_name")?, adoption(row)?)))?
    {
        all.entry(machine).or_default().insert(name, adoption);
    }
    Ok(all)
}

/// Records one, also in the place of an earlier one.
pub(crate) fn set(tx: &Tx<'_>, machine_id: &str, name: &UserName, adoption: &Adoption) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO adoption (machine_id, unix_name, uid, shell, exclusive, released, adopted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (machine_id, unix_name) DO UPDATE SET uid = ?3, shell = ?4, exclusive = ?5, released = ?6",
        &[
            machine_id.into(),
            name.as_str().into(),
            i64::from(adoption.uid).into(),
            adoption.shell.as_deref().into(),
            i64::from(adoption.is_exclusive).into(),
            i64::from(adoption.is_released).into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

/// Forgets those of a machine.
pub(super) fn forget(tx: &Tx<'_>, machine_id: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM adoption WHERE machine_id = ?1", &[machine_id.into()])?;
    Ok(())
}
