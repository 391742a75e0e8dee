//! The wire format between a machine and the server, and rules that both share.
//!
//! A type here cannot hold an invalid value. An answer that cannot be understood reads as a refusal.
//! `docs/protocol.md` describes the same format for people.

#![forbid(unsafe_code)]

pub mod names;
pub mod text;

pub mod account;
pub mod caller;
pub mod login;
pub mod machine;
pub mod problem;
pub mod session;

pub mod file_rules;
pub mod pin;

#[cfg(feature = "keys")]
pub mod enrolment;
#[cfg(feature = "keys")]
pub mod key;
#[cfg(feature = "keys")]
pub mod sshsig;

#[cfg(feature = "client")]
pub mod client;

#[cfg(any(test, fuzzing))]
pub(crate) mod hidden;

#[cfg(test)]
mod recorded;

/// Version of the protocol of these types, sent in [`VERSION_HEADER`] by both sides.
pub const VERSION: &str = "1";

/// Name of the HTTP header that carries [`VERSION`].
pub const VERSION_HEADER: &str = "kbmfa-version";
