//! What a restore does to the rows of each table. Each module declares it for its own tables, and `restore`
//! collects the declarations. A test fails for a table without one.

use super::{Error, Row};

/// A table, and what becomes of its rows.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What becomes of its rows.
    pub at_restore: AtRestore,
}

/// What becomes of a table's rows. Those that grant somebody something must not just come back.
#[derive(Debug)]
pub enum AtRestore {
    /// They stay, and the comparison lists those that come back and those that vanish.
    Listed(Listing),
    /// They end with the restore or its confirmation. What could have been used until then is listed.
    Ends(Option<Listing>),
    /// They grant nobody anything, for this reason.
    GrantsNothing(&'static str),
}

/// How rows are listed.
#[derive(Debug)]
pub struct Listing {
    /// What they are, for JSON, such as `pool-member`.
    pub kind: &'static str,
    /// Before the label of one: `machine`.
    pub one: &'static str,
    /// Before the labels of several: `machines`.
    pub many: &'static str,
    /// The rows that count, with a `label`. `?1`, where it is used, is the moment now.
    pub sql: &'static str,
    /// What makes a row another one.
    pub id: fn(&Row<'_>) -> Result<String, Error>,
}

impl Table {
    /// A table whose rows grant nobody anything, for this reason.
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
///
/// # Errors
/// If they have none.
pub fn text_id(row: &Row<'_>) -> Result<String, Error> {
    row.text("id")
}
