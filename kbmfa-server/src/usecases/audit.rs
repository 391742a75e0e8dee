//! Actions on the audit log other than reading it: archive, post the head, record a backup.

use kbmfa_proto::text::SafeText;

use crate::audit::store::archive::{self, Archive};
use crate::audit::{Actor, Event, Head, Kind, store as audit};
use crate::clock::Time;
use crate::db::{self, Tx};
use crate::logins::{self, Rules, notifications};
use std::ops::RangeInclusive;
use std::time::Duration;

pub use crate::audit::store::archive::prune_some;
pub use crate::audit::store::index::{complete_some as index_some, reset as reset_index};

/// The events that may be archived: those before this time, up to the first one that an unfinished login
/// needs.
pub fn archivable(tx: &Tx<'_>, before: Time) -> Result<RangeInclusive<i64>, db::Error> {
    archive::part(tx, before, logins::store::first_unfinished_event(tx)?)
}

/// Makes the chain begin after a verified archive. [`prune_some`] then deletes the rows.
///
/// # Errors
/// [`archive::Error::Changed`] if the archive contains events that an unfinished login needs now.
pub fn archive(tx: &Tx<'_>, actor: &Actor, archive: &Archive, before: Time) -> Result<Head, archive::Error> {
    if *archivable(tx, before)?.end() < archive.last.seq {
        return Err(archive::Error::Changed);
    }
    archive::cut(tx, actor, archive, before)
}

/// Records that the database, as of this head, was copied into this file.
pub fn backup_made(tx: &Tx<'_>, actor: &Actor, file: &str, head: &Head) -> Result<(), db::Error> {
    let event = Event::new(Kind::BackupMade, actor.clone()).detail("file", SafeText::new(file));
    audit::append(tx, &event.detail("head", head)).map(drop)
}

/// Queues a post of the audit log's head to the chat; returns the head.
pub fn post_head(tx: &Tx<'_>, rules: &Rules) -> Result<Head, logins::Error> {
    notifications::head(tx, rules, Duration::ZERO)?;
    Ok(audit::head(tx)?)
}
