//! Why a login action was not done.

use kbmfa_proto::names::LoginId;

use crate::db;
use crate::machines;
use crate::random::NoRandomness;

/// Why a login action was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The machine is not known, or not accepted.
    #[error(transparent)]
    Machine(#[from] machines::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The credential is not accepted.
    #[error("the credential is not accepted")]
    Unauthorized,
    /// The credential is the `AUTH_TOKEN`, and does for logins only.
    #[error("the AUTH_TOKEN opens logins and does nothing else")]
    OnlyLogins,
    /// The caller has no such login.
    #[error("there is no login {0}")]
    NotFound(String),
    /// Several logins begin with what was given.
    #[error("several logins begin with {0}; give more of the id")]
    Ambiguous(String),
    /// The id stands for another login already.
    #[error("login {0} exists already and was opened differently")]
    Conflict(LoginId),
    /// What the machine reported makes no sense.
    #[error("{0}")]
    Bad(&'static str),
    /// A batch of this machine's reports is being taken.
    #[error("a batch of this machine's reports is being taken already")]
    BatchUnderWay,
    /// The login is polled too often at once.
    #[error("too many polls wait for this login already")]
    TooManyPolls,
}
