//! Steers the cloud: the orders, the typed client that tests use, and what they get to see.

pub(crate) mod client;
pub(crate) mod order;
pub(crate) mod seen;
