//! What a restore does to the rows of each table. Each module declares this for its own tables, `restore`
//! collects the declarations, and a test fails if a table has none.

use super::{Error, Row};

/// A table, and what a restore does to its rows.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What a restore does to its rows.
    pub at_restore: AtRestore,
}

/// What a restore does to a table's rows. It must not silently bring back rows that grant something.
#[derive(Debug)]
pub enum AtRestore {
    /// They stay. The comparison lists those that come back and those that vanish.
    Listed(Listing),
    /// They end at the restore or at its confirmation. Those that could have been used until then are listed.
    Ends(Option<Listing>),
    /// They grant nothing, for this reason.
    GrantsNothing(&'static str),
}

/// How rows are listed.
#[derive(Debug)]
pub struct Listing {
    /// Their kind in JSON, such as `pool-member`.
    pub kind: &'static str,
    /// The word before a single label: `machine`.
    pub one: &'static str,
    /// The word before several labels: `machines`.
    pub many: &'static str,
    /// Selects the rows that are listed, with a column `label`. `?1`, if used, is the current time.
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
