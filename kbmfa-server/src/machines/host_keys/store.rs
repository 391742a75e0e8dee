//! The SQL of host keys.

use kbmfa_proto::names::MachineName;

use super::{Endpoint, Fingerprint, HostKey, Reach, SSH_PORT};
use crate::clock::Time;
use crate::db::at_restore::{Listing, Table, text_id};
use crate::db::{Error, Tx};

/// What a restore does to these tables: a pinned key is what a machine is recognised by.
pub const TABLES: &[Table] = &[
    Table::listed(
        "host_key",
        Listing {
            kind: "host-key",
            one: "host key of machine",
            many: "host keys of the machines",
            sql: "SELECT machine_id || ' ' || fingerprint AS id, name || ' ' || fingerprint AS label
                  FROM host_key JOIN machine ON machine.id = machine_id",
            id: text_id,
        },
    ),
    Table::grants_nothing("host_key_report", "a machine reports its host keys every quarter of an hour"),
];

/// How this machine is reached, with its pinned keys.
pub fn reach(tx: &Tx<'_>, machine_id: &str) -> Result<Reach, Error> {
    let endpoint = tx.query_one(
        "SELECT address, port FROM machine WHERE id = ?1 AND address IS NOT NULL",
        &[machine_id.into()],
        |row| {
            let port = u16::try_from(row.integer("port")?).unwrap_or(SSH_PORT);
            Ok(Endpoint { address: row.parsed("address")?, port })
        },
    )?;
    let host_keys = tx.query(
        "SELECT fingerprint, line FROM host_key WHERE machine_id = ?1 ORDER BY fingerprint",
        &[machine_id.into()],
        |row| Ok(HostKey { fingerprint: row.parsed("fingerprint")?, line: row.text_or_null("line")? }),
    )?;
    Ok(Reach { endpoint, host_keys })
}

/// The machine whose sshd listens there.
pub fn at(tx: &Tx<'_>, endpoint: &Endpoint) -> Result<Option<MachineName>, Error> {
    tx.query_one(
        "SELECT name FROM machine WHERE address = ?1 AND port = ?2 AND removed_at IS NULL",
        &[endpoint.address.to_string().into(), i64::from(endpoint.port).into()],
        |row| row.parsed("name"),
    )
}

/// The machine for which this key is pinned.
pub fn holder(tx: &Tx<'_>, key: &Fingerprint) -> Result<Option<MachineName>, Error> {
    tx.query_one(
        "SELECT name FROM host_key JOIN machine ON machine.id = machine_id WHERE fingerprint = ?1",
        &[key.to_string().into()],
        |row| row.parsed("name"),
    )
}

pub(crate) fn set_endpoint(tx: &Tx<'_>, machine_id: &str, endpoint: &Endpoint) -> Result<(), Error> {
    tx.execute(
        "UPDATE machine SET address = ?2, port = ?3 WHERE id = ?1",
        &[machine_id.into(), endpoint.address.to_string().into(), i64::from(endpoint.port).into()],
    )?;
    Ok(())
}

pub(crate) fn pin(tx: &Tx<'_>, machine_id: &str, key: &HostKey) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO host_key (machine_id, fingerprint, line, added_at) VALUES (?1, ?2, ?3, ?4)",
        &[machine_id.into(), key.fingerprint.to_string().into(), key.line.as_deref().into(), tx.now.into()],
    )?;
    Ok(())
}

/// Completes pinned keys of which only the fingerprint was known.
pub(crate) fn learn(tx: &Tx<'_>, machine_id: &str, keys: &[HostKey]) -> Result<(), Error> {
    for key in keys {
        tx.execute(
            "UPDATE host_key SET line = ?3 WHERE fingerprint = ?2 AND machine_id = ?1",
            &[machine_id.into(), key.fingerprint.to_string().into(), key.line.as_deref().into()],
        )?;
    }
    Ok(())
}

/// Forgets a machine's keys, so that they may be those of another one.
pub(crate) fn forget(tx: &Tx<'_>, machine_id: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM host_key WHERE machine_id = ?1", &[machine_id.into()])?;
    Ok(())
}

/// Why a machine is in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// Since when.
    pub since: Time,
    /// The keys that it reported last, which were not those that are pinned.
    pub reported: Vec<HostKey>,
}

/// Why a machine is in quarantine, if it is.
pub fn quarantine(tx: &Tx<'_>, machine_id: &str) -> Result<Option<Quarantine>, Error> {
    let rows = tx.query(
        "SELECT fingerprint, line, since FROM host_key_report WHERE machine_id = ?1 ORDER BY fingerprint",
        &[machine_id.into()],
        |row| {
            let key = HostKey { fingerprint: row.parsed("fingerprint")?, line: row.text_or_null("line")? };
            Ok((key, row.time("since")?))
        },
    )?;
    let since = rows.iter().map(|(_, since)| *since).min();
    let reported = rows.into_iter().map(|(key, _)| key).collect();
    Ok(since.map(|since| Quarantine { since, reported }))
}

/// Number of machines in quarantine.
pub fn count_quarantined(tx: &Tx<'_>) -> Result<u64, Error> {
    let sql = "SELECT count(DISTINCT machine_id) AS n FROM host_key_report";
    Ok(tx.query_one(sql, &[], |row| row.integer("n"))?.unwrap_or(0).unsigned_abs())
}

/// Puts a machine into quarantine, or replaces the reported keys of one that is in it.
pub(crate) fn set_quarantine(tx: &Tx<'_>, machine_id: &str, quarantine: &Quarantine) -> Result<(), Error> {
    end_quarantine(tx, machine_id)?;
    for key in &quarantine.reported {
        tx.execute(
            "INSERT INTO host_key_report (machine_id, fingerprint, line, since) VALUES (?1, ?2, ?3, ?4)",
            &[
                machine_id.into(),
                key.fingerprint.to_string().into(),
                key.line.as_deref().unwrap_or_default().into(),
                quarantine.since.into(),
            ],
        )?;
    }
    Ok(())
}

/// Ends a machine's quarantine; true if it was in one.
pub(crate) fn end_quarantine(tx: &Tx<'_>, machine_id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM host_key_report WHERE machine_id = ?1", &[machine_id.into()])? > 0)
}
