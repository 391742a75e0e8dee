//! The SQL of the server's own logins. The rows of a machine are few: one for each connection of the last minutes.

use kbmfa_proto::login::SshConnection;
use kbmfa_proto::names::{LoginId, UserName};

use crate::db::{Error, Row, Tx};
use crate::deliveries::own_login::{Announcement, LIFE, OwnLogin, REMEMBERED};
use crate::source::Address;

/// Most announcements of a machine and an account that are compared. One server at a time works on a machine.
const LIVE_MAX: i64 = 8;

fn own_login(row: &Row<'_>) -> Result<OwnLogin, Error> {
    let nat = row.text("nat")?;
    let bad = |address: String| Error::BadValue(format!("own_login.nat: {address}"));
    let nat: Result<Vec<Address>, _> = nat.split_whitespace().map(str::parse).collect();
    Ok(OwnLogin {
        id: row.text("id")?,
        announced: Announcement {
            machine_id: row.text("machine_id")?,
            account: row.parsed("account")?,
            ends: SshConnection { client: row.parsed("client")?, server: row.parsed("server")? },
            nat: nat.map_err(bad)?,
            key: row.text("key_fingerprint")?,
        },
        expires_at: row.time("expires_at")?,
        connection: row.text_or_null("connection")?,
    })
}

/// The announcements that may let somebody in to this account; none of a machine to which nothing is delivered.
pub fn live(tx: &Tx<'_>, machine_id: &str, account: &UserName) -> Result<Vec<OwnLogin>, Error> {
    tx.query(
        "SELECT own_login.id AS id, own_login.machine_id AS machine_id, account, client, server, nat, key_fingerprint,
             expires_at, connection
         FROM own_login JOIN delivery ON delivery.machine_id = own_login.machine_id
         WHERE own_login.machine_id = ?1 AND account = ?2 AND expires_at > ?3 ORDER BY expires_at DESC LIMIT ?4",
        &[machine_id.into(), account.as_str().into(), tx.now.into(), LIVE_MAX.into()],
        own_login,
    )
}

pub(crate) fn insert(tx: &Tx<'_>, id: &str, announced: &Announcement) -> Result<(), Error> {
    let nat: Vec<String> = announced.nat.iter().map(ToString::to_string).collect();
    tx.execute(
        "INSERT INTO own_login (id, machine_id, account, client, server, nat, key_fingerprint, expires_at, forget_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        &[
            id.into(),
            announced.machine_id.as_str().into(),
            announced.account.as_str().into(),
            announced.ends.client.to_string().into(),
            announced.ends.server.to_string().into(),
            nat.join(" ").into(),
            announced.key.as_str().into(),
            (tx.now + LIFE).into(),
            (tx.now + REMEMBERED).into(),
        ],
    )?;
    Ok(())
}

/// Uses an announcement up for a connection. False if it has expired, or another connection was first.
pub(crate) fn take(tx: &Tx<'_>, id: &str, connection: &str) -> Result<bool, Error> {
    let taken = tx.execute(
        "UPDATE own_login SET connection = ?2
         WHERE id = ?1 AND expires_at > ?3 AND (connection IS NULL OR connection = ?2)",
        &[id.into(), connection.into(), tx.now.into()],
    )?;
    Ok(taken == 1)
}

/// Notes which login it lets in, so that the machine can ask again.
pub(crate) fn set_login(tx: &Tx<'_>, id: &str, login: &LoginId) -> Result<(), Error> {
    tx.execute("UPDATE own_login SET login = ?2 WHERE id = ?1", &[id.into(), login.as_str().into()])?;
    Ok(())
}

/// True if an announcement lets in this login of the machine.
pub fn lets_in(tx: &Tx<'_>, machine_id: &str, login: &LoginId) -> Result<bool, Error> {
    let sql = "SELECT 1 AS one FROM own_login JOIN delivery ON delivery.machine_id = own_login.machine_id
               WHERE own_login.machine_id = ?1 AND login = ?2 AND expires_at > ?3";
    let found = tx.query_one(sql, &[machine_id.into(), login.as_str().into(), tx.now.into()], |_| Ok(()))?;
    Ok(found.is_some())
}

/// Ends the announcement that lets in this login. False if there is none.
pub(crate) fn withdraw(tx: &Tx<'_>, machine_id: &str, login: &LoginId) -> Result<bool, Error> {
    let sql = "UPDATE own_login SET expires_at = ?3 WHERE machine_id = ?1 AND login = ?2 AND expires_at > ?3";
    Ok(tx.execute(sql, &[machine_id.into(), login.as_str().into(), tx.now.into()])? > 0)
}

/// True if a connection has used an announcement up, lately.
pub fn is_taken_by(
    tx: &Tx<'_>,
    machine_id: &str,
    account: &UserName,
    connection: &str,
) -> Result<bool, Error> {
    let sql =
        "SELECT 1 AS one FROM own_login WHERE machine_id = ?1 AND account = ?2 AND connection = ?3 LIMIT 1";
    let values = [machine_id.into(), account.as_str().into(), connection.into()];
    Ok(tx.query_one(sql, &values, |_| Ok(()))?.is_some())
}

/// Ends an announcement. One that was used stays for a while, so that reports about its session are recognised.
pub(crate) fn end(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM own_login WHERE id = ?1 AND connection IS NULL", &[id.into()])?;
    let sql = "UPDATE own_login SET expires_at = ?2 WHERE id = ?1 AND expires_at > ?2";
    tx.execute(sql, &[id.into(), tx.now.into()])?;
    Ok(())
}

/// Removes what is not needed any more: also what a server left behind that was killed.
pub(crate) fn forget(tx: &Tx<'_>) -> Result<(), Error> {
    tx.execute("DELETE FROM own_login WHERE forget_at <= ?1", &[tx.now.into()])?;
    Ok(())
}
