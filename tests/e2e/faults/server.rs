//! Faults of the server itself.
