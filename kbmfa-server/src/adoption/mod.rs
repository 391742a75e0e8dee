//! Accounts and keys that were on a machine before this server: what the machine reports of them ([`survey`]), and whose
//! they are ([`matching`]). Both are pure; [`people`] reads the roster.

pub mod matching;
pub mod people;
pub mod survey;

use kbmfa_proto::names::{MachineName, UserName};

use crate::db;

/// Why accounts are not taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The machine has no such account.
    #[error("the machine has no account {0} with a login shell")]
    NoAccount(UserName),
    /// Everything is being taken off the machine.
    #[error(
        "{0} is being cleaned and gets its accounts back; `kbmfa-server provision enable {0}` comes first"
    )]
    Leaving(MachineName),
    /// Some of the accounts may not be taken over, a line each.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// An account was never handed over to this server.
    #[error("account {0} of this machine was not taken over")]
    NotAdopted(UserName),
}
