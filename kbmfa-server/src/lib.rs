//! kbmfa's server: judges logins, asks people, keeps the audit log.
//!
//! `docs/architecture.md` describes each module. Here they are declared in reading order, and each may use
//! only those below it.

#![forbid(unsafe_code)]

pub mod cli;

pub mod admin;
pub mod serve;

pub mod config;

pub mod admin_socket;
pub mod http;

pub mod outbox;

pub mod export;
pub mod setup;

pub mod provision;

pub mod long_poll;

pub mod usecases;

pub mod restore;
pub mod retention;
pub mod roster_file;

pub mod ca;

pub mod sessions;

pub mod enrolment;
pub mod logins;

pub mod adoption;

pub mod deliveries;
pub mod grants;
pub mod keys;

pub mod channels;
pub mod employees;
pub mod pools;

pub mod machines;

pub mod policy;

pub mod audit;

pub mod db;

pub mod fault_log;
pub mod progress;

pub mod clock;
pub mod near;
pub mod random;
pub mod secret;
pub mod settings;
pub mod shared;
pub mod source;
