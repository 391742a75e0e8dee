//! Pools: named groups of machines, for rules.

pub mod service;
pub mod store;

use kbmfa_proto::names::{MachineName, PoolName};

use crate::db;
use crate::machines;
use crate::random::NoRandomness;

/// Why an action on a pool failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// There is no such pool. Names that are similar follow.
    #[error("there is no pool {0}{1}")]
    NoSuchPool(PoolName, String),
    /// There is a pool of this name already.
    #[error("there is a pool {0} already")]
    PoolExists(PoolName),
    /// The machine is not in the pool.
    #[error("machine {0} is not in pool {1}")]
    NotInPool(MachineName, PoolName),
    /// The machine does not exist, or its name is only claimed.
    #[error(transparent)]
    Machine(#[from] machines::Error),
}
