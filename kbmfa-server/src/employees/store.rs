//! The SQL of employees.

use kbmfa_proto::names::{KeybaseName, UserName};
use kbmfa_proto::text::SafeText;

use super::{Email, State};
use crate::clock::Time;
use crate::db::at_restore::{Listing, Table, text_id};
use crate::db::{Error, Row, Tx};

/// What a restore does to this table. The state is a part of a row's id, because a restore would let in
/// somebody who was suspended after the backup. Removed employees count, too, because their accounts are
/// refused.
pub const TABLES: &[Table] = &[
    Table::listed(
        "employee",
        Listing {
            kind: "employee",
            one: "employee",
            many: "employees",
            sql: "SELECT id || ' ' || state AS id, email || ', ' || state AS label FROM employee",
            id: text_id,
        },
    ),
    Table::listed("employee", PASSWORDS),
];

/// Account passwords: one that was replaced after the backup comes back.
const PASSWORDS: Listing = Listing {
    kind: "account-password",
    one: "the account password of",
    many: "the account passwords of",
    sql: "SELECT id || ' ' || CAST(password_set_at AS TEXT) AS id, email AS label
          FROM employee WHERE password_sealed IS NOT NULL",
    id: text_id,
};

/// An employee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Employee {
    /// Opaque id.
    pub id: String,
    /// The address that identifies them.
    pub email: Email,
    /// Full name.
    pub name: SafeText,
    /// Their Unix account.
    pub unix_name: UserName,
    /// Their Keybase name.
    pub keybase_name: Option<KeybaseName>,
    /// Whether they may log in.
    pub state: State,
    /// When they were added.
    pub created_at: Time,
    /// When the state last changed.
    pub changed_at: Time,
}

const EMPLOYEE: &str =
    "SELECT id, email, name, unix_name, keybase_name, state, created_at, changed_at FROM employee";

fn employee(row: &Row<'_>) -> Result<Employee, Error> {
    Ok(Employee {
        id: row.text("id")?,
        email: row.parsed("email")?,
        name: row.text("name")?.into(),
        unix_name: row.parsed("unix_name")?,
        keybase_name: row.parsed_or_null("keybase_name")?,
        state: row.parsed("state")?,
        created_at: row.time("created_at")?,
        changed_at: row.time("changed_at")?,
    })
}

/// All employees, sorted by e-mail address. Those who were removed are included only on request.
pub fn all(tx: &Tx<'_>, with_removed: bool) -> Result<Vec<Employee>, Error> {
    let which = if with_removed { "" } else { "WHERE state <> 'removed'" };
    tx.query(&format!("{EMPLOYEE} {which} ORDER BY email, created_at"), &[], employee)
}

/// The employee with this address, if they were not removed.
pub fn by_email(tx: &Tx<'_>, email: &Email) -> Result<Option<Employee>, Error> {
    let sql = format!("{EMPLOYEE} WHERE email = ?1 AND state <> 'removed'");
    tx.query_one(&sql, &[email.as_str().into()], employee)
}

/// The employee who has this account, or had it. An employee who was not removed comes first, then the newest
/// one.
pub fn by_unix_name(tx: &Tx<'_>, name: &UserName) -> Result<Option<Employee>, Error> {
    let sql = format!("{EMPLOYEE} WHERE unix_name = ?1 ORDER BY state = 'removed', created_at DESC LIMIT 1");
    tx.query_one(&sql, &[name.as_str().into()], employee)
}

/// Another employee who was not removed and has the same address, account or Keybase name as `new`.
pub(crate) fn holder_of(tx: &Tx<'_>, new: &Employee) -> Result<Option<Employee>, Error> {
    let sql = format!(
        "{EMPLOYEE} WHERE state <> 'removed' AND id <> ?4
            AND (email = ?1 OR unix_name = ?2 OR keybase_name = ?3) LIMIT 1"
    );
    let keybase = new.keybase_name.as_ref().map(KeybaseName::as_str);
    let id = new.id.as_str().into();
    let names = [new.email.as_str().into(), new.unix_name.as_str().into(), keybase.into(), id];
    tx.query_one(&sql, &names, employee)
}

/// The employee with this id.
pub fn by_id(tx: &Tx<'_>, id: &str) -> Result<Option<Employee>, Error> {
    tx.query_one(&format!("{EMPLOYEE} WHERE id = ?1"), &[id.into()], employee)
}

pub(crate) fn insert(tx: &Tx<'_>, new: &Employee) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO employee (id, email, name, unix_name, keybase_name, state, created_at, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        &[
            new.id.as_str().into(),
            new.email.as_str().into(),
            new.name.as_str().into(),
            new.unix_name.as_str().into(),
            new.keybase_name.as_ref().map(KeybaseName::as_str).into(),
            new.state.as_str().into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

/// Records the address and the names of an employee anew.
pub(crate) fn set_names(tx: &Tx<'_>, new: &Employee) -> Result<(), Error> {
    tx.execute(
        "UPDATE employee SET email = ?2, name = ?3, keybase_name = ?4 WHERE id = ?1",
        &[
            new.id.as_str().into(),
            new.email.as_str().into(),
            new.name.as_str().into(),
            new.keybase_name.as_ref().map(KeybaseName::as_str).into(),
        ],
    )?;
    Ok(())
}

/// Records the encrypted hash of an employee's account password; `None` removes it.
pub(crate) fn set_password(tx: &Tx<'_>, id: &str, sealed: Option<&[u8]>) -> Result<(), Error> {
    let sql = "UPDATE employee SET password_sealed = ?2, password_set_at = ?3 WHERE id = ?1";
    tx.execute(sql, &[id.into(), sealed.into(), sealed.map(|_| tx.now).into()])?;
    Ok(())
}

/// When this employee's account password was chosen; `None` if there is none.
pub fn password_set_at(tx: &Tx<'_>, id: &str) -> Result<Option<Time>, Error> {
    let sql = "SELECT password_set_at FROM employee WHERE id = ?1";
    Ok(tx.query_one(sql, &[id.into()], |row| row.time_or_null("password_set_at"))?.flatten())
}

/// The encrypted account passwords, each with its employee's id and address.
pub fn sealed_passwords(tx: &Tx<'_>) -> Result<Vec<(String, Email, Vec<u8>)>, Error> {
    let sql =
        "SELECT id, email, password_sealed FROM employee WHERE password_sealed IS NOT NULL ORDER BY email";
    tx.query(sql, &[], |row| Ok((row.text("id")?, row.parsed("email")?, row.blob("password_sealed")?)))
}

pub(crate) fn set_state(tx: &Tx<'_>, id: &str, state: State) -> Result<(), Error> {
    let sql = "UPDATE employee SET state = ?2, changed_at = ?3 WHERE id = ?1";
    tx.execute(sql, &[id.into(), state.as_str().into(), tx.now.into()])?;
    Ok(())
}
