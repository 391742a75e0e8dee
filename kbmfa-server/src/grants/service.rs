//! Answers who may go where.

use super::State;
use super::store::{self, Grant};
use crate::db::{Error, Tx};

/// True if the employee has a live grant to a pool of the machine.
pub fn reaches(tx: &Tx<'_>, employee_id: &str, machine_id: &str) -> Result<bool, Error> {
    let grants = store::to_machine(tx, employee_id, machine_id)?;
    Ok(grants.iter().any(|ends_at| State::at(tx.now, *ends_at) == State::Live))
}

/// The live grants of a list.
pub fn live(tx: &Tx<'_>, mut grants: Vec<Grant>) -> Vec<Grant> {
    grants.retain(|grant| State::at(tx.now, grant.ends_at) == State::Live);
    grants
}
