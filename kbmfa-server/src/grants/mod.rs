//! Grants: which employee may go to which pool, perhaps with sudo, and until when.

pub mod store;
