//! The SQL of employees' keys.

use kbmfa_proto::text::SafeText;

use super::{Reason, State};
use crate::clock::Time;
use crate::db::at_restore::{Listing, Table, text_id};
use crate::db::{Error, Row, Tx};

/// What a restore does to this table. The state is part of a row's id, because a restore would accept a key again that was
/// revoked since.
pub const TABLES: &[Table] = &[Table::listed(
    "ssh_key",
    Listing {
        kind: "key",
        one: "key",
        many: "keys",
        sql: "SELECT ssh_key.id || ' ' || ssh_key.state AS id,
                  fingerprint || ' of ' || email || ', ' || ssh_key.state AS label
              FROM ssh_key JOIN employee ON employee.id = employee_id",
        id: text_id,
    },
)];

/// An employee's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Opaque id.
    pub id: String,
    /// The owner's id.
    pub employee_id: String,
    /// As `ssh-keygen -l` prints it: `SHA256:..`.
    pub fingerprint: String,
    /// `algorithm base64`, encoded anew by us, without a comment.
    pub line: String,
    /// The computer that has it.
    pub device: SafeText,
    /// Whether it counts.
    pub state: State,
    /// Id of the key of the same person that vouched for it; none: an invite or the operator did.
    pub parent_id: Option<String>,
    /// Id of the key of the same person that is revoked when this one becomes active.
    pub replaces_id: Option<String>,
    /// When it was added.
    pub added_at: Time,
    /// When it began to count.
    pub active_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// Why it was revoked.
    pub revoked_for: Option<Reason>,
}

const KEY: &str =
    "SELECT id, employee_id, fingerprint, line, device, state, parent_id, replaces_id, added_at, active_at,
                       revoked_at, revoked_for FROM ssh_key";

fn key(row: &Row<'_>) -> Result<Key, Error> {
    Ok(Key {
        id: row.text("id")?,
        employee_id: row.text("employee_id")?,
        fingerprint: row.text("fingerprint")?,
        line: row.text("line")?,
        device: row.text("device")?.into(),
        state: row.parsed("state")?,
        parent_id: row.text_or_null("parent_id")?,
        replaces_id: row.text_or_null("replaces_id")?,
        added_at: row.time("added_at")?,
        active_at: row.time_or_null("active_at")?,
        revoked_at: row.time_or_null("revoked_at")?,
        revoked_for: row.parsed_or_null("revoked_for")?,
    })
}

/// The key with this fingerprint, in any state and of anybody.
pub fn by_fingerprint(tx: &Tx<'_>, fingerprint: &str) -> Result<Option<Key>, Error> {
    tx.query_one(&format!("{KEY} WHERE fingerprint = ?1"), &[fingerprint.into()], key)
}

/// The key with this id.
pub fn by_id(tx: &Tx<'_>, id: &str) -> Result<Option<Key>, Error> {
    tx.query_one(&format!("{KEY} WHERE id = ?1"), &[id.into()], key)
}

/// All keys of an employee, the oldest first.
pub fn of_employee(tx: &Tx<'_>, employee_id: &str) -> Result<Vec<Key>, Error> {
    let sql = format!("{KEY} WHERE employee_id = ?1 ORDER BY added_at, id");
    tx.query(&sql, &[employee_id.into()], key)
}

/// All keys, by owner and age.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Key>, Error> {
    tx.query(&format!("{KEY} ORDER BY employee_id, added_at, id"), &[], key)
}

pub(crate) fn insert(tx: &Tx<'_>, new: &Key) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO ssh_key (id, employee_id, fingerprint, line, device, state, parent_id, replaces_id, added_at, active_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        &[
            new.id.as_str().into(),
            new.employee_id.as_str().into(),
            new.fingerprint.as_str().into(),
            new.line.as_str().into(),
            new.device.as_str().into(),
            new.state.as_str().into(),
            new.parent_id.clone().into(),
            new.replaces_id.clone().into(),
            tx.now.into(),
            new.active_at.into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn activate(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    let sql = "UPDATE ssh_key SET state = 'active', active_at = ?2 WHERE id = ?1";
    tx.execute(sql, &[id.into(), tx.now.into()])?;
    Ok(())
}

/// Revokes a key. One that was revoked before keeps its time, and has this reason from now on.
pub(crate) fn revoke(tx: &Tx<'_>, id: &str, why: Reason) -> Result<(), Error> {
    let sql = "UPDATE ssh_key SET state = 'revoked', revoked_at = COALESCE(revoked_at, ?2), revoked_for = ?3 WHERE id = ?1";
    tx.execute(sql, &[id.into(), tx.now.into(), why.as_str().into()])?;
    Ok(())
}
