//! The SQL of deliveries.

pub mod adoptions;
pub mod own_logins;

use kbmfa_proto::names::{MachineName, UserName};
use std::collections::{BTreeMap, BTreeSet};

use super::failure::Kind;
use super::{Generation, Place};
use crate::clock::Time;
use crate::db::at_restore::{Listing, Table, text_id};
use crate::db::{Error, Row, Tx, meta};

/// What a restore does to these tables.
pub const TABLES: &[Table] = &[
    Table::listed(
        "delivery",
        Listing {
            kind: "delivery",
            one: "delivery of keys to machine",
            many: "deliveries of keys to the machines",
            sql: "SELECT machine_id || ' ' || place || ' ' || CAST(leaving AS TEXT) AS id, name AS label
                  FROM delivery JOIN machine ON machine.id = machine_id",
            id: text_id,
        },
    ),
    Table::grants_nothing(
        "delivered_key",
        "what machines were given, which each pass reads back from the machine itself",
    ),
    adoptions::TABLE,
    Table::grants_nothing("own_login", "what the server announced a minute ago does not count"),
];

/// A machine to which keys are delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The machine's id.
    pub machine_id: String,
    /// Its name.
    pub machine: MachineName,
    /// Where the keys are written.
    pub place: Place,
    /// True if sudo allows the installed helper alone.
    pub by_helper: bool,
    /// True if everything is being taken away.
    pub leaving: bool,
    /// `/etc/machine-id`, as it was first seen.
    pub host_id: Option<String>,
    /// Hash of the state that was read back last.
    pub applied: Option<String>,
    /// When it was read back.
    pub applied_at: Option<Time>,
    /// Since when the machine should have another state.
    pub differs_since: Option<Time>,
    /// When the next pass is due, if nothing changes before.
    pub next_at: Time,
    /// Number of failed passes in a row.
    pub failures: u32,
    /// The last pass's failure: its kind, what happened, and since when passes fail.
    pub failure: Option<(Kind, String, Time)>,
    /// What is left as it is.
    pub hindrances: Vec<String>,
}

const DELIVERY: &str =
    "SELECT machine_id, name, place, by_helper, leaving, host_id, applied, applied_at, differs_since,
    next_at, failures, failure, failure_detail, failed_since, hindrances
    FROM delivery JOIN machine ON machine.id = machine_id";

fn delivery(row: &Row<'_>) -> Result<Delivery, Error> {
    let failure: Option<Kind> = row.parsed_or_null("failure")?;
    let hindrances = row.text("hindrances")?;
    Ok(Delivery {
        machine_id: row.text("machine_id")?,
        machine: row.parsed("name")?,
        place: row.parsed("place")?,
        by_helper: row.integer("by_helper")? != 0,
        leaving: row.integer("leaving")? != 0,
        host_id: row.text_or_null("host_id")?,
        applied: row.text_or_null("applied")?,
        applied_at: row.time_or_null("applied_at")?,
        differs_since: row.time_or_null("differs_since")?,
        next_at: row.time("next_at")?,
        failures: u32::try_from(row.integer("failures")?).unwrap_or(u32::MAX),
        failure: match failure {
            Some(kind) => Some((
                kind,
                row.text_or_null("failure_detail")?.unwrap_or_default(),
                row.time("failed_since")?,
            )),
            None => None,
        },
        hindrances: hindrances.lines().map(str::to_owned).collect(),
    })
}

/// All deliveries, by the machine's name.
pub fn all(tx: &Tx<'_>) -> Result<Vec<Delivery>, Error> {
    tx.query(&format!("{DELIVERY} ORDER BY name"), &[], delivery)
}

/// The delivery to a machine.
pub fn of_machine(tx: &Tx<'_>, machine_id: &str) -> Result<Option<Delivery>, Error> {
    tx.query_one(&format!("{DELIVERY} WHERE machine_id = ?1"), &[machine_id.into()], delivery)
}

/// True if keys are delivered to a machine.
pub fn exists(tx: &Tx<'_>, machine_id: &str) -> Result<bool, Error> {
    let sql = "SELECT 1 AS one FROM delivery WHERE machine_id = ?1";
    Ok(tx.query_one(sql, &[machine_id.into()], |row| row.integer("one"))?.is_some())
}

/// The machine that has this `/etc/machine-id`.
pub fn holder_of_host(tx: &Tx<'_>, host_id: &str) -> Result<Option<(String, MachineName)>, Error> {
    let sql =
        "SELECT machine_id, name FROM delivery JOIN machine ON machine.id = machine_id WHERE host_id = ?1";
    tx.query_one(sql, &[host_id.into()], |row| Ok((row.text("machine_id")?, row.parsed("name")?)))
}

/// Numbers about all deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Machines to which keys are delivered.
    pub machines: u64,
    /// Those that should have another state than the confirmed one.
    pub unconfirmed: u64,
    /// Those of which the last pass failed.
    pub failing: u64,
    /// Since when the oldest of the unconfirmed ones is that.
    pub oldest: Option<Time>,
    /// Those on which something is left as it is.
    pub hindered: u64,
    /// When the machine was checked up that has waited longest for its next check-up.
    pub oldest_check: Option<Time>,
}

/// Counts all deliveries.
pub fn counts(tx: &Tx<'_>) -> Result<Counts, Error> {
    let sql = "SELECT count(*) AS machines, count(differs_since) AS unconfirmed, count(failure) AS failing,
                   min(differs_since) AS oldest, count(nullif(hindrances, '')) AS hindered,
                   min(applied_at) AS oldest_check FROM delivery";
    let counts = tx.query_one(sql, &[], |row| {
        let number = |column| Ok::<_, Error>(row.integer(column)?.unsigned_abs());
        Ok(Counts {
            machines: number("machines")?,
            unconfirmed: number("unconfirmed")?,
            failing: number("failing")?,
            oldest: row.time_or_null("oldest")?,
            hindered: number("hindered")?,
            oldest_check: row.time_or_null("oldest_check")?,
        })
    })?;
    Ok(counts.unwrap_or_default())
}

/// The keys that machines were given: by machine, then by account.
pub type Given = BTreeMap<String, BTreeMap<UserName, BTreeSet<String>>>;

/// What all machines have of what they were given.
pub fn given(tx: &Tx<'_>) -> Result<Given, Error> {
    delivered(tx, false)
}

/// What machines had, and with which sessions may still be open.
pub fn gone(tx: &Tx<'_>) -> Result<Given, Error> {
    delivered(tx, true)
}

fn delivered(tx: &Tx<'_>, gone: bool) -> Result<Given, Error> {
    let mut given = Given::new();
    let sql = "SELECT machine_id, unix_name, fingerprint FROM delivered_key WHERE gone = ?1";
    let rows = tx.query(sql, &[i64::from(gone).into()], |row| {
        Ok((row.text("machine_id")?, row.parsed("unix_name")?, row.text("fingerprint")?))
    })?;
    for (machine, name, fingerprint) in rows {
        given.entry(machine).or_default().entry(name).or_default().insert(fingerprint);
    }
    Ok(given)
}

/// The keys that one account on a machine was given.
pub fn given_to(tx: &Tx<'_>, machine_id: &str, name: &UserName) -> Result<BTreeSet<String>, Error> {
    let sql = "SELECT fingerprint FROM delivered_key WHERE machine_id = ?1 AND unix_name = ?2";
    let found = tx.query(sql, &[machine_id.into(), name.as_str().into()], |row| row.text("fingerprint"))?;
    Ok(found.into_iter().collect())
}

/// The accounts of which some machine has keys.
pub fn delivered_accounts(tx: &Tx<'_>) -> Result<BTreeSet<UserName>, Error> {
    let names =
        tx.query("SELECT DISTINCT unix_name FROM delivered_key", &[], |row| row.parsed("unix_name"))?;
    Ok(names.into_iter().collect())
}

/// Each machine's pools, as pairs of a machine's id and a pool's id.
pub fn memberships(tx: &Tx<'_>) -> Result<Vec<(String, String)>, Error> {
    tx.query("SELECT machine_id, pool_id FROM pool_machine", &[], |row| {
        Ok((row.text("machine_id")?, row.text("pool_id")?))
    })
}

pub(crate) fn insert(tx: &Tx<'_>, machine_id: &str, place: Place, by_helper: bool) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO delivery (machine_id, place, by_helper, leaving, next_at, failures, hindrances, differs_since)
         VALUES (?1, ?2, ?3, 0, ?4, 0, '', ?4)",
        &[machine_id.into(), place.as_str().into(), i64::from(by_helper).into(), tx.now.into()],
    )?;
    Ok(())
}

pub(crate) fn change(
    tx: &Tx<'_>,
    machine_id: &str,
    (place, by_helper, leaving): (Place, bool, bool),
) -> Result<(), Error> {
    tx.execute(
        "UPDATE delivery SET place = ?2, by_helper = ?3, leaving = ?4, applied = NULL, next_at = ?5,
             differs_since = coalesce(differs_since, ?5) WHERE machine_id = ?1",
        &[
            machine_id.into(),
            place.as_str().into(),
            i64::from(by_helper).into(),
            i64::from(leaving).into(),
            tx.now.into(),
        ],
    )?;
    Ok(())
}

pub(crate) fn remove(tx: &Tx<'_>, machine_id: &str) -> Result<(), Error> {
    adoptions::forget(tx, machine_id)?;
    tx.execute("DELETE FROM delivered_key WHERE machine_id = ?1", &[machine_id.into()])?;
    tx.execute("DELETE FROM own_login WHERE machine_id = ?1", &[machine_id.into()])?;
    tx.execute("DELETE FROM delivery WHERE machine_id = ?1", &[machine_id.into()])?;
    Ok(())
}

/// Records since when these machines should have another state.
pub(crate) fn set_differs(tx: &Tx<'_>, machine_id: &str) -> Result<(), Error> {
    let sql = "UPDATE delivery SET differs_since = ?2 WHERE machine_id = ?1 AND differs_since IS NULL";
    tx.execute(sql, &[machine_id.into(), tx.now.into()])?;
    Ok(())
}

pub(crate) fn set_host(tx: &Tx<'_>, machine_id: &str, host_id: &str) -> Result<(), Error> {
    tx.execute(
        "UPDATE delivery SET host_id = ?2 WHERE machine_id = ?1",
        &[machine_id.into(), host_id.into()],
    )?;
    Ok(())
}

pub(crate) fn set_confirmed(
    tx: &Tx<'_>,
    machine_id: &str,
    (applied, hindrances): (&str, &str),
    next_at: Time,
    has_to_lose: bool,
) -> Result<(), Error> {
    let differs = if has_to_lose { "coalesce(differs_since, ?3)" } else { "NULL" };
    tx.execute(
        &format!(
            "UPDATE delivery SET applied = ?2, applied_at = ?3, differs_since = {differs}, next_at = ?4, failures = 0,
                 failure = NULL, failure_detail = NULL, failed_since = NULL, hindrances = ?5 WHERE machine_id = ?1"
        ),
        &[machine_id.into(), applied.into(), tx.now.into(), next_at.into(), hindrances.into()],
    )?;
    Ok(())
}

pub(crate) fn set_failed(
    tx: &Tx<'_>,
    machine_id: &str,
    (kind, detail): (Kind, &str),
    hindrances: &str,
    next_at: Time,
) -> Result<(), Error> {
    tx.execute(
        "UPDATE delivery SET next_at = ?2, failures = failures + 1, failure = ?3, failure_detail = ?4,
             failed_since = coalesce(failed_since, ?5), hindrances = ?6 WHERE machine_id = ?1",
        &[
            machine_id.into(),
            next_at.into(),
            kind.as_str().into(),
            detail.into(),
            tx.now.into(),
            hindrances.into(),
        ],
    )?;
    Ok(())
}

/// What was confirmed does not count any more: the machine is about to be changed.
pub(crate) fn set_unconfirmed(tx: &Tx<'_>, machine_id: &str) -> Result<(), Error> {
    let sql = "UPDATE delivery SET applied = NULL, differs_since = coalesce(differs_since, ?2) WHERE machine_id = ?1";
    tx.execute(sql, &[machine_id.into(), tx.now.into()])?;
    Ok(())
}

/// Replaces what is known of the keys on a machine. Sessions may be open with the keys that it has no more, but for those
/// of the accounts in `ended`.
pub(crate) fn set_given(
    tx: &Tx<'_>,
    machine_id: &str,
    given: &BTreeMap<UserName, BTreeSet<String>>,
    ended: &BTreeSet<UserName>,
) -> Result<(), Error> {
    tx.execute("UPDATE delivered_key SET gone = 1 WHERE machine_id = ?1 AND gone = 0", &[machine_id.into()])?;
    for name in ended {
        let sql = "DELETE FROM delivered_key WHERE machine_id = ?1 AND unix_name = ?2";
        tx.execute(sql, &[machine_id.into(), name.as_str().into()])?;
    }
    add_given(tx, machine_id, given)
}

/// Adds keys that a machine may have from now on.
pub(crate) fn add_given(
    tx: &Tx<'_>,
    machine_id: &str,
    given: &BTreeMap<UserName, BTreeSet<String>>,
) -> Result<(), Error> {
    for (name, keys) in given {
        for key in keys {
            tx.execute(
                "INSERT INTO delivered_key (machine_id, unix_name, fingerprint, gone) VALUES (?1, ?2, ?3, 0)
                 ON CONFLICT (machine_id, unix_name, fingerprint) DO UPDATE SET gone = 0",
                &[machine_id.into(), name.as_str().into(), key.as_str().into()],
            )?;
        }
    }
    Ok(())
}

/// Changes that somebody else made on machines and that were put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drifts {
    /// How many passes have put something right.
    pub count: u64,
    /// When the last one did.
    pub last_at: Time,
    /// The machine of the last one, as it was called then.
    pub machine: MachineName,
}

const DRIFTS: &str = "delivery-drifts";

/// The changes that were put right so far.
pub fn drifts(tx: &Tx<'_>) -> Result<Option<Drifts>, Error> {
    let Some(text) = meta::get(tx, DRIFTS)? else { return Ok(None) };
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or_else(|| Error::BadValue(text.clone()));
    let bad = |_| Error::BadValue(text.clone());
    let (count, last) = (word()?.parse().map_err(bad)?, word()?.parse().map_err(bad)?);
    let machine = word()?.parse().map_err(|_| Error::BadValue(text.clone()))?;
    Ok(Some(Drifts { count, last_at: Time::from_micros(last), machine }))
}

/// Counts a change that was put right now.
pub(crate) fn count_drift(tx: &Tx<'_>, machine: &MachineName) -> Result<(), Error> {
    let count = drifts(tx)?.map_or(0, |drifts| drifts.count) + 1;
    meta::set(tx, DRIFTS, &format!("{count} {} {machine}", tx.now.micros()))
}

const INSTALLATION: &str = "installation";
const EPOCH: &str = "delivery-epoch";
const COUNTER: &str = "delivery-counter";

/// The state that was written last; `None` before the first one.
pub fn generation(tx: &Tx<'_>) -> Result<Option<Generation>, Error> {
    let Some(installation) = meta::get(tx, INSTALLATION)? else { return Ok(None) };
    let number = |name| Ok::<_, Error>(meta::get(tx, name)?.and_then(|text| text.parse().ok()).unwrap_or(0));
    Ok(Some(Generation { installation, epoch: number(EPOCH)?, counter: number(COUNTER)? }))
}

pub(crate) fn set_generation(tx: &Tx<'_>, generation: &Generation) -> Result<(), Error> {
    meta::set(tx, INSTALLATION, &generation.installation)?;
    meta::set(tx, EPOCH, &generation.epoch.to_string())?;
    meta::set(tx, COUNTER, &generation.counter.to_string())
}
