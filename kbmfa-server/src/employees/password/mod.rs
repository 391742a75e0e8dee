//! The password of an employee's account on the machines. It never gets here: the person's own computer hashes it, and
//! only the hash arrives, in one of two forms of crypt(5). The database has the hash encrypted; the key is in a file
//! beside it, which no backup holds.

mod crypt_hash;
mod vault;

pub use crypt_hash::{BadHash, CryptHash};
pub use vault::{FILE, Vault};

use std::io;
use std::path::PathBuf;

use crate::random::NoRandomness;

/// Why a password's hash cannot be encrypted or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the key cannot be read or made.
    #[error("cannot use {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file is no key.
    #[error(
        "{} is damaged: it must hold 64 hex digits. Put back the right file; or, if it is lost, remove it, and let \
         everybody who has an account password choose it again",
        .0.display()
    )]
    DamagedFile(PathBuf),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The cipher failed.
    #[error("the password's hash could not be encrypted")]
    Cipher,
    /// It was encrypted with another key.
    #[error("the account password was encrypted with another key; the person must choose it again")]
    OtherKey,
    /// What is stored is not what was encrypted for this person.
    #[error("the stored account password is damaged; the person must choose it again")]
    Damaged,
}
