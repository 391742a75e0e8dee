//! Machines' host keys, by which a machine is recognised before anything is sent to it.

pub mod store;
