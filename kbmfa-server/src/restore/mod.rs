//! Restoring a backup: what it would undo, and the read-only state after it, which lasts until somebody
//! confirms that it is the right backup. The confirmation records in the audit log what was undone.

pub mod store;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

use crate::audit::{Broken, Head, store as audit};
use crate::clock::Time;
use crate::db::at_restore::Listing;
use crate::db::{self, Db, Tx, meta};
use crate::logins;

/// Why a restore or its confirmation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// The backup's audit log is broken.
    #[error("the backup's audit log is broken: {0}")]
    Broken(Broken),
    /// SQLite finds the file damaged.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// A waiting login of the backup cannot be ended.
    #[error(transparent)]
    Logins(#[from] logins::Error),
    /// No restore waits for a confirmation.
    #[error("there is no restore to confirm")]
    NothingToConfirm,
}

/// One item that a restore can bring back or make vanish.
#[derive(Debug, Clone)]
pub struct Thing {
    /// How items of its table are listed.
    pub listing: &'static Listing,
    /// Its label.
    pub name: String,
}

impl PartialEq for Thing {
    fn eq(&self, other: &Self) -> bool {
        (self.listing.kind, &self.name) == (other.listing.kind, &other.name)
    }
}

impl Eq for Thing {}

impl Serialize for Thing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut thing = serializer.serialize_struct("Thing", 2)?;
        thing.serialize_field("kind", self.listing.kind)?;
        thing.serialize_field("name", &self.name)?;
        thing.end()
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.listing.one, self.name)
    }
}

/// The items in order, one line for each kind: `machine web1`, or `2 machines: db1, web1`.
pub fn by_kind(things: &[Thing]) -> Vec<String> {
    let mut groups: Vec<Vec<&Thing>> = Vec::new();
    for thing in things {
        match groups.iter_mut().find(|group| group.iter().any(|one| one.listing.kind == thing.listing.kind)) {
            Some(group) => group.push(thing),
            None => groups.push(vec![thing]),
        }
    }
    let line = |mut group: Vec<&Thing>| {
        group.sort_by(|one, other| one.name.cmp(&other.name));
        let names: Vec<&str> = group.iter().map(|thing| thing.name.as_str()).collect();
        match group.as_slice() {
            [] => String::new(),
            [one] => one.to_string(),
            [one, ..] => format!("{} {}: {}", group.len(), one.listing.many, names.join(", ")),
        }
    };
    groups.into_iter().map(line).collect()
}

/// The contents of one database.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its last event, as a head.
    pub head: Head,
    /// All items, by the position of their table in the list and their id.
    pub things: BTreeMap<(usize, String), Thing>,
    /// Items that end with a restore.
    pub ends: Vec<Thing>,
}

/// What a restore would undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The backup's last event.
    pub backup: String,
    /// The current database's last event, if there is a current database.
    pub current: Option<String>,
    /// The last event that both have. Everything after it in the current database is undone.
    pub common: i64,
    /// How many events of each kind are undone.
    pub undone: BTreeMap<String, i64>,
    /// Number of events that only the backup has. If there are any, the backup is not an earlier state of the
    /// current database.
    pub foreign: i64,
    /// The last event of an archive that reaches beyond the end of the other database. It is then unknown
    /// where the two differ, and the archived events are not counted.
    pub archived_to: Option<i64>,
    /// Items that a restore makes vanish.
    pub vanishes: Vec<Thing>,
    /// Items that a restore brings back.
    pub comes_back: Vec<Thing>,
    /// Items of the backup that end with a restore, because they may have been used or revoked after the
    /// backup.
    pub ends: Vec<Thing>,
}

/// Checks a backup, and compares it with the current database.
///
/// # Errors
/// [`Error::Broken`], [`Error::Damaged`].
pub fn report(backup: &Db, current: Option<&Db>) -> Result<Report, Error> {
    if let Some(damage) = backup.check()?.into_iter().next() {
        return Err(Error::Damaged(damage));
    }
    backup.read_blocking(|old| {
        audit::verify(old, None)?.map_err(Error::Broken)?;
        let past = store::snapshot(old)?;
        let Some(current) = current else { return Ok(without_present(&past)) };
        current.read_blocking(|new| compare((old, &past), (new, &store::snapshot(new)?)))
    })
}

fn without_present(past: &Snapshot) -> Report {
    Report {
        backup: past.head.to_string(),
        current: None,
        common: 0,
        undone: BTreeMap::new(),
        foreign: past.head.seq,
        archived_to: None,
        vanishes: Vec::new(),
        comes_back: past.things.values().cloned().collect(),
        ends: past.ends.clone(),
    }
}

fn compare((old, past): (&Tx<'_>, &Snapshot), (new, present): (&Tx<'_>, &Snapshot)) -> Result<Report, Error> {
    let last = past.head.seq.min(present.head.seq);
    let archived = store::archived_to(old)?.max(store::archived_to(new)?);
    let same = |seq| {
        let seals = (store::seal(old, seq)?, store::seal(new, seq)?);
        Ok::<_, Error>(seals.0.is_some() && seals.0 == seals.1)
    };
    let common = if archived > last {
        last
    } else if archived == 0 || same(archived)? {
        common(archived, last, same)?
    } else {
        0
    };
    Ok(Report {
        backup: past.head.to_string(),
        current: Some(present.head.to_string()),
        common,
        undone: store::events_after(new, common)?,
        foreign: past.head.seq - common,
        archived_to: Some(archived).filter(|archived| *archived > last),
        vanishes: missing(&present.things, &past.things),
        comes_back: missing(&past.things, &present.things),
        ends: past.ends.clone(),
    })
}

/// The number of the last event up to which two chains are equal. They are equal up to `known`. A seal covers
/// everything before it, so a binary search finds the number.
fn common<E>(mut known: i64, last: i64, same: impl Fn(i64) -> Result<bool, E>) -> Result<i64, E> {
    let mut end = last + 1;
    while end - known > 1 {
        let middle = i64::midpoint(known, end);
        if same(middle)? {
            known = middle;
        } else {
            end = middle;
        }
    }
    Ok(known)
}

type Things = BTreeMap<(usize, String), Thing>;

fn missing(from: &Things, others: &Things) -> Vec<Thing> {
    from.iter().filter(|(key, _)| !others.contains_key(key)).map(|(_, thing)| thing.clone()).collect()
}

/// A note in a restored database until the restore is confirmed. It has the details of the audit event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Path of the backup's file.
    pub file: String,
    /// Last event of the database that was replaced, if there was one.
    pub before: Option<String>,
    /// Last event of the backup.
    pub after: String,
    /// Path at which the replaced database is kept.
    pub kept: Option<String>,
    /// Who restored it.
    pub by: String,
    /// When it was restored.
    pub at: Time,
    /// Number of join tokens that were ended.
    #[serde(default)]
    pub tokens_ended: usize,
}

/// The note of a restore that waits for its confirmation.
pub fn pending(tx: &Tx<'_>) -> Result<Option<Notice>, Error> {
    let text = meta::get(tx, meta::READ_ONLY)?;
    let read = text.map(|text| serde_json::from_str(&text)).transpose();
    Ok(read.map_err(|error| db::Error::BadValue(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::Seal;
    use crate::audit::store::archive::{self, Archive};
    use crate::audit::store::search::{Filter, search};
    use crate::audit::{Actor, Kind as EventKind};
    use crate::db::FILE;
    use crate::db::at_restore::{AtRestore, Table};
    use crate::db::testing::{Fixture, sqlite_fixture};
    use crate::employees::ledger::service::Taken;
    use crate::employees::store::{self as employees, Employee};
    use crate::employees::{Email, State};
    use crate::machines::store as machines;
    use crate::pools::store as pools;
    use crate::secret::SecretHash;
    use crate::usecases;
    use crate::usecases::testing::rules;
    use proptest::prelude::*;

    fn machine(fixture: &Fixture, name: &'static str, present: bool) {
        let work = move |tx: &Tx<'_>| {
            let (actor, name) = (Actor::new("console:root"), name.parse().unwrap());
            if present {
                usecases::machines::add(tx, &actor, &name, &[])
            } else {
                usecases::machines::remove(tx, &rules(), &actor, &name).map(drop)
            }
        };
        fixture.db.write_blocking("test", work).unwrap();
    }

    fn backup_of(fixture: &Fixture) -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        fixture.db.backup(&dir.path().join(FILE), |_| Ok(())).unwrap();
        let db = Db::with_clock(dir.path(), std::sync::Arc::new(fixture.clock.clone())).unwrap();
        (dir, db)
    }

    #[test]
    fn items_are_listed_by_kind_in_the_order_of_their_names() {
        let thing = |table: &'static Table, name: &str| match &table.at_restore {
            AtRestore::Listed(listing) => Thing { listing, name: name.into() },
            other => panic!("{other:?}"),
        };
        let [machine, ..] = machines::TABLES else { panic!("no table of machines") };
        let [pool, ..] = pools::TABLES else { panic!("no table of pools") };
        let [employee, ..] = employees::TABLES else { panic!("no table of employees") };
        let things = [
            thing(machine, "web2"),
            thing(pool, "web"),
            thing(machine, "db1"),
            thing(employee, "bob@example.org, active"),
        ];
        let lines = ["2 machines: db1, web2", "pool web", "employee bob@example.org, active"];
        assert_eq!(by_kind(&things), lines);
        assert!(by_kind(&[]).is_empty());
    }

    #[test]
    fn a_report_says_what_happened_since_what_vanishes_and_what_comes_back() {
        let fixture = sqlite_fixture();
        machine(&fixture, "web1", true);
        machine(&fixture, "web2", true);
        let (_dir, backup) = backup_of(&fixture);
        machine(&fixture, "web1", false);
        machine(&fixture, "web3", true);
        let report = report(&backup, Some(&fixture.db)).unwrap();
        assert_eq!((report.common, report.foreign), (2, 0));
        let undone: Vec<_> = report.undone.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(undone, [("machine.added", 1), ("machine.removed", 1)]);
        let names = |things: &[Thing]| things.iter().map(Thing::to_string).collect::<Vec<_>>();
        assert_eq!(names(&report.vanishes), ["machine web3"]);
        assert_eq!(names(&report.comes_back), ["machine web1"]);
    }

    #[test]
    fn employees_come_back_in_the_state_in_which_they_were() {
        let fixture = sqlite_fixture();
        let actor = || Actor::new("console:root");
        let email: Email = "alice@example.com".parse().unwrap();
        let alice = Employee {
            id: "a".into(),
            email: email.clone(),
            name: "Alice".into(),
            unix_name: "alice".parse().unwrap(),
            keybase_name: None,
            state: State::Active,
            created_at: Time::from_micros(0),
            changed_at: Time::from_micros(0),
        };
        let new = usecases::employees::New { employee: alice, uid: None, pools: Vec::new() };
        let add = move |tx: &Tx<'_>| usecases::employees::add(tx, rules().uids, &actor(), &new);
        fixture.db.write_blocking("test", add).unwrap();
        let (_dir, backup) = backup_of(&fixture);
        let suspend = move |tx: &Tx<'_>| {
            usecases::employees::set_state(tx, &rules(), &actor(), &email, State::Suspended).map(drop)
        };
        fixture.db.write_blocking("test", suspend).unwrap();
        let report = report(&backup, Some(&fixture.db)).unwrap();
        let names = |things: &[Thing]| things.iter().map(Thing::to_string).collect::<Vec<_>>();
        assert_eq!(names(&report.vanishes), ["employee alice@example.com, suspended"]);
        assert_eq!(names(&report.comes_back), ["employee alice@example.com, active"]);
    }

    /// Archives and deletes all events up to this number.
    fn archive_to(fixture: &Fixture, seq: i64) {
        let cut = move |tx: &Tx<'_>| {
            let first = store::archived_to(tx)? + 1;
            let seal = audit::links(tx, seq - 1, seq)?.remove(0).seal;
            let last = Head { seq, seal: Seal::from_bytes(&seal).unwrap() };
            let archive = Archive { first, last, sha256: "00".into(), file: "/x".into() };
            archive::cut(tx, &Actor::new("console:root"), &archive, tx.now).unwrap();
            while archive::prune_some(tx)? {}
            Ok::<_, db::Error>(())
        };
        fixture.db.write_blocking("archive", cut).unwrap();
    }

    #[test]
    fn an_archive_makes_no_backup_foreign_and_an_unknown_common_event_is_reported() {
        let fixture = sqlite_fixture();
        for name in ["web1", "web2", "web3"] {
            machine(&fixture, name, true);
        }
        let (_dir, backup) = backup_of(&fixture);
        archive_to(&fixture, 2);
        let now = report(&backup, Some(&fixture.db)).unwrap();
        assert_eq!((now.common, now.foreign, now.archived_to), (3, 0, None));
        assert_eq!(now.undone, BTreeMap::from([("audit.archived".to_owned(), 1)]));
        archive_to(&fixture, 4);
        let now = report(&backup, Some(&fixture.db)).unwrap();
        assert_eq!((now.common, now.foreign, now.archived_to), (3, 0, Some(4)));
    }

    #[test]
    fn a_backup_that_is_not_an_earlier_state_is_recognised() {
        let fixture = sqlite_fixture();
        machine(&fixture, "web1", true);
        let (_dir, backup) = backup_of(&fixture);
        let elsewhere =
            |tx: &Tx<'_>| usecases::machines::add(tx, &Actor::new("x"), &"db1".parse().unwrap(), &[]);
        backup.write_blocking("test", elsewhere).unwrap();
        machine(&fixture, "web2", true);
        let report = report(&backup, Some(&fixture.db)).unwrap();
        assert_eq!((report.common, report.foreign), (1, 1));
    }

    #[test]
    fn a_backup_whose_record_was_edited_is_refused() {
        let fixture = sqlite_fixture();
        machine(&fixture, "web1", true);
        let (_dir, backup) = backup_of(&fixture);
        backup.write_blocking("tamper", |tx| tx.execute("UPDATE event SET at = 0", &[])).unwrap();
        assert!(matches!(report(&backup, None), Err(Error::Broken(_))));
    }

    #[test]
    fn a_restored_database_is_read_only_until_the_gap_is_recorded() {
        let fixture = sqlite_fixture();
        let (before, after) = (Some("9:aaaaaaaaaaaa".to_owned()), "0:000000000000".to_owned());
        let (file, by, at) = ("b".to_owned(), "console:root".to_owned(), Time::from_micros(0));
        let notice = Notice { file, before, after, kept: None, by, at, tokens_ended: 0 };
        assert!(matches!(confirmed(&fixture.db), Err(Error::NothingToConfirm)));
        halted(&fixture.db, &notice).unwrap();
        let add = |tx: &Tx<'_>| usecases::machines::add(tx, &Actor::new("x"), &"db1".parse().unwrap(), &[]);
        assert!(fixture.db.write_blocking("test", add).is_err());
        assert_eq!(confirmed(&fixture.db).unwrap(), notice);
        fixture.db.write_blocking("test", add).unwrap();
        let filter = Filter { kinds: vec![EventKind::DatabaseRestored], limit: 9, ..Default::default() };
        let found = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
        assert!(found.len() == 1 && found[0].seq == 1 && found[0].body.contains("9:aaaaaaaaaaaa"));
    }

    fn halted(db: &Db, notice: &Notice) -> Result<(), Error> {
        let notice = notice.clone();
        db.even_read_only()
            .write_blocking("restore.halt", move |tx| usecases::restore::halt(tx, &notice, Taken::default()))
    }

    fn confirmed(db: &Db) -> Result<Notice, Error> {
        let (rules, actor) = (rules(), Actor::new("console:root"));
        db.even_read_only()
            .write_blocking("restore.confirm", move |tx| usecases::restore::confirm(tx, &rules, &actor))
    }

    #[test]
    fn join_tokens_end_at_a_restore_used_or_not_and_the_comparison_lists_the_open_ones() {
        let fixture = sqlite_fixture();
        machine(&fixture, "web1", true);
        machine(&fixture, "web2", true);
        let token = |name: &'static str| {
            let make = move |tx: &Tx<'_>| {
                let (root, life) = (Actor::new("console:root"), usecases::machines::JOIN_TOKEN_LIFE);
                usecases::machines::make_join_token(tx, &root, &name.parse().unwrap(), life)
            };
            fixture.db.write_blocking("test", make).unwrap().hash()
        };
        let (first, second) = (token("web1"), token("web2"));
        let join = |db: &Db, token: &SecretHash, credential: &str| {
            let (token, credential) = (token.clone(), SecretHash::of(credential));
            db.write_blocking("test", move |tx| usecases::machines::join(tx, &token, &credential, "0"))
        };
        join(&fixture.db, &first, "a").unwrap();
        let (dir, backup) = backup_of(&fixture);
        join(&fixture.db, &second, "b").unwrap();
        let report = report(&backup, Some(&fixture.db)).unwrap();
        assert_eq!(
            report.ends.iter().map(Thing::to_string).collect::<Vec<_>>(),
            ["a join token of machine web2"]
        );
        let (by, at, tokens_ended) = ("console:root".to_owned(), Time::from_micros(0), report.ends.len());
        let (file, after) = ("b".to_owned(), report.backup);
        let notice = Notice { file, before: None, after, kept: None, by, at, tokens_ended };
        halted(&backup, &notice).unwrap();
        confirmed(&backup).unwrap();
        for (token, credential) in [(&first, "a"), (&first, "c"), (&second, "b"), (&second, "d")] {
            let refused = join(&backup, token, credential);
            assert!(matches!(refused, Err(crate::machines::Error::TokenRefused)), "{credential}");
        }
        drop(dir);
    }

    proptest! {
        #[test]
        fn a_binary_search_finds_where_two_chains_differ(last in 0_i64..300, parted in 0_i64..300) {
            let found = common(0, last, |seq| Ok::<_, ()>(seq <= parted)).unwrap();
            prop_assert_eq!(found, last.min(parted));
        }
    }
}
