//! Every write that an operator would name, across domains: one function on a transaction, with its audit
//! event inside. Write transactions are begun above this module only, and run only these functions.

pub mod audit;
pub mod ca;
pub mod chat;
pub mod employees;
pub mod logins;
pub mod machines;
pub mod pools;
pub mod restore;
pub mod retention;
pub mod server;
pub mod sessions;

#[cfg(test)]
pub(crate) mod testing;

use crate::db;

/// Why an action failed, by domain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// A machine.
    #[error(transparent)]
    Machine(#[from] crate::machines::Error),
    /// A pool.
    #[error(transparent)]
    Pool(#[from] crate::pools::Error),
    /// An employee.
    #[error(transparent)]
    Employee(#[from] crate::employees::Error),
    /// A login.
    #[error(transparent)]
    Login(#[from] crate::logins::Error),
}
