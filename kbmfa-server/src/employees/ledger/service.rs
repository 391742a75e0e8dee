//! Chooses the account of a new employee.

use kbmfa_proto::names::UserName;
use std::collections::BTreeSet;

use super::{Uids, next, store};
use crate::db::{self, Tx, meta};
use crate::employees::account::check_uid;
use crate::employees::{Email, Error};

/// The uid for somebody who is given one now: the one that the operator chose, or the next of the range.
///
/// # Errors
/// [`Error::UidTaken`], [`Error::BadAccount`], [`Error::UidsUsedUp`].
pub fn choose(tx: &Tx<'_>, uids: Uids, chosen: Option<u32>) -> Result<u32, Error> {
    let Some(uid) = chosen else {
        let replaced = of_replaced(tx)?.into_iter().filter(|uid| uids.contains(*uid)).max();
        let given = store::highest_given(tx, uids)?.max(replaced);
        return Ok(next(uids, given, store::highest_seen(tx, uids)?.as_ref())?);
    };
    check_uid(uid)?;
    match store::holder_of_uid(tx, uid)? {
        Some(email) => Err(Error::UidTaken(uid, email.to_string())),
        None => Ok(uid),
    }
}

/// The uids that databases which a restore replaced had given or seen.
fn of_replaced(tx: &Tx<'_>) -> Result<BTreeSet<u32>, db::Error> {
    let text = meta::get(tx, meta::UIDS_OF_REPLACED)?.unwrap_or_default();
    Ok(text.split_ascii_whitespace().filter_map(|uid| uid.parse().ok()).collect())
}

/// All uids that were given or seen, of any range: a restore hands them over to the database that takes the place of this
/// one.
pub fn taken(tx: &Tx<'_>) -> Result<BTreeSet<u32>, db::Error> {
    let mut taken = of_replaced(tx)?;
    taken.extend(store::given_or_seen(tx)?);
    Ok(taken)
}

/// Keeps the uids of the database that this one replaces, so that none of them is given a second time.
pub fn hand_over(tx: &Tx<'_>, taken: &BTreeSet<u32>) -> Result<(), db::Error> {
    let all = of_replaced(tx)?.into_iter().chain(taken.iter().copied()).collect::<BTreeSet<_>>();
    let text: Vec<String> = all.iter().map(u32::to_string).collect();
    meta::set(tx, meta::UIDS_OF_REPLACED, &text.join(" "))
}

/// Records a uid that a machine reported, unless the ledger knows whose it is. It is of the range, and so never given
/// out.
pub fn note_seen(tx: &Tx<'_>, machine_id: &str, uid: u32) -> Result<(), db::Error> {
    match store::holder_of_uid(tx, uid)? {
        Some(_) => Ok(()),
        None => store::saw(tx, machine_id, uid),
    }
}

/// The uid that a Unix name has in the ledger, if it may be given to the person with this address: nobody has
/// had it, or this person has. `Some(None)` if it is theirs without a uid.
///
/// # Errors
/// [`Error::NameTaken`] if it was another person's.
pub fn returning(tx: &Tx<'_>, name: &UserName, email: &Email) -> Result<Option<Option<u32>>, Error> {
    match store::entry(tx, name)? {
        None => Ok(None),
        Some(entry) if entry.email == *email => Ok(Some(entry.uid)),
        Some(entry) => Err(Error::NameTaken(name.to_string(), entry.email.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::fixture;

    #[test]
    fn uids_of_a_replaced_database_count_in_every_range_and_are_kept_by_the_next_restore() {
        let fixture = fixture();
        let next = |range: &str| {
            let uids = range.parse().unwrap();
            fixture.db.read_blocking(|tx| choose(tx, uids, None)).unwrap()
        };
        assert_eq!(next("20000-59999"), 20_000);
        for (handed_over, low, high) in
            [([30_000, 50_000], 30_001, 50_001), ([20_005, 50_009], 30_001, 50_010)]
        {
            fixture.db.write_blocking("test", move |tx| hand_over(tx, &BTreeSet::from(handed_over))).unwrap();
            assert_eq!((next("20000-39999"), next("20000-59999")), (low, high));
        }
        let taken = fixture.db.read_blocking(taken).unwrap();
        assert_eq!(taken.into_iter().collect::<Vec<_>>(), [20_005, 30_000, 50_000, 50_009]);
    }
}
