//! The SQL of machines, their credentials and join tokens.

use kbmfa_proto::login::{Account, OpenLogin};
use kbmfa_proto::names::MachineName;

use crate::clock::Time;
use crate::db::at_restore::{AtRestore, Listing, Table, text_id};
use crate::db::{Error, Row, Tx};
use crate::random::to_hex;
use crate::secret::SecretHash;

/// What a restore does to these tables.
pub const TABLES: &[Table] = &[
    Table::listed(
        "machine",
        Listing {
            kind: "machine",
            one: "machine",
            many: "machines",
            sql: "SELECT id, name AS label FROM machine WHERE removed_at IS NULL",
            id: text_id,
        },
    ),
    Table::listed(
        "credential",
        Listing {
            kind: "credential",
            one: "a credential of machine",
            many: "credentials of the machines",
            sql: "SELECT hash, name AS label FROM credential JOIN machine ON machine.id = machine_id
                  WHERE retired_at IS NULL AND removed_at IS NULL",
            id: |row| Ok(to_hex(&row.blob("hash")?)),
        },
    ),
    Table {
        name: "join_token",
        at_restore: AtRestore::Ends(Some(Listing {
            kind: "join-token",
            one: "a join token of machine",
            many: "join tokens of the machines",
            sql: "SELECT hash, name AS label FROM join_token JOIN machine ON machine.id = machine_id
                  WHERE expires_at > ?1 AND credential_hash IS NULL AND removed_at IS NULL",
            id: |row| Ok(to_hex(&row.blob("hash")?)),
        })),
    },
];

/// A machine that has not been removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Opaque id.
    pub id: String,
    /// Its name.
    pub name: MachineName,
    /// When it was added.
    pub created_at: Time,
    /// When it last called, to the minute.
    pub last_seen_at: Option<Time>,
    /// The module's version, as reported last.
    pub module_version: Option<String>,
    /// Whether its module resolves accounts; `None` before the first login.
    pub resolves: Option<bool>,
    /// Number of valid credentials.
    pub credentials: i64,
    /// Since when it is in quarantine, because it reports other host keys than those that are pinned.
    pub quarantined_at: Option<Time>,
}

impl Machine {
    /// True once it has a credential of its own.
    pub fn has_joined(&self) -> bool {
        self.credentials > 0
    }
}

const MACHINE: &str = "SELECT id, name, created_at, last_seen_at, module_version,
    resolves_accounts, (SELECT count(*) FROM credential WHERE machine_id = machine.id AND retired_at IS NULL) AS credentials,
    (SELECT min(since) FROM host_key_report WHERE machine_id = machine.id) AS quarantined_at
    FROM machine WHERE removed_at IS NULL";

fn machine(row: &Row<'_>) -> Result<Machine, Error> {
    Ok(Machine {
        id: row.text("id")?,
        name: row.parsed("name")?,
        created_at: row.time("created_at")?,
        last_seen_at: row.time_or_null("last_seen_at")?,
        module_version: row.text_or_null("module_version")?,
        resolves: row.integer_or_null("resolves_accounts")?.map(|resolves| resolves != 0),
        credentials: row.integer("credentials")?,
        quarantined_at: row.time_or_null("quarantined_at")?,
    })
}

/// All machines, by name.
pub fn machines(tx: &Tx<'_>) -> Result<Vec<Machine>, Error> {
    tx.query(&format!("{MACHINE} ORDER BY name"), &[], machine)
}

/// The machine of this name.
pub fn machine_by_name(tx: &Tx<'_>, name: &MachineName) -> Result<Option<Machine>, Error> {
    tx.query_one(&format!("{MACHINE} AND name = ?1"), &[name.as_str().into()], machine)
}

pub(crate) fn insert_machine(tx: &Tx<'_>, id: &str, name: &MachineName) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO machine (id, name, created_at) VALUES (?1, ?2, ?3)",
        &[id.into(), name.as_str().into(), tx.now.into()],
    )?;
    Ok(())
}

pub(crate) fn rename_machine(tx: &Tx<'_>, id: &str, name: &MachineName) -> Result<(), Error> {
    tx.execute("UPDATE machine SET name = ?2 WHERE id = ?1", &[id.into(), name.as_str().into()])?;
    Ok(())
}

pub(crate) fn remove_machine(tx: &Tx<'_>, id: &str) -> Result<(), Error> {
    tx.execute("UPDATE machine SET removed_at = ?2 WHERE id = ?1", &[id.into(), tx.now.into()])?;
    tx.execute(
        "UPDATE credential SET retired_at = ?2 WHERE machine_id = ?1 AND retired_at IS NULL",
        &[id.into(), tx.now.into()],
    )?;
    tx.execute("DELETE FROM join_token WHERE machine_id = ?1", &[id.into()])?;
    tx.execute("DELETE FROM pool_machine WHERE machine_id = ?1", &[id.into()])?;
    Ok(())
}

pub(crate) fn seen(tx: &Tx<'_>, id: &str, module_version: Option<&str>) -> Result<(), Error> {
    tx.execute(
        "UPDATE machine SET last_seen_at = ?2, module_version = coalesce(?3, module_version) WHERE id = ?1",
        &[id.into(), tx.now.into(), module_version.into()],
    )?;
    Ok(())
}

/// Records whether the machine's module resolves accounts.
pub fn set_resolves(tx: &Tx<'_>, id: &str, opened: &OpenLogin) -> Result<(), Error> {
    if opened.account == Account::Known {
        tx.execute(
            "UPDATE machine SET resolves_accounts = ?2 WHERE id = ?1 AND resolves_accounts IS DISTINCT FROM ?2",
            &[id.into(), i64::from(!opened.is_unresolved()).into()],
        )?;
    }
    Ok(())
}

/// A credential that was found, and its machine.
pub(crate) struct Credential {
    pub(crate) machine_id: String,
    pub(crate) name: MachineName,
    pub(crate) created_at: Time,
    pub(crate) first_used_at: Option<Time>,
    pub(crate) last_seen_at: Option<Time>,
}

/// A credential that is valid, or was valid at `retired_since` or later.
pub(crate) fn credential(
    tx: &Tx<'_>,
    hash: &SecretHash,
    retired_since: Time,
) -> Result<Option<Credential>, Error> {
    tx.query_one(
        "SELECT machine.id, name, credential.created_at, first_used_at, last_seen_at
         FROM credential JOIN machine ON machine.id = machine_id
         WHERE hash = ?1 AND (retired_at IS NULL OR retired_at > ?2) AND removed_at IS NULL",
        &[hash.as_bytes().into(), retired_since.into()],
        |row| {
            Ok(Credential {
                machine_id: row.text("id")?,
                name: row.parsed("name")?,
                created_at: row.time("created_at")?,
                first_used_at: row.time_or_null("first_used_at")?,
                last_seen_at: row.time_or_null("last_seen_at")?,
            })
        },
    )
}

pub(crate) fn insert_credential(tx: &Tx<'_>, hash: &SecretHash, machine_id: &str) -> Result<bool, Error> {
    let added = tx.execute(
        "INSERT INTO credential (hash, machine_id, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        &[hash.as_bytes().into(), machine_id.into(), tx.now.into()],
    )?;
    Ok(added == 1)
}

/// Retires a credential at once, also for logins that wait. Returns its machine, if it was valid.
pub(crate) fn retire(tx: &Tx<'_>, hash: &SecretHash) -> Result<Option<MachineName>, Error> {
    let Some(found) = credential(tx, hash, tx.now)? else { return Ok(None) };
    let since = tx.now.minus(super::service::LONGEST_WAIT);
    tx.execute(
        "UPDATE credential SET retired_at = ?2 WHERE hash = ?1",
        &[hash.as_bytes().into(), since.into()],
    )?;
    Ok(Some(found.name))
}

/// Records the first use of a credential, and retires the machine's older credentials. Returns how many.
pub(crate) fn first_use(tx: &Tx<'_>, hash: &SecretHash, credential: &Credential) -> Result<usize, Error> {
    tx.execute(
        "UPDATE credential SET first_used_at = ?2 WHERE hash = ?1",
        &[hash.as_bytes().into(), tx.now.into()],
    )?;
    tx.execute(
        "UPDATE credential SET retired_at = ?4
         WHERE machine_id = ?1 AND hash <> ?2 AND created_at <= ?3 AND retired_at IS NULL",
        &[
            credential.machine_id.as_str().into(),
            hash.as_bytes().into(),
            credential.created_at.into(),
            tx.now.into(),
        ],
    )
}

pub(crate) struct JoinToken {
    pub(crate) machine: Machine,
    pub(crate) expires_at: Time,
    pub(crate) credential_hash: Option<Vec<u8>>,
}

pub(crate) fn insert_join_token(
    tx: &Tx<'_>,
    hash: &SecretHash,
    machine_id: &str,
    expires_at: Time,
) -> Result<(), Error> {
    tx.execute("DELETE FROM join_token WHERE expires_at <= ?1", &[tx.now.into()])?;
    tx.execute(
        "INSERT INTO join_token (hash, machine_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
        &[hash.as_bytes().into(), machine_id.into(), tx.now.into(), expires_at.into()],
    )?;
    Ok(())
}

pub(crate) fn join_token(tx: &Tx<'_>, hash: &SecretHash) -> Result<Option<JoinToken>, Error> {
    let sql = "SELECT machine_id, expires_at, credential_hash FROM join_token WHERE hash = ?1";
    let found = tx.query_one(sql, &[hash.as_bytes().into()], |row| {
        Ok((row.text("machine_id")?, row.time("expires_at")?, row.blob_or_null("credential_hash")?))
    })?;
    let Some((machine_id, expires_at, credential_hash)) = found else { return Ok(None) };
    let machine = tx.query_one(&format!("{MACHINE} AND id = ?1"), &[machine_id.into()], machine)?;
    Ok(machine.map(|machine| JoinToken { machine, expires_at, credential_hash }))
}

pub(crate) fn trade(tx: &Tx<'_>, token: &SecretHash, credential: &SecretHash) -> Result<(), Error> {
    tx.execute(
        "UPDATE join_token SET credential_hash = ?2 WHERE hash = ?1",
        &[token.as_bytes().into(), credential.as_bytes().into()],
    )?;
    Ok(())
}
