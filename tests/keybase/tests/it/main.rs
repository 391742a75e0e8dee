//! Tests of the double through its real binary.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a loud panic, and starts programs"
)]

mod api;
mod complaints;
mod faults;
mod listening;
mod programs;
mod rig;
mod service;
mod teams;
