//! The SQL of the ledger.

use crate::db::at_restore::Table;

/// What a restore does to this table.
pub const TABLES: &[Table] = &[Table::grants_nothing(
    "account_ledger",
    "it only keeps a name and a uid from being given to a second person",
)];
