//! The audit log: one sealed row for each event, written in the same transaction as the action. If the event
//! cannot be written, the action does not happen.

pub mod chain;
pub mod event;
pub mod export;
pub mod journal;
pub mod store;

mod words;

pub use chain::{Broken, Head, Seal};
pub use event::{Actor, Event, Kind};
