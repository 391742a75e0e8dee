//! Actions on how a machine is reached and recognised.

use kbmfa_proto::names::MachineName;

use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
use crate::machines::host_keys::{Change, Reach, Refused, store};
use crate::machines::{Error, service};

/// Changes a machine's address, port or pinned host keys; returns how it is reached now.
///
/// # Errors
/// [`Error::NoSuchMachine`], [`Error::OnlyClaimed`], [`Error::Reach`].
pub fn set(tx: &Tx<'_>, actor: &Actor, name: &MachineName, change: &Change) -> Result<Reach, Error> {
    let (before, after) = plan(tx, name, change)?;
    if before == after {
        return Ok(after);
    }
    let machine = service::find(tx, name)?;
    if let Some(endpoint) = &after.endpoint {
        store::set_endpoint(tx, &machine.id, endpoint)?;
    }
    if before.host_keys != after.host_keys {
        store::forget(tx, &machine.id)?;
        for key in &after.host_keys {
            store::pin(tx, &machine.id, key)?;
        }
    }
    let event = Event::new(Kind::MachineChanged, actor.clone())
        .machine(name)
        .detail("before", before.place())
        .detail("after", after.place())
        .list("keys-before", &before.fingerprints())
        .list("keys-after", &after.fingerprints());
    audit::append(tx, &event)?;
    Ok(after)
}

/// How the machine is reached, and how it would be after the change. Only reads.
///
/// # Errors
/// Those of [`set`].
pub fn plan(tx: &Tx<'_>, name: &MachineName, change: &Change) -> Result<(Reach, Reach), Error> {
    service::refuse_claimed(name)?;
    let machine = service::find(tx, name)?;
    let before = store::reach(tx, &machine.id)?;
    let after = change.of(&before)?;
    if let Some(endpoint) = &after.endpoint
        && let Some(other) = store::at(tx, endpoint)?.filter(|other| other != name)
    {
        return Err(Refused::AddressTaken(endpoint.clone(), other).into());
    }
    for key in &after.host_keys {
        if let Some(other) = store::holder(tx, &key.fingerprint)?.filter(|other| other != name) {
            return Err(Refused::HostKeyTaken(key.fingerprint.clone(), other).into());
        }
    }
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{Fixture, fixture};
    use crate::machines::host_keys::HostKey;
    use crate::usecases::machines;
    use crate::usecases::testing::rules;

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
}
