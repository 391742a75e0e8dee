//! Control of the cloud by tests: the orders, the typed client that sends them, and the types of the replies.

pub(crate) mod client;
pub(crate) mod order;
pub(crate) mod seen;
