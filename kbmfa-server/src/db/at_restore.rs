//! What a restore does to the rows of each table. Each module declares it for its own tables, and `restore`
//! collects the declarations. A test fails for a table without one.

use super::{Error, Row};

/// A table, and what a restore does to its rows.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What a restore does to its rows.
    pub at_restore: AtRestore,
}

/// What a restore does to a table's rows. Rows that grant something must not come back unnoticed.
#[derive(Debug)]
pub enum AtRestore {
    /// They stay, and the comparison lists those that come back and those that vanish.
    Listed(Listing),
    /// They end with the restore or its confirmation. Rows that could have been used until then are listed.
    Ends(Option<Listing>),
    /// They grant nothing, for this reason.
    GrantsNothing(&'static str),
}

/// How rows are listed.
#[derive(Debug)]
pub struct Listing {
    /// Their kind in JSON, such as `pool-member`.
    pub kind: &'static str,
    /// The word before one label: `machine`.
    pub one: &'static str,
    /// The word before several labels: `machines`.
    pub many: &'static str,
    /// Selects the rows that count, with a `label`. `?1`, if used, is the current time.
    pub sql: &'static str,
    /// The columns that identify a row.
    pub id: fn(&Row<'_>) -> Result<String, Error>,
}

impl Table {
    /// A table whose rows grant nothing, for this reason.
    pub const fn grants_nothing(name: &'static str, why: &'static str) -> Self {
        Self { name, at_restore: AtRestore::GrantsNothing(why) }
    }

    /// A table whose rows end, unlisted.
    pub const fn ends(name: &'static str) -> Self {
        Self { name, at_restore: AtRestore::Ends(None) }
    }

    /// A table whose rows are listed.
    pub const fn listed(name: &'static str, listing: Listing) -> Self {
        Self { name, at_restore: AtRestore::Listed(listing) }
    }
}

/// The id of rows that have a column `id`.
pub fn text_id(row: &Row<'_>) -> Result<String, Error> {
    row.text("id")
}
