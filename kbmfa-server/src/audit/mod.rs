//! The record of everything that happened: one sealed row for each event, written in the transaction that
//! makes it happen. If it cannot be written, the thing does not happen.

pub mod chain;
pub mod event;
pub mod export;
pub mod journal;
pub mod store;

mod words;

pub use chain::{Broken, Head, Seal};
pub use event::{Actor, Event, Kind};
