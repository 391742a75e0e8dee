//! Sessions, as machines report them, each tied to the login that let the person in.
//!
//! Reports decide nothing. They may arrive late, twice and in any order, and always lead to the same rows.

pub mod service;
pub mod store;

#[cfg(test)]
pub(crate) mod tests;
