//! Keys on the machines. What a machine should have is rendered from the roster ([`desired`]), compared with what it
//! reports ([`report`]), and the difference becomes steps ([`plan`]); all of that is pure and knows nothing of SSH.

use sha2::{Digest, Sha256};

use crate::random::to_hex;

pub mod admin_key;
pub mod connection;
pub mod desired;
pub mod facts;
pub mod files;
pub mod guard;
pub mod hindrance;
pub mod key_file;
pub mod orders;
pub mod own_login;
pub mod pass;
pub mod plan;
pub mod provisioner;
pub mod report;
pub mod revoked;
pub mod roster_key;
pub mod settings;
pub mod snapshot;
pub mod ssh;
pub mod sudo_password;
pub mod transport;
pub mod wire;
pub mod worker;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// The program that runs on a machine, as root: the same bytes for every machine and every pass.
pub const REMOTE: &str = concat!(
    include_str!("common.sh"),
    include_str!("orders.sh"),
    include_str!("adopt.sh"),
    include_str!("remote.sh")
);

/// The program as a file on a machine.
pub fn helper() -> String {
    format!("#!/bin/sh\n{REMOTE}")
}

/// SHA-256 of that file.
pub fn helper_hash() -> String {
    to_hex(&Sha256::digest(helper()))
}
