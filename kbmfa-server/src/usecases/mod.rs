//! Every write that an operator would name, from all domains. Each is one function on a transaction, with its
//! audit event inside. Only modules above this one begin write transactions, and they run only these
//! functions.

mod accounts;

pub mod adoption;
pub mod all_or_none;
pub mod audit;
pub mod ca;
pub mod chat;
pub mod deliveries;
pub mod employees;
pub mod enrolments;
pub mod grants;
pub mod host_keys;
pub mod invites;
pub mod keys;
pub mod logins;
pub mod machines;
pub mod own_logins;
pub mod passwords;
pub mod pools;
pub mod restore;
pub mod retention;
pub mod roster;
pub mod server;
pub mod sessions;
pub mod setup;

#[cfg(test)]
pub(crate) mod testing;

use crate::db;

/// Why an action failed, by the domain of the failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] crate::random::NoRandomness),
    /// An action on a machine failed.
    #[error(transparent)]
    Machine(#[from] crate::machines::Error),
    /// An action on a pool failed.
    #[error(transparent)]
    Pool(#[from] crate::pools::Error),
    /// An action on an employee failed.
    #[error(transparent)]
    Employee(#[from] crate::employees::Error),
    /// An action on a key failed.
    #[error(transparent)]
    Key(#[from] crate::keys::Error),
    /// A request of an employee's computer is refused.
    #[error(transparent)]
    Enrolment(#[from] crate::enrolment::Error),
    /// An action on a grant failed.
    #[error(transparent)]
    Grant(#[from] crate::grants::Error),
    /// An action on a delivery failed.
    #[error(transparent)]
    Delivery(#[from] crate::deliveries::Error),
    /// Accounts of a machine are not taken over.
    #[error(transparent)]
    Adoption(#[from] crate::adoption::Error),
    /// An action on a login failed.
    #[error(transparent)]
    Login(#[from] crate::logins::Error),
}
