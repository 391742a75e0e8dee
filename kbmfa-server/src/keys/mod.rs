//! Employees' SSH public keys: which key belongs to whom, on which device, and whether it counts.

pub mod store;

use std::str::FromStr;

/// Whether a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for an approval, and is delivered nowhere.
    Pending,
    /// It is delivered to the person's machines.
    Active,
    /// It is refused for ever, from everybody.
    Revoked,
}

/// A text that is no [`State`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a state of a key: write pending, active or revoked")]
pub struct BadState;

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
    type Err = BadState;
    fn from_str(text: &str) -> Result<Self, BadState> {
        let all = [Self::Pending, Self::Active, Self::Revoked];
        all.into_iter().find(|state| state.as_str() == text).ok_or(BadState)
    }
}
