//! The SQL of the authorities that each machine trusts.

use kbmfa_proto::pin::Pin;

use crate::db::at_restore::Table;
use crate::db::{Error, Tx};

/// What a restore does to this table.
pub const TABLES: &[Table] = &[Table::grants_nothing(
    "machine_ca",
    "what machines said that they trust; each says it anew with its next refresh",
)];

/// Pins of the authorities that a machine trusts by its own report, in order.
pub(super) fn pins_of(tx: &Tx<'_>, machine_id: &str) -> Result<Vec<Pin>, Error> {
    let sql = "SELECT pin FROM machine_ca WHERE machine_id = ?1 ORDER BY pin";
    tx.query(sql, &[machine_id.into()], |row| row.parsed("pin"))
}

/// Replaces the authorities that a machine trusts.
pub(super) fn replace_pins(tx: &Tx<'_>, machine_id: &str, pins: &[Pin]) -> Result<(), Error> {
    tx.execute("DELETE FROM machine_ca WHERE machine_id = ?1", &[machine_id.into()])?;
    for pin in pins {
        tx.execute(
            "INSERT INTO machine_ca (machine_id, pin, reported_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            &[machine_id.into(), pin.to_string().into(), tx.now.into()],
        )?;
    }
    Ok(())
}

/// Ids of the machines that trust this authority.
pub fn machines_trusting(tx: &Tx<'_>, pin: Pin) -> Result<Vec<String>, Error> {
    let sql = "SELECT machine_id FROM machine_ca WHERE pin = ?1";
    tx.query(sql, &[pin.to_string().into()], |row| row.text("machine_id"))
}
