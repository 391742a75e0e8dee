//! Records the reports of machines about sessions.

use kbmfa_proto::session::SessionReport;

use crate::db::Tx;
use crate::logins::{Error, Rules};
use crate::machines::service::authenticate;
use crate::secret::SecretHash;
use crate::sessions::service;

/// Records the reports of the machine with this credential, if they are new. `refused` is the number of
/// invalid ones, which are only logged. Returns how many reports were taken, including repeated ones.
///
/// # Errors
/// [`Error::Unauthorized`] if the credential is not accepted.
pub fn take(
    tx: &Tx<'_>,
    rules: &Rules,
    credential: &SecretHash,
    reports: &[SessionReport],
    refused: u64,
) -> Result<u64, Error> {
    let caller = authenticate(tx, credential, None)?.ok_or(Error::Unauthorized)?;
    if refused > 0 {
        log::warn!("machine {}: {refused} reports are not understood by this version", caller.name);
    }
    reports.iter().try_for_each(|report| service::take(tx, rules, &caller, report))?;
    Ok(reports.len() as u64)
}
