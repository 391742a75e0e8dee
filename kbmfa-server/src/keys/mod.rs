//! Employees' SSH public keys: which key belongs to whom, on which device, and whether it counts.

pub mod lineage;
pub mod service;
pub mod store;

use kbmfa_proto::enrolment::DEVICE_MAX;
use kbmfa_proto::text::SafeText;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

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
    /// It does not wait for an approval.
    #[error("key {0} is {1}: only a pending key can be approved or rejected")]
    NotPending(String, State),
    /// Another employee has the key.
    #[error("this key belongs to {0}; a key is one person's")]
    HeldBy(String),
    /// The employee has the key already.
    #[error("{0} has this key already, for {1:?}")]
    HasIt(String, String),
    /// The server itself has the key.
    #[error("this is a key of kbmfa-server itself; nobody else can have it")]
    ServersOwn,
    /// The key was revoked.
    #[error("this key was revoked ({0}) and is never accepted again; make a new one")]
    RevokedBefore(Reason),
    /// Another key of the employee has this device label.
    #[error("{0} has a key for {1:?} already: revoke or replace that one, or give this one another device")]
    DeviceTaken(String, String),
    /// The key to be replaced is not an active one of the same person.
    #[error("{0} has no active key {1}, so it cannot be replaced")]
    NothingToReplace(String, String),
    /// The key that vouches for the new one is not an active one of the same person.
    #[error("the key that vouches for the new one is not an active key of {0}")]
    NotVouched(String),
    /// The person may not add keys.
    #[error("{0} is suspended, and can add no key")]
    Suspended(String),
    /// The person's keys have added too many.
    #[error(
        "keys of {0} have added {ADDED_BY_KEYS_MAX} keys within a day; an operator can add more (`key add`), or \
         invite the person"
    )]
    TooMany(String),
    /// The key is revoked already.
    #[error("key {0} is revoked already")]
    AlreadyRevoked(String),
    /// The employee.
    #[error(transparent)]
    Employee(#[from] employees::Error),
}

/// The name of a device, as its owner calls it.
///
/// # Errors
/// [`BadDevice`].
pub fn device(text: &str) -> Result<SafeText, BadDevice> {
    let name = SafeText::new(text.trim());
    match name.as_str().chars().count() {
        0 => Err(BadDevice::Empty),
        1..=DEVICE_MAX => Ok(name),
        _ => Err(BadDevice::TooLong),
    }
}

/// A text that names no device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDevice {
    /// Nothing is left of it.
    #[error("the key needs the name of its device")]
    Empty,
    /// It is too long.
    #[error("the name of a device has at most {DEVICE_MAX} characters")]
    TooLong,
}

/// How many keys a person's own keys can add within [`ADDED_BY_KEYS_WITHIN`]. More than a person needs; a thief fills neither
/// the database nor the chat.
pub const ADDED_BY_KEYS_MAX: usize = 10;

/// The time of [`ADDED_BY_KEYS_MAX`].
pub const ADDED_BY_KEYS_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Who vouches for a new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The operator.
    Operator,
    /// The holder of an invite.
    Invite,
    /// An enrolled key of the same person.
    Key {
        /// That key's id.
        parent: String,
    },
}

/// What happens to a key that an enrolled key adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddedKeys {
    /// It waits until the operator approves it.
    #[default]
    Approve,
    /// It counts at once.
    Accept,
}

/// Whether a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// An enrolled key has added it, and nobody has approved it: it is refused.
    Pending,
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
    /// Another key took its place.
    Replaced,
    /// It is not used any more.
    Retired,
    /// Nobody approved it.
    Rejected,
    /// Its owner was removed.
    Removed,
}

/// A text that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// Not a state.
    #[error("not a state of a key: write pending, active or revoked")]
    State,
    /// Not a reason.
    #[error("not a reason to revoke a key: write lost, replaced, retired, rejected or removed")]
    Reason,
    /// Not what happens to a key.
    #[error("write \"approve\" (a key that an enrolled key adds waits for `key approve`) or \"accept\"")]
    AddedKeys,
}

impl State {
    /// One word for the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

impl FromStr for State {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        [Self::Pending, Self::Active, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(BadText::State)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AddedKeys {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        match text {
            "approve" => Ok(Self::Approve),
            "accept" => Ok(Self::Accept),
            _ => Err(BadText::AddedKeys),
        }
    }
}

impl Reason {
    /// One word for the database and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Replaced => "replaced",
            Self::Retired => "retired",
            Self::Rejected => "rejected",
            Self::Removed => "removed",
        }
    }
}

impl FromStr for Reason {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let all = [Self::Lost, Self::Replaced, Self::Retired, Self::Rejected, Self::Removed];
        all.into_iter().find(|reason| reason.as_str() == text).ok_or(BadText::Reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_name_of_1_to_64_characters() {
        assert_eq!(device(" laptop ").unwrap().as_str(), "laptop");
        assert_eq!((device(""), device("  ")), (Err(BadDevice::Empty), Err(BadDevice::Empty)));
        assert!(device(&"n".repeat(DEVICE_MAX)).is_ok());
        assert_eq!(device(&"n".repeat(DEVICE_MAX + 1)), Err(BadDevice::TooLong));
    }
}
