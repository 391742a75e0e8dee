//! The SQL of pools.

use kbmfa_proto::names::{MachineName, PoolName};
use kbmfa_proto::text::SafeText;

use crate::clock::Time;
use crate::db::at_restore::{Listing, Table, text_id};
use crate::db::{Error, Tx};

/// What a restore does to these tables.
pub const TABLES: &[Table] = &[
    Table::listed(
        "pool",
        Listing {
            kind: "pool",
            one: "pool",
            many: "pools",
            sql: "SELECT id, name AS label FROM pool",
            id: text_id,
        },
    ),
    Table::listed(
        "pool_machine",
        Listing {
            kind: "pool-member",
            one: "machine",
            many: "machines in pools",
            sql: "SELECT pool_id || ' ' || machine_id AS id, machine.name || ' in ' || pool.name AS label
                  FROM pool_machine JOIN pool ON pool.id = pool_id JOIN machine ON machine.id = machine_id",
            id: text_id,
        },
    ),
];

/// A pool and its machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Opaque id.
    pub id: String,
    /// Its name.
    pub name: PoolName,
    /// A text for people.
    pub label: Option<SafeText>,
    /// When it was created.
    pub created_at: Time,
    /// The machines in it, by name.
    pub machines: Vec<MachineName>,
}

/// All pools, by name.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Pool>, Error> {
    let mut pools = tx.query("SELECT id, name, label, created_at FROM pool ORDER BY name", &[], |row| {
        let (id, name, label) = (row.text("id")?, row.parsed("name")?, row.text_or_null("label")?);
        let (label, created_at) = (label.map(SafeText::from), row.time("created_at")?);
        Ok(Pool { id, name, label, created_at, machines: Vec::new() })
    })?;
    for pool in &mut pools {
        pool.machines = tx.query(
            "SELECT name FROM pool_machine JOIN machine ON machine.id = machine_id
             WHERE pool_id = ?1 ORDER BY name",
            &[pool.id.as_str().into()],
            |row| row.parsed("name"),
        )?;
    }
    Ok(pools)
}

/// The pool of this name.
pub fn by_name(tx: &Tx<'_>, name: &PoolName) -> Result<Option<Pool>, Error> {
    Ok(all(tx)?.into_iter().find(|pool| &pool.name == name))
}

/// The ids of all pools, by name.
pub fn ids(tx: &Tx<'_>) -> Result<Vec<(PoolName, String)>, Error> {
    tx.query("SELECT name, id FROM pool", &[], |row| Ok((row.parsed("name")?, row.text("id")?)))
}

/// Names of the pools that a machine is in.
pub fn of_machine(tx: &Tx<'_>, machine_id: &str) -> Result<Vec<PoolName>, Error> {
    tx.query(
        "SELECT name FROM pool_machine JOIN pool ON pool.id = pool_id WHERE machine_id = ?1 ORDER BY name",
        &[machine_id.into()],
        |row| row.parsed("name"),
    )
}

pub(crate) fn insert(tx: &Tx<'_>, id: &str, name: &PoolName) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO pool (id, name, created_at) VALUES (?1, ?2, ?3)",
        &[id.into(), name.as_str().into(), tx.now.into()],
    )?;
    Ok(())
}

pub(crate) fn set_label(tx: &Tx<'_>, id: &str, label: Option<&SafeText>) -> Result<(), Error> {
    let label = label.map(SafeText::as_str);
    tx.execute("UPDATE pool SET label = ?2 WHERE id = ?1", &[id.into(), label.into()])?;
    Ok(())
}

pub(crate) fn rename(tx: &Tx<'_>, id: &str, name: &PoolName) -> Result<(), Error> {
    tx.execute("UPDATE pool SET name = ?2 WHERE id = ?1", &[id.into(), name.as_str().into()])?;
    Ok(())
}

pub(crate) fn remove(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM pool_machine WHERE pool_id = ?1", &[id.into()])?;
    tx.execute("DELETE FROM pool WHERE id = ?1", &[id.into()])?;
    Ok(())
}

pub(crate) fn put_in(tx: &Tx<'_>, pool_id: &str, machine_id: &str) -> Result<bool, Error> {
    let sql = "INSERT INTO pool_machine (pool_id, machine_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, &[pool_id.into(), machine_id.into()])? == 1)
}

pub(crate) fn take_out(tx: &Tx<'_>, pool_id: &str, machine_id: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM pool_machine WHERE pool_id = ?1 AND machine_id = ?2";
    Ok(tx.execute(sql, &[pool_id.into(), machine_id.into()])? == 1)
}
