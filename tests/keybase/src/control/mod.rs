//! Controls the cloud: the orders, the typed client that tests use, and the views that tests get.

pub(crate) mod client;
pub(crate) mod order;
pub(crate) mod seen;
