//! Enrolment: invites, and what the holder of a key has to prove.

pub mod challenge;
pub mod invite;
pub mod message;
pub mod store;
