//! Machines: their names, their credentials, and the computers on which the credentials are used.

pub mod caller;
pub mod host_keys;
pub mod hosts;
pub mod service;
pub mod store;

use kbmfa_proto::names::MachineName;

use crate::db;
use crate::random::NoRandomness;

/// Why an action on a machine failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// There is no such machine. Names that are similar follow.
    #[error("there is no machine {0}{1}")]
    NoSuchMachine(MachineName, String),
    /// There is a machine of this name already.
    #[error("there is a machine {0} already")]
    MachineExists(MachineName),
    /// The name is only claimed, by the `AUTH_TOKEN`.
    #[error(
        "{0} is only a name claimed with the AUTH_TOKEN; add the machine under its plain name and let it join"
    )]
    OnlyClaimed(MachineName),
    /// Too many names are claimed by the `AUTH_TOKEN`.
    #[error("too many machines use the AUTH_TOKEN; remove claimed names that are not needed")]
    TooManyClaimed,
    /// The token is unknown, has expired, or was used for another credential. The caller does not learn
    /// which.
    #[error("the join token is unknown, used or expired")]
    TokenRefused,
    /// The machine cannot be reached or recognised like that.
    #[error(transparent)]
    Reach(#[from] host_keys::Refused),
}
