//! Makes a restored database read-only, and writable again after the confirmation.

use std::collections::BTreeSet;

use super::{ca, deliveries};
use crate::audit::store::append;
use crate::audit::{Actor, Event, Kind};
use crate::db::{self, Tx, meta};
use crate::employees::ledger::service as ledger;
use crate::logins::{Rules, ending};
use crate::restore::{Error, Notice, pending, store};

/// Makes the database read-only until [`confirm`]. `uids` are those that the replaced database had given or seen,
/// so that no uid is given a second time. Ends the join tokens, because they may have been used or
/// revoked after the backup. Waiting logins end with the confirmation, each with its event.
pub fn halt(tx: &Tx<'_>, notice: &Notice, uids: &BTreeSet<u32>) -> Result<(), Error> {
    let text = serde_json::to_string(notice).map_err(|error| db::Error::BadValue(error.to_string()))?;
    store::end_one_time_secrets(tx)?;
    ledger::hand_over(tx, uids)?;
    Ok(meta::set(tx, meta::READ_ONLY, &text)?)
}

/// Makes a restored database writable again, and records what the restore undid.
///
/// # Errors
/// [`Error::NothingToConfirm`].
pub fn confirm(tx: &Tx<'_>, rules: &Rules, actor: &Actor) -> Result<Notice, Error> {
    let notice = pending(tx)?.ok_or(Error::NothingToConfirm)?;
    meta::remove(tx, meta::READ_ONLY)?;
    let event = Event::new(Kind::DatabaseRestored, actor.clone())
        .maybe("before", notice.before.as_ref())
        .detail("after", &notice.after)
        .detail("file", &notice.file)
        .maybe("kept", notice.kept.as_ref())
        .detail("restored-by", &notice.by)
        .detail("restored-at", notice.at)
        .detail("join-tokens-ended", notice.tokens_ended);
    append(tx, &event)?;
    ending::revoke_all_restored(tx, rules, actor)?;
    ca::record_owed(tx)?;
    deliveries::begin_epoch(tx)?;
    Ok(notice)
}
