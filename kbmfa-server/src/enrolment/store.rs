//! The SQL of invites and of used challenges.

use crate::db::at_restore::{AtRestore, Listing, Table, text_id};

/// What a restore does to these tables.
pub const TABLES: &[Table] = &[
    Table {
        name: "invite",
        at_restore: AtRestore::Ends(Some(Listing {
            kind: "invite",
            one: "an invite for",
            many: "invites for",
            sql:
                "SELECT invite.id AS id, email AS label FROM invite JOIN employee ON employee.id = employee_id
                  WHERE used_at IS NULL AND expires_at > ?1",
            id: text_id,
        })),
    },
    Table::grants_nothing(
        "challenge",
        "challenges that were used, which a restarted server accepts anyway no more",
    ),
];
