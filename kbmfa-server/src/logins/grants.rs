//! Whether the people whose login it is have a grant to the machine.

use kbmfa_proto::login::OpenLogin;

use super::people;
use super::rules::Rules;
use crate::db::{Error, Tx};
use crate::deliveries::store as deliveries;
use crate::grants::service::reaches;
use crate::keys::service::Owned;
use crate::policy::RequireGrant;

/// True if grants are required, and one of these people is an employee without a live grant to a pool of the
/// machine: the account's owner under any of its names, the caller of su or sudo, or the owner of the key. An account
/// of no employee needs none, but an employee's key does there, too.
pub(super) fn is_missing(
    tx: &Tx<'_>,
    rules: &Rules,
    machine_id: &str,
    (opened, key): (&OpenLogin, Option<&Owned>),
) -> Result<bool, Error> {
    if !applies(tx, rules.policy.require_grant, machine_id)? {
        return Ok(false);
    }
    for employee in people::employees(tx, opened, key)? {
        if !reaches(tx, &employee.id, machine_id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if employees need a grant to this machine.
///
/// # Errors
/// The database failed.
pub fn applies(tx: &Tx<'_>, require: RequireGrant, machine_id: &str) -> Result<bool, Error> {
    match require {
        RequireGrant::Everywhere => Ok(true),
        RequireGrant::Nowhere => Ok(false),
        RequireGrant::Delivered => deliveries::exists(tx, machine_id),
    }
}
