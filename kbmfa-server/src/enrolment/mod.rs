//! Enrolment: invites, what the holder of a key has to prove, and what a person's own computer is told.

pub mod challenge;
pub mod invite;
pub mod message;
pub mod proof;
pub mod service;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod view;

use kbmfa_proto::key::BadKey;
use kbmfa_proto::sshsig::BadSignature;

use crate::db;
use crate::employees::password::BadHash;

/// Why a request of an employee's computer is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The invite does not exist, is not this person's, has ended or was used; or the secret is wrong. One sentence for
    /// all of them, so that nobody learns which.
    #[error(
        "the invite is not accepted; check it and your e-mail address, or ask your administrator for a new one"
    )]
    Invite,
    /// No enrolled key that counts made the signature.
    #[error("no enrolled key made this signature; ask your administrator for an invite")]
    Signer,
    /// The signature is for another server.
    #[error("this server has another name; reach it by a name that your administrator gave you")]
    OtherServer,
    /// The challenge is not from this server, has expired, or was used.
    #[error(transparent)]
    Stale(#[from] challenge::Stale),
    /// The key itself is not accepted.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The new key did not make its signature.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The hash of the account password is not accepted.
    #[error(transparent)]
    Password(BadHash),
    /// The name of a computer.
    #[error("give the computer a name of 1 to {} characters", kbmfa_proto::enrolment::DEVICE_MAX)]
    Device,
    /// The key is not one of the person's own.
    #[error("you have no such key")]
    NotYours,
}
