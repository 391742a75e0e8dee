//! Machines to which accounts and keys are delivered: how, what each was given, and what is not confirmed yet.

pub mod failure;
pub mod own_login;
pub mod placed;
pub mod service;
pub mod store;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::Time;
use crate::db;
use crate::machines;
use crate::pools;
use crate::random::NoRandomness;
use failure::Failure;

/// Why an action on a delivery failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The machine does not exist.
    #[error(transparent)]
    Machine(#[from] machines::Error),
    /// The pool does not exist.
    #[error(transparent)]
    Pool(#[from] pools::Error),
    /// The chat cannot be told.
    #[error("{0}")]
    Notice(String),
    /// Nothing is delivered to the machine.
    #[error("keys are not delivered to {0}; `kbmfa-server provision enable {0}` begins")]
    NotDelivered(String),
    /// The machine cannot be reached or recognised.
    #[error(
        "{0} has no address or no pinned host key; set them first with \
         `kbmfa-server machine set {0} --address .. --host-key SHA256:..`"
    )]
    NoReach(String),
    /// The machine cannot be removed while keys are on it.
    #[error(
        "keys are delivered to {0}; take them off it first with `kbmfa-server provision disable {0} --yes`, or leave \
         them there with --keep"
    )]
    IsDelivered(String),
    /// Another machine has the same `/etc/machine-id`.
    #[error("{0} has the same /etc/machine-id as {1}: it is the same machine, or a clone")]
    SameHost(String, String),
}

/// Where a machine's keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// `/etc/ssh/kbmfa/keys/NAME`, which root owns; sshd's `AuthorizedKeysFile` must name it.
    System,
    /// `~/.ssh/authorized_keys`: a marked block beside the lines that others wrote.
    Home,
}

/// Not the name of a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a place for keys: write system or home")]
pub struct BadPlace;

impl Place {
    /// One word for the database and the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Home => "home",
        }
    }
}

impl FromStr for Place {
    type Err = BadPlace;
    fn from_str(text: &str) -> Result<Self, BadPlace> {
        [Self::System, Self::Home].into_iter().find(|place| place.as_str() == text).ok_or(BadPlace)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which state a machine was given last. A machine refuses an older one, so that a restored backup brings nothing back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// Random id of this installation, in hex; a machine takes orders from one.
    pub installation: String,
    /// Rises with every confirmed restore.
    pub epoch: u64,
    /// Rises with every pass that changes something on a machine.
    pub counter: u64,
}

/// Time between two check-ups of a machine that has what it should have.
pub const CHECK_UP: Duration = Duration::from_secs(15 * 60);

/// How a pass ended, as far as the next one is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The machine has what it should have.
    Confirmed,
    /// It failed.
    Failed(Failure),
}

/// When the next pass is due. `jitter` is a number below 1,000, so that machines do not all come at once.
pub fn next_pass(outcome: &Outcome, failures: u32, check_up: Duration, jitter: u32, now: Time) -> Time {
    match outcome {
        // 0.8 to 1.2 of the interval.
        Outcome::Confirmed => now + check_up * (800 + jitter * 2 / 5) / 1000,
        Outcome::Failed(failure) => {
            let pause = failure.kind.pause(failures);
            now + pause + pause * jitter / 5000
        }
    }
}
