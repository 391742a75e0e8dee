//! The SQL of grants.

use crate::db::at_restore::{Listing, Table, text_id};

/// What a restore does to this table. The end is part of a row's id, because a restore could put it off.
pub const TABLES: &[Table] = &[Table::listed(
    "pool_grant",
    Listing {
        kind: "grant",
        one: "grant",
        many: "grants",
        sql: "SELECT pool_grant.id || ' ' || coalesce(sudo_profile, '-') || ' ' || coalesce(CAST(ends_at AS TEXT), '-') AS id,
                  email || ' to ' || pool.name AS label
              FROM pool_grant JOIN employee ON employee.id = employee_id JOIN pool ON pool.id = pool_id",
        id: text_id,
    },
)];
