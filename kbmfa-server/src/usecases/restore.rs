//! Makes a restored database read-only, and writable again after the confirmation.

use super::{ca, deliveries};
use crate::audit::store::append;
use crate::audit::{Actor, Event, Kind};
use crate::db::{self, Tx, meta};
use crate::employees::ledger::service::{self as ledger, Taken};
use crate::logins::{Rules, ending};
use crate::restore::{Error, Notice, pending, store};

/// Makes the database read-only until [`confirm`]. `taken` are the uids and Unix names that the replaced database had given
/// or seen, so that none is given to a second person. Ends the join tokens, because they may have been used or
/// revoked after the backup. Waiting logins end with the confirmation, each with its event.
pub fn halt(tx: &Tx<'_>, notice: &Notice, taken: Taken) -> Result<(), Error> {
    let text = serde_json::to_string(notice).map_err(|error| db::Error::BadValue(error.to_string()))?;
    store::end_one_time_secrets(tx)?;
    ledger::hand_over(tx, taken)?;
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
