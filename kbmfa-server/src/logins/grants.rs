//! Whether the people whose login it is have a grant to the machine.

use kbmfa_proto::login::OpenLogin;

use super::people;
use super::rules::Rules;
use crate::db::{Error, Tx};
use crate::grants::service::reaches;

/// True if grants are required, and one of these people is an employee without a live grant to a pool of the
/// machine. An account of no employee needs none.
pub(super) fn is_missing(
    tx: &Tx<'_>,
    rules: &Rules,
    machine_id: &str,
    opened: &OpenLogin,
) -> Result<bool, Error> {
    if !rules.policy.require_grant {
        return Ok(false);
    }
    for employee in people::employees(tx, opened)? {
        if !reaches(tx, &employee.id, machine_id)? {
            return Ok(true);
        }
    }
    Ok(false)
}
