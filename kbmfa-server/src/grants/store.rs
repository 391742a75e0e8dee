//! The SQL of grants.

use kbmfa_proto::names::PoolName;

use super::SudoProfile;
use crate::clock::Time;
use crate::db::at_restore::{Listing, Table, text_id};
use crate::db::{Error, Row, Tx};
use crate::employees::Email;

/// What a restore does to this table. The end is part of a row's id, because a restore could put it off.
pub const TABLES: &[Table] = &[Table::listed(
    "pool_grant",
    Listing {
        kind: "grant",
        one: "grant",
        many: "grants",
        sql: "SELECT pool_grant.id || ' ' || coalesce(sudo_profile, '-') || ' ' || coalesce(CAST(ends_at AS TEXT), '-') AS id,
                  email || ' to ' || pool.name AS label
              FROM pool_grant JOIN employee ON employee.id = employee_id JOIN pool ON pool.id = pool_id",
        id: text_id,
    },
)];

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Opaque id.
    pub id: String,
    /// The employee's id.
    pub employee_id: String,
    /// The employee's address.
    pub email: Email,
    /// The pool.
    pub pool: PoolName,
    /// The sudo profile; `None` for no sudo.
    pub sudo: Option<SudoProfile>,
    /// When it ends; `None` for one without an end.
    pub ends_at: Option<Time>,
    /// When it was added.
    pub created_at: Time,
}

const GRANT: &str =
    "SELECT pool_grant.id AS id, employee_id, email, pool.name AS pool, sudo_profile, ends_at,
    pool_grant.created_at AS created_at
    FROM pool_grant JOIN employee ON employee.id = employee_id JOIN pool ON pool.id = pool_id";

fn grant(row: &Row<'_>) -> Result<Grant, Error> {
    Ok(Grant {
        id: row.text("id")?,
        employee_id: row.text("employee_id")?,
        email: row.parsed("email")?,
        pool: row.parsed("pool")?,
        sudo: row.parsed_or_null("sudo_profile")?,
        ends_at: row.time_or_null("ends_at")?,
        created_at: row.time("created_at")?,
    })
}

/// All grants, by address and pool.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Grant>, Error> {
    tx.query(&format!("{GRANT} ORDER BY email, pool.name"), &[], grant)
}

/// The grants of an employee, by pool.
pub fn of_employee(tx: &Tx<'_>, employee_id: &str) -> Result<Vec<Grant>, Error> {
    tx.query(&format!("{GRANT} WHERE employee_id = ?1 ORDER BY pool.name"), &[employee_id.into()], grant)
}

/// The grants to a pool, by address.
pub fn of_pool(tx: &Tx<'_>, pool_id: &str) -> Result<Vec<Grant>, Error> {
    tx.query(&format!("{GRANT} WHERE pool_id = ?1 ORDER BY email"), &[pool_id.into()], grant)
}

/// The grant of an employee to a pool, also one that has ended.
pub fn find(tx: &Tx<'_>, employee_id: &str, pool_id: &str) -> Result<Option<Grant>, Error> {
    let sql = format!("{GRANT} WHERE employee_id = ?1 AND pool_id = ?2");
    tx.query_one(&sql, &[employee_id.into(), pool_id.into()], grant)
}

/// The ends of an employee's grants to the pools of a machine.
pub fn to_machine(tx: &Tx<'_>, employee_id: &str, machine_id: &str) -> Result<Vec<Option<Time>>, Error> {
    tx.query(
        "SELECT ends_at FROM pool_grant JOIN pool_machine ON pool_machine.pool_id = pool_grant.pool_id
         WHERE employee_id = ?1 AND machine_id = ?2",
        &[employee_id.into(), machine_id.into()],
        |row| row.time_or_null("ends_at"),
    )
}

/// A new grant.
pub(crate) struct New<'a> {
    pub(crate) id: &'a str,
    pub(crate) employee_id: &'a str,
    pub(crate) pool_id: &'a str,
    pub(crate) sudo: Option<&'a SudoProfile>,
    pub(crate) ends_at: Option<Time>,
}

pub(crate) fn insert(tx: &Tx<'_>, new: &New<'_>) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO pool_grant (id, employee_id, pool_id, sudo_profile, ends_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[
            new.id.into(),
            new.employee_id.into(),
            new.pool_id.into(),
            new.sudo.map(SudoProfile::as_str).into(),
            new.ends_at.into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn set_end(tx: &Tx<'_>, id: &str, ends_at: Option<Time>) -> Result<(), Error> {
    tx.execute("UPDATE pool_grant SET ends_at = ?2 WHERE id = ?1", &[id.into(), ends_at.into()])?;
    Ok(())
}

pub(crate) fn remove(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM pool_grant WHERE id = ?1", &[id.into()])?;
    Ok(())
}
