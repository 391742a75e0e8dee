//! The SQL of the computers on which credentials are used.

use kbmfa_proto::machine::Host;

use super::Sighting;
use crate::db::at_restore::Table;
use crate::db::{Error, Row, Tx};
use crate::secret::SecretHash;

/// What a restore does to this table.
pub const TABLES: &[Table] =
    &[Table::grants_nothing("credential_host", "where credentials were used; noted anew with each login")];

const SIGHTING: &str = "SELECT machine, boot, last_seen_at, returned_at FROM credential_host";

fn sighting(row: &Row<'_>) -> Result<Sighting, Error> {
    Ok(Sighting {
        host: Host { machine: row.parsed("machine")?, boot: row.parsed("boot")? },
        last_seen_at: row.time("last_seen_at")?,
        returned_at: row.time_or_null("returned_at")?,
    })
}

/// The computers on which this credential was used, the one seen last first.
pub fn sightings(tx: &Tx<'_>, credential: &SecretHash) -> Result<Vec<Sighting>, Error> {
    let sql = format!("{SIGHTING} WHERE credential = ?1 ORDER BY turn DESC");
    tx.query(&sql, &[credential.as_bytes().into()], sighting)
}

/// The computers on which a machine's current credential was used: the newest credential that is in use and
/// not retired.
pub fn sightings_of(tx: &Tx<'_>, machine_id: &str) -> Result<Vec<Sighting>, Error> {
    let sql = format!(
        "{SIGHTING} WHERE credential = (SELECT hash FROM credential WHERE machine_id = ?1 AND retired_at IS NULL
           AND first_used_at IS NOT NULL ORDER BY created_at DESC LIMIT 1) ORDER BY turn DESC"
    );
    tx.query(&sql, &[machine_id.into()], sighting)
}

/// Makes this computer the one that was seen last with the credential.
pub(super) fn saw(tx: &Tx<'_>, credential: &SecretHash, told: &Host, returned: bool) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO credential_host (credential, machine, boot, turn, last_seen_at, returned_at)
         SELECT ?1, ?2, ?3, coalesce(max(turn), 0) + 1, ?4, ?5 FROM credential_host WHERE credential = ?1
         ON CONFLICT (credential, machine, boot) DO UPDATE SET turn = excluded.turn,
           last_seen_at = excluded.last_seen_at, returned_at = coalesce(excluded.returned_at, credential_host.returned_at)",
        &[
            credential.as_bytes().into(),
            told.machine.as_str().into(),
            told.boot.as_str().into(),
            tx.now.into(),
            returned.then_some(tx.now).into(),
        ],
    )?;
    Ok(())
}

/// Removes all but the `kept` computers that were seen last.
pub(super) fn forget(tx: &Tx<'_>, credential: &SecretHash, kept: usize) -> Result<(), Error> {
    tx.execute(
        "DELETE FROM credential_host WHERE credential = ?1 AND turn <= (SELECT turn FROM credential_host
           WHERE credential = ?1 ORDER BY turn DESC LIMIT 1 OFFSET ?2)",
        &[credential.as_bytes().into(), i64::try_from(kept).unwrap_or(i64::MAX).into()],
    )?;
    Ok(())
}
