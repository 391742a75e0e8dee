//! The error reply to a request that was refused or failed.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::db;
use crate::logins;
use crate::usecases;

/// Why a request was not done, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What went wrong, as a sentence.
    pub error: String,
    /// The fix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Refusal {
    /// Without a hint.
    pub fn new(error: impl fmt::Display) -> Self {
        Self { error: error.to_string(), hints: Vec::new() }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for Refusal {}

impl From<db::Error> for Refusal {
    fn from(error: db::Error) -> Self {
        Self::new(error)
    }
}

impl From<logins::Error> for Refusal {
    fn from(error: logins::Error) -> Self {
        Self::new(error)
    }
}

impl From<usecases::Error> for Refusal {
    fn from(error: usecases::Error) -> Self {
        Self::new(error)
    }
}
