//! The SQL of the ledger.

use kbmfa_proto::names::UserName;
use serde::{Deserialize, Serialize};

use super::{Seen, Uids};
use crate::db::at_restore::Table;
use crate::db::{Error, Row, Tx};
use crate::employees::Email;

/// What a restore does to this table.
pub const TABLES: &[Table] = &[
    Table::grants_nothing(
        "account_ledger",
        "it only keeps a name and a uid from being given to a second person",
    ),
    Table::grants_nothing("uid_seen", "it only keeps a uid from being given out"),
];

/// Maximum number of uids that are remembered of one machine. The highest are kept.
const SEEN_MAX: i64 = 1000;

/// A name in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its uid; `None` for an employee of before the ledger who has no grant yet.
    pub uid: Option<u32>,
    /// The employee's address.
    pub email: Email,
}

fn uid(row: &Row<'_>) -> Result<Option<u32>, Error> {
    Ok(row.integer_or_null("uid")?.and_then(|uid| u32::try_from(uid).ok()))
}

/// The entry of a Unix name.
pub fn entry(tx: &Tx<'_>, name: &UserName) -> Result<Option<Entry>, Error> {
    let sql = "SELECT uid, email FROM account_ledger JOIN employee ON employee.id = employee_id
               WHERE account_ledger.unix_name = ?1";
    tx.query_one(sql, &[name.as_str().into()], |row| {
        Ok(Entry { uid: uid(row)?, email: row.parsed("email")? })
    })
}

/// An employee's id, and their Unix name.
type Account = (String, UserName);

/// Each employee's uid, by the employee's id and Unix name.
pub fn uids(tx: &Tx<'_>) -> Result<Vec<(Account, u32)>, Error> {
    let sql = "SELECT employee_id, unix_name, uid FROM account_ledger WHERE uid IS NOT NULL";
    let found =
        tx.query(sql, &[], |row| Ok(((row.text("employee_id")?, row.parsed("unix_name")?), uid(row)?)))?;
    Ok(found.into_iter().filter_map(|(who, uid)| Some((who, uid?))).collect())
}

/// The person who has this uid, or had it.
pub fn holder_of_uid(tx: &Tx<'_>, uid: u32) -> Result<Option<Email>, Error> {
    let sql = "SELECT email FROM account_ledger JOIN employee ON employee.id = employee_id WHERE uid = ?1";
    tx.query_one(sql, &[i64::from(uid).into()], |row| row.parsed("email"))
}

/// The highest uid of the range that was given.
pub fn highest_given(tx: &Tx<'_>, uids: Uids) -> Result<Option<u32>, Error> {
    let sql = "SELECT uid FROM account_ledger WHERE uid >= ?1 AND uid <= ?2 ORDER BY uid DESC LIMIT 1";
    let ends = [i64::from(uids.first()).into(), i64::from(uids.last()).into()];
    Ok(tx.query_one(sql, &ends, uid)?.flatten())
}

/// The highest uid of the range that a machine reported, also one that was removed.
pub fn highest_seen(tx: &Tx<'_>, uids: Uids) -> Result<Option<Seen>, Error> {
    let sql =
        "SELECT uid, name FROM uid_seen JOIN machine ON machine.id = machine_id WHERE uid >= ?1 AND uid <= ?2
               ORDER BY uid DESC, name LIMIT 1";
    let ends = [i64::from(uids.first()).into(), i64::from(uids.last()).into()];
    let found = tx.query_one(sql, &ends, |row| Ok((uid(row)?, row.parsed("name")?)))?;
    Ok(found.and_then(|(uid, machine)| Some(Seen { uid: uid?, machine })))
}

/// All Unix names, and who has or had each.
pub(super) fn names(tx: &Tx<'_>) -> Result<Vec<(UserName, Entry)>, Error> {
    let sql = "SELECT account_ledger.unix_name AS unix_name, uid, email FROM account_ledger
               JOIN employee ON employee.id = employee_id";
    tx.query(sql, &[], |row| {
        Ok((row.parsed("unix_name")?, Entry { uid: uid(row)?, email: row.parsed("email")? }))
    })
}

/// The uids that were given, and those that machines reported.
pub(super) fn given_or_seen(tx: &Tx<'_>) -> Result<Vec<u32>, Error> {
    let sql = "SELECT uid FROM account_ledger WHERE uid IS NOT NULL UNION SELECT uid FROM uid_seen";
    Ok(tx.query(sql, &[], uid)?.into_iter().flatten().collect())
}

/// Records a uid that a machine reported.
pub(super) fn saw(tx: &Tx<'_>, machine_id: &str, uid: u32) -> Result<(), Error> {
    let is_new = tx.execute(
        "INSERT INTO uid_seen (machine_id, uid) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        &[machine_id.into(), i64::from(uid).into()],
    )? > 0;
    if is_new {
        tx.execute(
            "DELETE FROM uid_seen WHERE machine_id = ?1 AND uid <= (SELECT uid FROM uid_seen
               WHERE machine_id = ?1 ORDER BY uid DESC LIMIT 1 OFFSET ?2)",
            &[machine_id.into(), SEEN_MAX.into()],
        )?;
    }
    Ok(())
}

pub(crate) fn insert(tx: &Tx<'_>, name: &UserName, uid: u32, employee_id: &str) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO account_ledger (unix_name, uid, employee_id, created_at) VALUES (?1, ?2, ?3, ?4)",
        &[name.as_str().into(), i64::from(uid).into(), employee_id.into(), tx.now.into()],
    )?;
    Ok(())
}

/// Gives an entry its uid, and the employee who has the name now.
pub(crate) fn complete(tx: &Tx<'_>, name: &UserName, uid: u32, employee_id: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE account_ledger SET uid = ?2, employee_id = ?3 WHERE unix_name = ?1",
        &[name.as_str().into(), i64::from(uid).into(), employee_id.into()],
    )?;
    Ok(())
}
