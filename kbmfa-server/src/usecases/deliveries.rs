//! Actions on deliveries: each function is one action inside the caller's transaction, with its audit event.

use kbmfa_proto::names::{MachineName, UserName};
use std::collections::{BTreeMap, BTreeSet};

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::{self, Tx};
use crate::deliveries::failure::Failure;
use crate::deliveries::store::{self, Delivery};
use crate::deliveries::{Error, Generation, Place, service};
use crate::logins::store::notices::{About, Repeated, Worth};
use crate::logins::{self, Rules, notice_texts, notifications};
use crate::machines::host_keys::store as host_keys;
use crate::machines::service as machines;
use crate::random;

/// Delivers keys to a machine from now on, or changes how.
///
/// # Errors
/// [`Error::NoReach`], or no such machine.
pub fn enable(
    tx: &Tx<'_>,
    actor: &Actor,
    name: &MachineName,
    place: Place,
    by_helper: bool,
) -> Result<(), Error> {
    machines::refuse_claimed(name)?;
    let machine = machines::find(tx, name)?;
    let reach = host_keys::reach(tx, &machine.id)?;
    if reach.endpoint.is_none() || reach.host_keys.is_empty() {
        return Err(Error::NoReach(name.to_string()));
    }
    let before = store::of_machine(tx, &machine.id)?;
    match &before {
        Some(_) => store::change(tx, &machine.id, (place, by_helper, false))?,
        None => store::insert(tx, &machine.id, place, by_helper)?,
    }
    let event =
        about(name, Kind::DeliveryEnabled, actor).detail("keys", place).detail("by-helper", by_helper);
    audit::append(tx, &event.maybe("before", before.map(|before| before.place)))?;
    Ok(())
}

/// Takes everything off a machine again; the delivery ends when that is confirmed. With `keep`, it ends at once and
/// everything stays as it is.
///
/// # Errors
/// [`Error::NotDelivered`], or no such machine.
pub fn disable(tx: &Tx<'_>, actor: &Actor, name: &MachineName, keep: bool) -> Result<(), Error> {
    let delivery = service::find(tx, name)?;
    if keep {
        store::remove(tx, &delivery.machine_id)?;
    } else {
        store::change(tx, &delivery.machine_id, (delivery.place, delivery.by_helper, true))?;
    }
    audit::append(tx, &about(name, Kind::DeliveryDisabled, actor).detail("keep", keep))?;
    Ok(())
}

/// The number of the next state that is written to a machine.
///
/// # Errors
/// The database failed, or there are no random bytes.
pub fn next_generation(tx: &Tx<'_>) -> Result<Generation, Error> {
    let next = match store::generation(tx)? {
        Some(last) => Generation { counter: last.counter + 1, ..last },
        None => Generation { installation: random::hex::<16>()?, epoch: 1, counter: 1 },
    };
    store::set_generation(tx, &next)?;
    Ok(next)
}

/// Begins an epoch, so that machines accept states of a restored database, which counts from an older number on. It is
/// above every earlier one as long as the clock is not set back by more than the time between two restores.
///
/// # Errors
/// The database failed.
pub(super) fn begin_epoch(tx: &Tx<'_>) -> Result<(), db::Error> {
    let Some(last) = store::generation(tx)? else { return Ok(()) };
    let now = u64::try_from(tx.now.micros() / 1_000_000).unwrap_or_default();
    store::set_generation(tx, &Generation { epoch: now.max(last.epoch + 1), counter: 0, ..last })
}

/// What a pass over a machine has found.
#[derive(Debug, Clone)]
pub struct Found {
    /// `/etc/machine-id`.
    pub host_id: Option<String>,
    /// What was done, a line each; empty if nothing had to be.
    pub done: Vec<String>,
    /// What is left as it is, a line each.
    pub hindrances: Vec<String>,
    /// The keys with which somebody can get in there now.
    pub given: BTreeMap<UserName, BTreeSet<String>>,
    /// Accounts whose sessions were ended.
    pub ended: BTreeSet<UserName>,
    /// True if somebody still has what was to be taken away.
    pub has_to_lose: bool,
    /// Hash of the state that was read back.
    pub applied: String,
}

/// Records that a machine has what it should have, but for single accounts. A machine that is leaving is forgotten,
/// unless somebody would keep a key there.
///
/// # Errors
/// [`Error::SameHost`].
pub fn confirmed(
    tx: &Tx<'_>,
    (rules, actor): (&Rules, &Actor),
    delivery: &Delivery,
    found: &Found,
    next_at: Time,
) -> Result<(), Error> {
    let Some(present) = store::of_machine(tx, &delivery.machine_id)? else { return Ok(()) };
    learn_host(tx, &present, found.host_id.as_deref())?;
    let hindrances = found.hindrances.join("\n");
    // What was done although the machine had this state before undoes a change that somebody made there.
    if present.applied.as_deref() == Some(found.applied.as_str()) && !found.done.is_empty() {
        let text = notice_texts::drift(present.machine.as_str(), &found.done.join("; "));
        tell(tx, rules, &format!("drift {} {}", present.machine_id, tx.now), text)?;
        store::count_drift(tx, &present.machine)?;
    }
    let is_news =
        !found.done.is_empty() || present.hindrances != found.hindrances || present.failure.is_some();
    if is_news {
        let event = about(&present.machine, Kind::DeliveryConfirmed, actor);
        let event = event.maybe("done", Some(found.done.join("; ")).filter(|text| !text.is_empty()));
        audit::append(
            tx,
            &event.maybe("left", Some(found.hindrances.join("; ")).filter(|text| !text.is_empty())),
        )?;
    }
    if present.leaving && delivery.leaving && !found.has_to_lose {
        store::remove(tx, &present.machine_id)?;
        audit::append(tx, &about(&present.machine, Kind::DeliveryEnded, actor))?;
        return Ok(());
    }
    store::set_given(tx, &present.machine_id, &found.given, &found.ended)?;
    store::set_confirmed(tx, &present.machine_id, (&found.applied, &hindrances), next_at, found.has_to_lose)?;
    Ok(())
}

/// Records that a pass failed, and what it found and did. The first failure of a kind gets an event; repetitions do not,
/// unless something was done.
///
/// # Errors
/// The database failed.
pub fn failed(
    tx: &Tx<'_>,
    (rules, actor): (&Rules, &Actor),
    delivery: &Delivery,
    (failure, found): (&Failure, Option<&Found>),
    next_at: Time,
) -> Result<(), Error> {
    let Some(present) = store::of_machine(tx, &delivery.machine_id)? else { return Ok(()) };
    let failures = present.failures.saturating_add(1);
    if failure.kind.is_told(failures) {
        let text =
            notice_texts::delivery_failed(present.machine.as_str(), &failure.detail, failure.kind.fix());
        tell(tx, rules, &format!("delivery {} {}", present.machine_id, failure.kind.as_str()), text)?;
    }
    let done = found.map(|found| found.done.join("; ")).filter(|text| !text.is_empty());
    if done.is_some() || present.failure.as_ref().is_none_or(|(kind, _, _)| *kind != failure.kind) {
        let event =
            about(&present.machine, Kind::DeliveryFailed, actor).detail("failure", failure.kind.as_str());
        audit::append(tx, &event.detail("detail", &failure.detail).maybe("done", done))?;
    }
    if let Some(found) = found {
        store::set_given(tx, &present.machine_id, &found.given, &found.ended)?;
    }
    let hindrances = found.map_or(present.hindrances, |found| found.hindrances.clone()).join("\n");
    let failure = (failure.kind, failure.detail.as_str());
    Ok(store::set_failed(tx, &present.machine_id, failure, &hindrances, next_at)?)
}

/// Tells the chat.
fn tell(tx: &Tx<'_>, rules: &Rules, subject: &str, text: String) -> Result<(), Error> {
    let about = About { subject, worth: Worth::Alarm, repeated: Repeated::Dropped, quota: None };
    notifications::notice(tx, rules, about, text).map_err(|error| match error {
        logins::Error::Db(error) => Error::Db(error),
        error => Error::Notice(error.to_string()),
    })?;
    Ok(())
}

/// Records that a machine should have another state than the one that was confirmed, and which keys it may have from
/// now on: before it is reached, so that a crash on the way forgets none.
///
/// # Errors
/// The database failed.
pub fn begun(
    tx: &Tx<'_>,
    machine_id: &str,
    given: &BTreeMap<UserName, BTreeSet<String>>,
) -> Result<(), db::Error> {
    store::set_unconfirmed(tx, machine_id)?;
    store::add_given(tx, machine_id, given)
}

/// Records since when machines should have another state.
///
/// # Errors
/// The database failed.
pub fn differ(tx: &Tx<'_>, machines: &[String]) -> Result<(), db::Error> {
    machines.iter().try_for_each(|machine| store::set_differs(tx, machine))
}

fn learn_host(tx: &Tx<'_>, delivery: &Delivery, host_id: Option<&str>) -> Result<(), Error> {
    let (None, Some(host_id)) = (&delivery.host_id, host_id) else { return Ok(()) };
    if let Some((_, other)) = store::holder_of_host(tx, host_id)? {
        return Err(Error::SameHost(delivery.machine.to_string(), other.to_string()));
    }
    Ok(store::set_host(tx, &delivery.machine_id, host_id)?)
}

fn about(machine: &MachineName, kind: Kind, actor: &Actor) -> Event {
    Event { machine: Some(machine.clone()), ..Event::new(kind, actor.clone()) }
}
