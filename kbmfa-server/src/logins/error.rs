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
    /// The credential is the `AUTH_TOKEN`, which is accepted for logins only.
    #[error("the AUTH_TOKEN opens logins and does nothing else")]
    OnlyLogins,
    /// The caller has no such login.
    #[error("there is no login {0}")]
    NotFound(String),
    /// Several logins' ids begin with the given digits.
    #[error("several logins begin with {0}; give more of the id")]
    Ambiguous(String),
    /// Another login has this id.
    #[error("login {0} exists already and was opened differently")]
    Conflict(LoginId),
    /// The machine's report is invalid.
    #[error("{0}")]
    Bad(&'static str),
    /// Another batch of this machine's reports is being processed.
    #[error("a batch of this machine's reports is being taken already")]
    BatchUnderWay,
    /// Too many polls wait for this login.
    #[error("too many polls wait for this login already")]
    TooManyPolls,
}
