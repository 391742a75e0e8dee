//! The ledger of accounts: every Unix name and uid that an employee was ever given.

pub mod store;
