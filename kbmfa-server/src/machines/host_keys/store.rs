//! The SQL of host keys.

use crate::db::at_restore::{Listing, Table, text_id};

/// What a restore does to this table: a pinned key is what a machine is recognised by.
pub const TABLES: &[Table] = &[Table::listed(
    "host_key",
    Listing {
        kind: "host-key",
        one: "host key of machine",
        many: "host keys of the machines",
        sql: "SELECT machine_id || ' ' || fingerprint || ' ' || state AS id, name || ' ' || fingerprint AS label
              FROM host_key JOIN machine ON machine.id = machine_id",
        id: text_id,
    },
)];
