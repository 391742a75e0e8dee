//! The private certificate authority, and the server certificate that it signs. `init` makes both, the server
//! renews its certificate, and `ca rotate` replaces the authority. Machines trust only the authorities on
//! their own list.

pub mod due;
pub mod facts;
pub mod files;
pub mod issue;
pub mod owed;

pub mod service;
pub mod store;

use std::io;
use std::path::PathBuf;

use crate::clock::Time;
use crate::db;
use crate::random::NoRandomness;

/// The expiry dates of certificates, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// The server's certificate.
    pub server: Time,
    /// The authority that signed it, if the chain contains it.
    pub ca: Option<Time>,
}

impl Dates {
    /// Each certificate: its name in metrics and events, and its expiry.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, Time)> {
        [("server", Some(self.server)), ("ca", self.ca)]
            .into_iter()
            .filter_map(|(name, end)| Some((name, end?)))
    }
}

/// Why an action on certificates failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The library failed.
    #[error("cannot make a certificate: {0}")]
    Rcgen(#[from] rcgen::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The date is out of range.
    #[error("the clock shows a date that no certificate can have")]
    Date,
    /// The authority has expired.
    #[error("the certificate authority expired on {0}")]
    Ended(Time),
    /// A file cannot be read or written.
    #[error("cannot use {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file has invalid contents.
    #[error("{} contains no usable certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The authority works, so it is not lost.
    #[error("the certificate authority is in order ({0}); `kbmfa-server ca rotate` replaces it")]
    NotLost(kbmfa_proto::pin::Pin),
    /// There is no authority that signs.
    #[error(
        "{} names no certificate authority: restore ca/; if it is lost, `kbmfa-server ca new` creates \
         another",
        .0.display()
    )]
    NoAuthority(PathBuf),
    /// There are two authorities already.
    #[error("a rotation is in progress already: there are two certificate authorities")]
    RotationInProgress,
    /// There is no newer authority to sign with.
    #[error("there is no newer certificate authority to switch to")]
    NothingNewer,
    /// There is no older authority to retire.
    #[error("there is no older certificate authority to retire")]
    NothingOlder,
    /// The server's certificate is still signed by the old authority.
    #[error("the server's certificate is still signed by the old certificate authority")]
    StillSigned,
    /// These machines do not trust the newer authority yet.
    #[error("not yet: these machines do not trust the new certificate authority: {}", .0.join(" "))]
    NotYetTrusted(Vec<String>),
}
