//! Actions on how a machine is reached and recognised. A machine in quarantine reports host keys that are not those
//! that are pinned for it. Only `machine set` ends that.

use kbmfa_proto::names::MachineName;

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::{self, Tx};
use crate::logins::store::notices::{About, Repeated, Worth};
use crate::logins::{self, Rules, notice_texts, notifications};
use crate::machines::caller::Caller;
use crate::machines::host_keys::report::{Meaning, judge};
use crate::machines::host_keys::store::{self, Quarantine};
use crate::machines::host_keys::{Change, Fingerprint, HostKey, Reach, Refused, distinct, words};
use crate::machines::{Error, service};

/// What a change would do.
#[derive(Debug)]
pub struct Plan {
    /// How the machine is reached and recognised.
    pub before: Reach,
    /// How it would be.
    pub after: Reach,
    /// The quarantine that the change would end.
    pub ends: Option<Quarantine>,
}

/// Changes a machine's address, port or pinned host keys; returns how it is reached now. Keys that are named end a
/// quarantine, also if they are those that were pinned before.
///
/// # Errors
/// [`Error::NoSuchMachine`], [`Error::OnlyClaimed`], [`Error::Reach`].
pub fn set(tx: &Tx<'_>, actor: &Actor, name: &MachineName, change: &Change) -> Result<Reach, Error> {
    let Plan { before, after, ends } = plan(tx, name, change)?;
    if before == after && ends.is_none() {
        return Ok(after);
    }
    let machine = service::find(tx, name)?;
    write(tx, &machine.id, &before, &after)?;
    if ends.is_some() {
        store::end_quarantine(tx, &machine.id)?;
    }
    let event = Event::new(Kind::MachineChanged, actor.clone())
        .machine(name)
        .detail("before", before.place())
        .detail("after", after.place())
        .list("keys-before", &before.fingerprints())
        .list("keys-after", &after.fingerprints());
    audit::append(tx, &event.maybe("quarantine", ends.map(|_| "ended")))?;
    Ok(after)
}

/// What the change would do. Only reads.
///
/// # Errors
/// Those of [`set`].
pub fn plan(tx: &Tx<'_>, name: &MachineName, change: &Change) -> Result<Plan, Error> {
    service::refuse_claimed(name)?;
    let machine = service::find(tx, name)?;
    let before = store::reach(tx, &machine.id)?;
    let quarantine = store::quarantine(tx, &machine.id)?;
    let mut after = change.of(&before)?;
    let reported = quarantine.iter().flat_map(|found| &found.reported);
    complete(&mut after.host_keys, &before.host_keys.iter().chain(reported).collect::<Vec<_>>());
    check(tx, name, &after)?;
    Ok(Plan { before, after, ends: quarantine.filter(|_| !change.host_keys.is_empty()) })
}

/// Takes the lines of keys of which only the fingerprint is named from keys that are known.
fn complete(keys: &mut [HostKey], known: &[&HostKey]) {
    for key in keys.iter_mut().filter(|key| key.line.is_none()) {
        let mut same = known.iter().filter(|known| known.fingerprint == key.fingerprint);
        key.line = same.find_map(|known| known.line.clone());
    }
}

/// Takes a machine's report of its own host keys. The first one pins them. A later one never changes a pin: other keys,
/// or another machine's, put the machine into quarantine, and people are told.
///
/// # Errors
/// What the database says.
pub(super) fn reported(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    keys: Vec<HostKey>,
) -> Result<(), logins::Error> {
    let id = &caller.machine_id;
    let pinned = store::reach(tx, id)?.host_keys;
    if let Some(other) = anothers(tx, caller, &keys)? {
        return isolate(tx, rules, caller, &pinned, keys, Some(&other));
    }
    match judge(&pinned, keys) {
        // A machine that is in quarantine already is one whose first report was refused.
        Meaning::First(keys) if keys.is_empty() || store::quarantine(tx, id)?.is_some() => Ok(()),
        Meaning::First(keys) => {
            for key in &keys {
                store::pin(tx, id, key)?;
            }
            let event = Event::new(Kind::MachineChanged, Actor::machine(&caller.name)).machine(&caller.name);
            audit::append(tx, &event.detail("keys-before", "-").detail("keys-after", words(&keys)))?;
            Ok(())
        }
        Meaning::Same(learned) => Ok(store::learn(tx, id, &learned)?),
        Meaning::Other(keys) => isolate(tx, rules, caller, &pinned, keys, None),
    }
}

/// The first of these keys that is pinned for another machine.
fn anothers(
    tx: &Tx<'_>,
    caller: &Caller,
    keys: &[HostKey],
) -> Result<Option<(Fingerprint, MachineName)>, db::Error> {
    for key in keys {
        if let Some(other) = store::holder(tx, &key.fingerprint)?.filter(|other| *other != caller.name) {
            return Ok(Some((key.fingerprint.clone(), other)));
        }
    }
    Ok(None)
}

/// Puts a machine into quarantine. People are told when it begins, and not again when the reported keys change.
fn isolate(
    tx: &Tx<'_>,
    rules: &Rules,
    caller: &Caller,
    pinned: &[HostKey],
    reported: Vec<HostKey>,
    other: Option<&(Fingerprint, MachineName)>,
) -> Result<(), logins::Error> {
    let reported = distinct(reported);
    let before = store::quarantine(tx, &caller.machine_id)?;
    if before.as_ref().is_some_and(|before| before.reported == reported) {
        return Ok(());
    }
    let since = before.as_ref().map_or(tx.now, |before| before.since);
    let quarantine = Quarantine { since, reported };
    store::set_quarantine(tx, &caller.machine_id, &quarantine)?;
    let (name, told) = (&caller.name, words(&quarantine.reported));
    log::warn!("machine {name} reports other host keys than its own: {told}");
    if before.is_some() {
        return Ok(());
    }
    let event = Event::new(Kind::MachineQuarantined, Actor::machine(name)).machine(name);
    let event = event.detail("pinned", words(pinned)).detail("reported", &told);
    audit::append(tx, &event.maybe("key-of", other.map(|(_, machine)| machine)))?;
    let other = other.map(|(key, machine)| (key.as_str(), machine.as_str()));
    let text = notice_texts::quarantined(name.as_str(), &words(pinned), &told, other);
    // Each quarantine is told: the next one begins only after somebody has ended this one.
    let subject = format!("quarantine {} {}", caller.machine_id, tx.now);
    let about = About { subject: &subject, worth: Worth::Alarm, repeated: Repeated::Dropped, quota: None };
    notifications::notice(tx, rules, about, text)?;
    Ok(())
}

/// Whether the machine may be reached and recognised like that: no other one is.
pub(super) fn check(tx: &Tx<'_>, name: &MachineName, reach: &Reach) -> Result<(), Error> {
    if let Some(endpoint) = &reach.endpoint
        && let Some(other) = store::at(tx, endpoint)?.filter(|other| other != name)
    {
        return Err(Refused::AddressTaken(endpoint.clone(), other).into());
    }
    for key in &reach.host_keys {
        if let Some(other) = store::holder(tx, &key.fingerprint)?.filter(|other| other != name) {
            return Err(Refused::HostKeyTaken(key.fingerprint.clone(), other).into());
        }
    }
    Ok(())
}

/// Records how the machine is reached, and pins these keys in place of all others.
pub(super) fn write(tx: &Tx<'_>, machine_id: &str, before: &Reach, after: &Reach) -> Result<(), db::Error> {
    if let Some(endpoint) = &after.endpoint {
        store::set_endpoint(tx, machine_id, endpoint)?;
    }
    if before.host_keys != after.host_keys {
        store::forget(tx, machine_id)?;
        for key in &after.host_keys {
            store::pin(tx, machine_id, key)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{Fixture, fixture};
    use crate::logins::store::notices;
    use crate::machines::host_keys::HostKey;
    use crate::usecases::machines;
    use crate::usecases::testing::rules;
    use std::time::Duration;

    fn name(text: &str) -> MachineName {
        text.parse().unwrap()
    }

    fn change(address: Option<&str>, keys: &[&str]) -> Change {
        let key = |c: &&str| HostKey {
            fingerprint: format!("SHA256:{}", c.repeat(43)).parse().unwrap(),
            line: None,
        };
        Change {
            address: address.map(|text| text.parse().unwrap()),
            port: None,
            host_keys: keys.iter().map(key).collect(),
        }
    }

    fn set_on(fixture: &Fixture, machine: &str, change: Change) -> Result<Reach, Error> {
        let machine = name(machine);
        fixture.db.write_blocking("test", move |tx| set(tx, &Actor::new("console:root"), &machine, &change))
    }

    fn two_machines() -> Fixture {
        let fixture = fixture();
        let added = fixture.db.write_blocking("test", |tx| {
            machines::add(tx, &Actor::new("console:root"), &name("web1"), &[])?;
            machines::add(tx, &Actor::new("console:root"), &name("web2"), &[])
        });
        added.unwrap();
        fixture
    }

    #[test]
    fn two_machines_have_neither_one_address_nor_one_host_key() {
        let fixture = two_machines();
        set_on(&fixture, "web1", change(Some("192.0.2.7"), &["A"])).unwrap();
        let taken = set_on(&fixture, "web2", change(Some("::ffff:192.0.2.7"), &["Q"])).unwrap_err();
        assert_eq!(taken.to_string(), "192.0.2.7 is the address of machine web1");
        let taken = set_on(&fixture, "web2", change(None, &["A"])).unwrap_err();
        assert!(matches!(taken, Error::Reach(Refused::HostKeyTaken(..))), "{taken}");
        let other = Change { port: Some(2222), ..change(Some("192.0.2.7"), &["Q"]) };
        assert_eq!(set_on(&fixture, "web2", other).unwrap().place(), "[192.0.2.7]:2222");
    }

    #[test]
    fn a_removed_machine_leaves_its_address_and_its_keys_to_another() {
        let fixture = two_machines();
        let reach = change(Some("web.example.com"), &["A", "Q"]);
        let first = set_on(&fixture, "web1", reach.clone()).unwrap();
        let removed = fixture.db.write_blocking("test", |tx| {
            machines::remove(tx, &rules(), &Actor::new("console:root"), &name("web1"))
        });
        removed.unwrap();
        assert_eq!(set_on(&fixture, "web2", reach).unwrap(), first);
    }

    #[test]
    fn new_host_keys_replace_all_old_ones_and_free_them() {
        let fixture = two_machines();
        set_on(&fixture, "web1", change(None, &["A", "Q"])).unwrap();
        let after = set_on(&fixture, "web1", change(None, &["Q", "g"])).unwrap();
        let id = fixture.db.read_blocking(|tx| service::find(tx, &name("web1"))).unwrap().id;
        assert_eq!(fixture.db.read_blocking(|tx| store::reach(tx, &id)).unwrap(), after);
        set_on(&fixture, "web2", change(None, &["A"])).unwrap();
        assert!(set_on(&fixture, "web2", change(None, &["g"])).is_err());
    }

    /// A key of this algorithm, made from one byte.
    fn host_key(algorithm: &str, byte: u8) -> HostKey {
        let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let blob = [field(algorithm.as_bytes()), field(&[byte; 32])].concat();
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, blob);
        HostKey::read(&format!("{algorithm} {encoded}")).unwrap()
    }

    fn ed(byte: u8) -> HostKey {
        host_key("ssh-ed25519", byte)
    }

    /// The machine reports these keys. Returns its pinned ones, and those of its quarantine.
    fn report(fixture: &Fixture, machine: &str, keys: Vec<HostKey>) -> (Vec<HostKey>, Vec<HostKey>) {
        let machine = name(machine);
        let reported_by = move |tx: &Tx<'_>| {
            let found = service::find(tx, &machine)?;
            let caller = Caller { machine_id: found.id, name: machine.clone(), login: None };
            reported(tx, &rules(), &caller, keys)?;
            let quarantine = store::quarantine(tx, &caller.machine_id)?;
            let told = quarantine.map(|found| found.reported).unwrap_or_default();
            Ok::<_, crate::usecases::Error>((store::reach(tx, &caller.machine_id)?.host_keys, told))
        };
        fixture.db.write_blocking("test", reported_by).unwrap()
    }

    fn count(fixture: &Fixture, kind: &str) -> usize {
        use crate::audit::store::search::{Filter, search};
        let filter = Filter { kinds: vec![kind.parse().unwrap()], limit: 99, ..Filter::default() };
        fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap().len()
    }

    #[test]
    fn only_the_first_report_of_a_machine_pins_and_a_later_one_isolates_it() {
        let fixture = two_machines();
        let (own, other) = (vec![ed(1)], vec![ed(2)]);
        assert_eq!(report(&fixture, "web1", own.clone()), (own.clone(), Vec::new()));
        assert_eq!(report(&fixture, "web1", own.clone()), (own.clone(), Vec::new()));
        assert_eq!(count(&fixture, "machine.changed"), 1);
        assert_eq!(report(&fixture, "web1", other.clone()), (own.clone(), other.clone()));
        assert_eq!(report(&fixture, "web1", vec![ed(3)]), (own.clone(), vec![ed(3)]), "the last report");
        assert_eq!(report(&fixture, "web1", own.clone()), (own.clone(), vec![ed(3)]), "a person ends it");
        assert_eq!(count(&fixture, "machine.quarantined"), 1, "told once");
        let told =
            fixture.db.read_blocking(|tx| notices::after(tx, tx.now.minus(Duration::from_secs(60)))).unwrap();
        let [(_, notice)] = told.as_slice() else { panic!("{told:?}") };
        let expected = format!("reports other host keys than its own: `{}`", ed(2).fingerprint);
        assert!(notice.text.contains(&expected), "{}", notice.text);
        assert_eq!(fixture.db.read_blocking(store::count_quarantined).unwrap(), 1);
    }

    #[test]
    fn named_host_keys_end_a_quarantine_also_if_they_are_the_old_ones() {
        let fixture = two_machines();
        let bare = |key: &HostKey| HostKey::from(key.fingerprint.clone());
        let (own, other) = (ed(1), ed(2));
        report(&fixture, "web1", vec![own.clone()]);
        for (pinned, reported) in [(&own, &other), (&other, &own)] {
            report(&fixture, "web1", vec![reported.clone()]);
            let address = change(Some("192.0.2.7"), &[]);
            set_on(&fixture, "web1", Change { port: Some(2222), ..address }).unwrap();
            assert_eq!(fixture.db.read_blocking(store::count_quarantined).unwrap(), 1);
            let same = Change { host_keys: vec![bare(pinned)], ..Change::default() };
            set_on(&fixture, "web1", same).unwrap();
            assert_eq!(fixture.db.read_blocking(store::count_quarantined).unwrap(), 0);
            report(&fixture, "web1", vec![reported.clone()]);
            let new = Change { host_keys: vec![bare(reported)], ..Change::default() };
            let after = set_on(&fixture, "web1", new).unwrap();
            assert_eq!(after.host_keys, std::slice::from_ref(reported), "its line is that of the report");
            let (after, quarantine) = report(&fixture, "web1", vec![reported.clone()]);
            assert_eq!((after.as_slice(), quarantine.len()), (std::slice::from_ref(reported), 0));
        }
        assert_eq!(count(&fixture, "machine.quarantined"), 4, "each one is told");
    }

    #[test]
    fn a_machine_that_reports_another_one_s_key_pins_nothing_and_is_isolated() {
        let fixture = two_machines();
        report(&fixture, "web1", vec![ed(1)]);
        let clone = vec![ed(1), host_key("ssh-rsa", 5)];
        let (pinned, quarantine) = report(&fixture, "web2", clone);
        assert_eq!((pinned.len(), quarantine.len()), (0, 2));
        let (pinned, quarantine) = report(&fixture, "web2", vec![ed(7)]);
        assert_eq!((pinned.len(), quarantine.len()), (0, 2), "it was refused once, so a person has to look");
        let (pinned, quarantine) = report(&fixture, "web1", vec![ed(1)]);
        assert_eq!((pinned.len(), quarantine.len()), (1, 0));
        let removed = fixture.db.write_blocking("test", |tx| {
            machines::remove(tx, &rules(), &Actor::new("console:root"), &name("web2"))
        });
        removed.unwrap();
        assert_eq!(fixture.db.read_blocking(store::count_quarantined).unwrap(), 0);
    }
}
