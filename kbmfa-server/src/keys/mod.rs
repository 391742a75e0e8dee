//! Employees' SSH public keys: which key belongs to whom, on which device, and whether it counts.

pub mod service;
pub mod store;

use std::fmt;
use std::str::FromStr;

use crate::db;
use crate::employees;
use crate::random::NoRandomness;

/// Why an action on a key failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// There is no such key.
    #[error("there is no key {0}; `kbmfa-server key list --all` shows those that are known")]
    NoSuchKey(String),
    /// The beginning of a fingerprint fits several keys.
    #[error("{0} is the beginning of several fingerprints; write more of it")]
    Ambiguous(String),
    /// Another employee has the key.
    #[error("this key belongs to {0}; a key is one person's")]
    HeldBy(String),
    /// The employee has the key already.
    #[error("{0} has this key already, for {1:?}")]
    HasIt(String, String),
    /// The key was revoked.
    #[error("this key was revoked ({0}) and is never accepted again; make a new one")]
    RevokedBefore(Reason),
    /// Another key of the employee has this device label.
    #[error("{0} has a key for {1:?} already: revoke that one, or give this one another --device")]
    DeviceTaken(String, String),
    /// The key is revoked already.
    #[error("key {0} is revoked already")]
    AlreadyRevoked(String),
    /// The employee.
    #[error(transparent)]
    Employee(#[from] employees::Error),
}

/// Whether a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is its owner's key.
    Active,
    /// It is refused for ever, from everybody.
    Revoked,
}

/// Why a key was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Somebody else may have it.
    Lost,
    /// It is not used any more.
    Retired,
    /// Its owner was removed.
    Removed,
}

/// A text that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// Not a state.
    #[error("not a state of a key: write active or revoked")]
    State,
    /// Not a reason.
    #[error("not a reason to revoke a key: write lost, retired or removed")]
    Reason,
}

impl State {
    /// One word for the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

impl FromStr for State {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        [Self::Active, Self::Revoked].into_iter().find(|state| state.as_str() == text).ok_or(BadText::State)
    }
}

impl Reason {
    /// One word for the database and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }
}

impl FromStr for Reason {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let all = [Self::Lost, Self::Retired, Self::Removed];
        all.into_iter().find(|reason| reason.as_str() == text).ok_or(BadText::Reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
