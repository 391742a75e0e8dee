//! Checks a roster for itself: entries that contradict each other, and names that nobody has.

use std::collections::BTreeMap;

use super::{Fault, Id, Lines, Part, Roster};
use crate::machines::host_keys::{Endpoint, SSH_PORT};
use crate::near::did_you_mean;

/// The faults of a roster that no single entry shows. `known` are the names of entries that could be read at
/// all, so that one faulty entry does not make others faulty.
pub fn faults(roster: &Roster, lines: &Lines, manages: &[Part], known: &Known) -> Vec<Fault> {
    let line = |id: &Id| lines.get(id).copied().unwrap_or_default();
    let mut faults = doubles(roster, &line);
    let mut refer = |at: usize, part: Part, name: &str| {
        if manages.contains(&part) && !known.has(part, name) {
            let near = did_you_mean(name, known.of(part));
            faults.push((at, format!("the file has no {} {name}{near}", part.one())));
        }
    };
    for machine in &roster.machines {
        let at = line(&Id::Machine(machine.name.clone()));
        machine.pools.iter().for_each(|pool| refer(at, Part::Pools, pool.as_str()));
    }
    for grant in &roster.grants {
        let at = line(&grant.id());
        refer(at, Part::Employees, grant.email.as_str());
        refer(at, Part::Pools, grant.pool.as_str());
    }
    for key in &roster.keys {
        refer(line(&key.id()), Part::Employees, key.email.as_str());
    }
    faults
}

/// The names of pools and employees that a file has, also of those with another fault.
#[derive(Debug, Default)]
pub struct Known(Vec<(Part, String)>);

impl Known {
    /// Notes a name.
    pub fn add(&mut self, part: Part, name: &str) {
        self.0.push((part, name.to_owned()));
    }

    /// Sorts the names; call it before the first question.
    pub fn sort(&mut self) {
        self.0.sort();
        self.0.dedup();
    }

    fn has(&self, part: Part, name: &str) -> bool {
        self.0.binary_search_by(|(of, known)| (*of, known.as_str()).cmp(&(part, name))).is_ok()
    }

    fn of(&self, part: Part) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(of, _)| *of == part).map(|(_, name)| name.as_str())
    }
}

/// Values that two entries have, and only one may.
fn doubles(roster: &Roster, line: &impl Fn(&Id) -> usize) -> Vec<Fault> {
    let mut once = Once::default();
    for machine in &roster.machines {
        let at = line(&Id::Machine(machine.name.clone()));
        if let Some(address) = &machine.address {
            let port = machine.port.unwrap_or(SSH_PORT);
            once.take(at, "address", &Endpoint { address: address.clone(), port }.to_string());
        }
        machine.host_keys.iter().for_each(|key| once.take(at, "host key", &key.fingerprint.to_string()));
    }
    for employee in &roster.employees {
        let at = line(&Id::Employee(employee.email.clone()));
        once.take(at, "Unix name", employee.unix_name.as_str());
        if let Some(uid) = employee.uid {
            once.take(at, "uid", &uid.to_string());
        }
        if let Some(name) = &employee.keybase_name {
            once.take(at, "Keybase name", name.as_str());
        }
    }
    for key in &roster.keys {
        once.take(line(&key.id()), "device", &format!("{} of {}", key.device, key.email));
    }
    once.faults
}

/// Values that were seen, each with its first line.
#[derive(Default)]
struct Once {
    seen: BTreeMap<(&'static str, String), usize>,
    faults: Vec<Fault>,
}

impl Once {
    fn take(&mut self, at: usize, what: &'static str, value: &str) {
        let first = *self.seen.entry((what, value.to_owned())).or_insert(at);
        if first != at {
            let (first, at) = (first.min(at), first.max(at));
            self.faults.push((at, format!("{what} {value} is that of the entry on line {first} already")));
        }
    }
}
