//! Notes about the database itself, stored in it.

use super::{Error, Tx};

/// Name of the note that makes the database read-only.
pub const READ_ONLY: &str = "read-only";

/// Name of the note that tells the rosters of several servers apart.
pub const SERVER_ID: &str = "server-id";

/// Name of the note with the uids and Unix names that databases which were replaced by a restore had given or seen.
pub const TAKEN_BEFORE: &str = "taken-before";

/// Name of the note with the fingerprints of the server's own SSH keys, separated by blanks.
pub const SERVERS_KEYS: &str = "servers-keys";

/// Reads a note; `None` if there is none of this name.
pub fn get(tx: &Tx<'_>, name: &str) -> Result<Option<String>, Error> {
    tx.query_one("SELECT value FROM meta WHERE name = ?1", &[name.into()], |row| row.text("value"))
}

/// Writes a note, or replaces it.
pub fn set(tx: &Tx<'_>, name: &str, value: &str) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[name.into(), value.into()],
    )?;
    Ok(())
}

/// Removes a note.
pub fn remove(tx: &Tx<'_>, name: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM meta WHERE name = ?1", &[name.into()])?;
    Ok(())
}
