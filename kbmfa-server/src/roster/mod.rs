//! Who and what takes part: machines with their credentials, the pools that they are in, and employees.

pub mod caller;

pub mod service;
pub mod store;

pub mod employee;
pub mod host;

#[cfg(test)]
pub(crate) mod testing;

use kbmfa_proto::names::{MachineName, PoolName};

use crate::db;
use crate::random::NoRandomness;

/// Why a roster action was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// There is no such machine.
    #[error("there is no machine {0}")]
    NoSuchMachine(MachineName),
    /// There is one already.
    #[error("there is a machine {0} already")]
    MachineExists(MachineName),
    /// There is no such pool.
    #[error("there is no pool {0}")]
    NoSuchPool(PoolName),
    /// The machine is not in the pool.
    #[error("machine {0} is not in pool {1}")]
    NotInPool(MachineName, PoolName),
    /// There is no such employee.
    #[error("there is no employee {0}")]
    NoSuchEmployee(String),
    /// There is one already.
    #[error("that address, account or Keybase name is {0}'s already")]
    EmployeeExists(String),
    /// Nothing to change.
    #[error("{0} is {1} already")]
    SameState(String, &'static str),
    /// The name is one that machines claim with the `AUTH_TOKEN`.
    #[error(
        "{0} is only claimed with the AUTH_TOKEN; enter the machine under its plain name and let it join"
    )]
    OnlyClaimed(MachineName),
    /// Too many names are claimed with the `AUTH_TOKEN`.
    #[error("too many machines go by AUTH_TOKEN; remove claimed names that are not needed")]
    TooManyClaimed,
    /// The token is unknown, expired, or was traded for another credential. Which, is nobody's business.
    #[error("the join token is unknown, used or expired")]
    TokenRefused,
}
