//! Setting machines up: what a machine reports ([`report`]) and what is wanted become steps ([`plan`]), which are carried
//! out one by one ([`run`]). Nothing about a machine is remembered: a run that was interrupted is simply begun again.

pub mod plan;
pub mod report;
pub mod run;
pub mod step;

#[cfg(test)]
mod tests;

use kbmfa_proto::names::UserName;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use zeroize::Zeroizing;

use crate::deliveries::Place;
use crate::grants::SudoProfile;

/// The program that runs on a machine, as root, while it is set up.
pub const PROGRAM: &str = concat!(include_str!("../provision/common.sh"), include_str!("setup.sh"));

/// What sudo allows the server's account on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SudoLevel {
    /// Everything, with its password.
    Password,
    /// Everything, without a password.
    Nopasswd,
    /// The installed helper alone.
    Helper,
}

impl fmt::Display for SudoLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password => "password",
            Self::Nopasswd => "nopasswd",
            Self::Helper => "helper",
        })
    }
}

/// What a machine should have in the end.
pub struct Wanted {
    /// The server's account, such as `ssh-admin`.
    pub admin: UserName,
    /// The line of the server's key.
    pub key_line: String,
    /// The line of the key by which the server signs orders.
    pub signers_line: String,
    /// Where keys are written.
    pub place: Place,
    /// What sudo allows.
    pub sudo: SudoLevel,
    /// The sudo profiles that the machine accepts, with their rules.
    pub profiles: BTreeMap<SudoProfile, String>,
    /// The password of the account, for [`SudoLevel::Password`].
    pub password: Option<Password>,
    /// The address from which the server connects.
    pub source: IpAddr,
    /// Seconds after which the machine puts sshd back by itself, unless the change is confirmed.
    pub undo_after: u32,
}

/// A password of the server's account.
pub struct Password {
    /// The password.
    pub text: Zeroizing<String>,
    /// True if the account may have it already: it was given by the operator, or is stored.
    pub is_known: bool,
}
