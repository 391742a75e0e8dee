//! Removes old logins and sessions.

pub use crate::retention::prune_some;
