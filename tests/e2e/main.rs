//! End-to-end tests: a person logs in with real ssh, the module holds the login, somebody answers.
//!
//! The tests need root, for the namespaces of the machines; `make test` takes care of that. There is one file
//! for each place in which the module is configured, and for each topic. Tests that are the same in all
//! phases are in `story.rs`.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by a panic, also in its helpers, and says what it measured"
)]

mod account;
mod auth;
mod session;

mod versions;

mod approvers;
mod audit;
mod auth_token;
mod bootstrap;
mod broken_module;
mod clients;
mod clones;
mod compatibility;
mod configuration;
mod credentials;
mod crowd;
mod deadlines;
mod descriptors;
mod doctor;
mod documents;
mod enroll;
mod enrolment;
mod environment;
mod exports;
mod fairness;
mod host;
mod host_keys;
mod hostbased;
mod hostile;
mod identity;
mod invites;
mod keys;
mod leaving;
mod open_connections;
mod operator;
mod own_files;
mod pamtester;
mod policy;
mod protocol;
mod provision;
mod recovery;
mod roster;
mod roster_file;
mod secrets;
mod service;
mod sessions;
mod shipped_module;
mod sudo;
mod terminal;
mod two_servers;
mod unaddressed;

mod story;

mod keybase;

mod faults;
mod kills;
mod soak;

mod harness;
