//! Why the relay is not up: for the operator to mend, or for time.

use super::program::Error;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It stays until the operator does something; a server that finds it when it starts does not start.
    Fatal(String),
    /// It may pass.
    Passing(String),
}

impl Trouble {
    pub(super) fn fatal(why: impl Into<String>) -> Self {
        Self::Fatal(why.into())
    }

    /// In words.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Fatal(why) | Self::Passing(why) => why,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Passing(error.to_string())
    }
}
