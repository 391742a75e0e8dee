//! Chooses the account of a new employee.

use kbmfa_proto::names::UserName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::store::{self, Entry};
use super::{Uids, next};
use crate::db::{self, Tx, meta};
use crate::employees::account::check_uid;
use crate::employees::{Email, Error};

/// The uid for somebody who is given one now: the one that the operator chose, or the next of the range.
///
/// # Errors
/// [`Error::UidTaken`], [`Error::BadAccount`], [`Error::UidsUsedUp`].
pub fn choose(tx: &Tx<'_>, uids: Uids, chosen: Option<u32>) -> Result<u32, Error> {
    let Some(uid) = chosen else {
        let replaced = of_replaced(tx)?.uids.into_iter().filter(|uid| uids.contains(*uid)).max();
        let given = store::highest_given(tx, uids)?.max(replaced);
        return Ok(next(uids, given, store::highest_seen(tx, uids)?.as_ref())?);
    };
    check_uid(uid)?;
    let holder = match store::holder_of_uid(tx, uid)? {
        Some(email) => Some(email),
        None => of_replaced(tx)?.names.into_values().find(|had| had.uid == Some(uid)).map(|had| had.email),
    };
    match holder {
        Some(email) => Err(Error::UidTaken(uid, email.to_string())),
        None => Ok(uid),
    }
}

/// What databases that a restore replaced had given out, or seen on machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Uids, of any range.
    pub uids: BTreeSet<u32>,
    /// Unix names, and who had each.
    pub names: BTreeMap<UserName, Entry>,
}

fn of_replaced(tx: &Tx<'_>) -> Result<Taken, db::Error> {
    let Some(text) = meta::get(tx, meta::TAKEN_BEFORE)? else { return Ok(Taken::default()) };
    serde_json::from_str(&text).map_err(|error| db::Error::BadValue(error.to_string()))
}

/// Everything that was given or seen: a restore hands it over to the database that takes the place of this one.
pub fn taken(tx: &Tx<'_>) -> Result<Taken, db::Error> {
    let mut taken = of_replaced(tx)?;
    taken.uids.extend(store::given_or_seen(tx)?);
    taken.names.extend(store::names(tx)?);
    Ok(taken)
}

/// Keeps what the database that this one replaces had given or seen, so that nobody else gets any of it.
pub fn hand_over(tx: &Tx<'_>, taken: Taken) -> Result<(), db::Error> {
    let mut all = of_replaced(tx)?;
    all.uids.extend(taken.uids);
    all.names.extend(taken.names);
    let text = serde_json::to_string(&all).map_err(|error| db::Error::BadValue(error.to_string()))?;
    meta::set(tx, meta::TAKEN_BEFORE, &text)
}

/// Records a uid that a machine reported, unless the ledger knows whose it is. It is of the range, and so never given
/// out.
pub fn note_seen(tx: &Tx<'_>, machine_id: &str, uid: u32) -> Result<(), db::Error> {
    match store::holder_of_uid(tx, uid)? {
        Some(_) => Ok(()),
        None => store::saw(tx, machine_id, uid),
    }
}

/// The uid that a Unix name has, if it may be given to the person with this address: nobody has had it, or this person
/// has. `Some(None)` if it is theirs without a uid. A name that only a replaced database knows counts as well.
///
/// # Errors
/// [`Error::NameTaken`] if it was another person's.
pub fn returning(tx: &Tx<'_>, name: &UserName, email: &Email) -> Result<Option<Option<u32>>, Error> {
    let known = match store::entry(tx, name)? {
        Some(known) => Some(known),
        None => of_replaced(tx)?.names.remove(name),
    };
    match known {
        None => Ok(None),
        Some(holder) if holder.email == *email => Ok(Some(holder.uid)),
        Some(holder) => Err(Error::NameTaken(name.to_string(), holder.email.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::fixture;

    fn with_uids<const N: usize>(uids: [u32; N]) -> Taken {
        Taken { uids: BTreeSet::from(uids), ..Taken::default() }
    }

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
            fixture.db.write_blocking("test", move |tx| hand_over(tx, with_uids(handed_over))).unwrap();
            assert_eq!((next("20000-39999"), next("20000-59999")), (low, high));
        }
        let taken = fixture.db.read_blocking(taken).unwrap();
        assert_eq!(taken.uids.into_iter().collect::<Vec<_>>(), [20_005, 30_000, 50_000, 50_009]);
    }

    #[test]
    fn a_unix_name_of_a_replaced_database_is_its_persons_with_the_same_uid_and_nobody_elses() {
        let fixture = fixture();
        let bob = Entry { email: "bob@x".parse().unwrap(), uid: Some(20_007) };
        let handed = Taken { names: BTreeMap::from([("bob".parse().unwrap(), bob)]), ..Taken::default() };
        fixture.db.write_blocking("test", move |tx| hand_over(tx, handed)).unwrap();
        // The next restore keeps it.
        fixture.db.write_blocking("test", |tx| hand_over(tx, with_uids([20_001]))).unwrap();
        let asked = |name: &str, email: &str| {
            let (name, email) = (name.parse().unwrap(), email.parse().unwrap());
            fixture.db.read_blocking(|tx| returning(tx, &name, &email)).map_err(|error| error.to_string())
        };
        assert_eq!(asked("bob", "Bob@x"), Ok(Some(Some(20_007))));
        assert_eq!(asked("ben", "bob@x"), Ok(None));
        assert!(asked("bob", "eve@x").unwrap_err().contains("is or was the account of bob@x"));
        let chosen = fixture.db.read_blocking(|tx| choose(tx, Uids::default(), Some(20_007))).unwrap_err();
        assert!(chosen.to_string().contains("uid 20007 is or was that of bob@x"), "{chosen}");
    }
}
