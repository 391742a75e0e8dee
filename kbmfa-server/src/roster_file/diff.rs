//! What has to change so that the database has the roster of a file.

use kbmfa_proto::names::PoolName;
use std::collections::{BTreeMap, BTreeSet};

use super::change::Change;
use super::{Employee, Grant, Id, Key, Machine, Part, Pool, Roster};
use crate::clock::Time;
use crate::employees::Email;
use crate::grants;
use crate::machines::host_keys::{Address, Endpoint, SSH_PORT};

/// Whether what the file does not have is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The file is the whole of the parts that it manages.
    Whole,
    /// Only what is not there yet is added. Nothing that is there changes.
    Add,
}

/// The roster of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// What counts.
    pub roster: Roster,
    /// Fingerprints of keys that wait for an approval, with their owners.
    pub pending: BTreeMap<String, Email>,
}

/// The changes, in an order in which they can be made. Entries that only differ in what never changes are
/// faults.
///
/// # Errors
/// The entries with faults.
pub fn changes(
    current: &Current,
    wanted: &Roster,
    (manages, mode): (&[Part], Mode),
    now: Time,
) -> Result<Vec<Change>, Vec<(Id, String)>> {
    let mut diff = Diff { changes: Vec::new(), faults: Vec::new(), whole: mode == Mode::Whole };
    let managed = |part| manages.contains(&part);
    let renamed = if managed(Part::Employees) {
        diff.employees(&current.roster.employees, &wanted.employees)
    } else {
        BTreeMap::new()
    };
    if managed(Part::Pools) {
        diff.pools(&current.roster.pools, &wanted.pools);
    }
    if managed(Part::Machines) {
        diff.machines(&current.roster.machines, &wanted.machines);
    }
    let gone = diff.gone();
    let email = |email: &Email| renamed.get(email).unwrap_or(email).clone();
    let grants = current.roster.grants.iter();
    let grants: Vec<Grant> =
        grants.map(|grant| Grant { email: email(&grant.email), ..grant.clone() }).collect();
    diff.grants(&grants, &wanted.grants, (managed(Part::Grants), &gone), now);
    let keys = current.roster.keys.iter();
    let keys: Vec<Key> = keys.map(|key| Key { email: email(&key.email), ..key.clone() }).collect();
    let pending = |key: &Key| current.pending.get(&key.fingerprint).map(&email);
    diff.keys(&keys, &wanted.keys, (managed(Part::Keys), &gone), pending);
    if !diff.faults.is_empty() {
        return Err(diff.faults);
    }
    // Stable, so that the changes of one kind stay sorted by name.
    diff.changes.sort_by_key(Change::order);
    Ok(diff.changes)
}

struct Diff {
    changes: Vec<Change>,
    faults: Vec<(Id, String)>,
    whole: bool,
}

impl Diff {
    /// Compares the employees. Returns the new addresses, by the old ones.
    fn employees(&mut self, current: &[Employee], wanted: &[Employee]) -> BTreeMap<Email, Email> {
        let by_email: BTreeMap<_, _> = current.iter().map(|employee| (&employee.email, employee)).collect();
        let by_name: BTreeMap<_, _> =
            current.iter().map(|employee| (&employee.unix_name, employee)).collect();
        let is_wanted: BTreeSet<_> = wanted.iter().map(|employee| &employee.email).collect();
        let (mut renamed, mut kept) = (BTreeMap::new(), BTreeSet::new());
        for after in wanted {
            // A Unix name is never given to another person, so somebody of that name has a new address.
            let same_name = by_name.get(&after.unix_name).filter(|before| !is_wanted.contains(&before.email));
            let Some(before) = by_email.get(&after.email).or(same_name.filter(|_| self.whole)) else {
                self.changes.push(Change::AddEmployee(after.clone()));
                continue;
            };
            kept.insert(&before.email);
            if before.email != after.email {
                renamed.insert(before.email.clone(), after.email.clone());
            }
            self.employee(before, after);
        }
        if self.whole {
            let gone = current.iter().filter(|employee| !kept.contains(&employee.email));
            self.changes.extend(gone.map(|employee| Change::RemoveEmployee(employee.email.clone())));
        }
        renamed
    }

    fn employee(&mut self, before: &Employee, after: &Employee) {
        let mut never = |what: String| self.faults.push((Id::Employee(after.email.clone()), what));
        if before.unix_name != after.unix_name {
            let (is, wanted) = (&before.unix_name, &after.unix_name);
            never(format!(
                "{} is {is} on every machine, and a Unix name never changes: not to {wanted}",
                after.email
            ));
        }
        if let (Some(is), Some(_)) = (before.uid.filter(|_| before.uid != after.uid), after.uid) {
            never(format!("{} has uid {is}, which never changes", after.email));
        }
        if !self.whole {
            return;
        }
        let same_state = Employee { uid: after.uid.or(before.uid), state: before.state, ..after.clone() };
        if *before != same_state {
            self.changes.push(Change::ChangeEmployee(before.clone(), same_state));
        }
        if before.state != after.state {
            self.changes.push(Change::SetState(after.email.clone(), after.state));
        }
    }

    fn pools(&mut self, current: &[Pool], wanted: &[Pool]) {
        let known: BTreeMap<_, _> = current.iter().map(|pool| (&pool.name, pool)).collect();
        let kept: BTreeSet<_> = wanted.iter().map(|pool| &pool.name).collect();
        for after in wanted {
            match known.get(&after.name) {
                None => self.changes.push(Change::AddPool(after.clone())),
                Some(before) if self.whole && before.label != after.label => {
                    let (before, new) = (before.label.clone(), after.label.clone());
                    self.changes.push(Change::LabelPool(after.name.clone(), before, new));
                }
                Some(_) => {}
            }
        }
        if self.whole {
            let gone = current.iter().filter(|pool| !kept.contains(&pool.name));
            self.changes.extend(gone.map(|pool| Change::RemovePool(pool.name.clone())));
        }
    }

    fn machines(&mut self, current: &[Machine], wanted: &[Machine]) {
        let known: BTreeMap<_, _> = current.iter().map(|machine| (&machine.name, machine)).collect();
        let kept: BTreeSet<_> = wanted.iter().map(|machine| &machine.name).collect();
        let gone: BTreeSet<PoolName> = self
            .changes
            .iter()
            .filter_map(
                |change| if let Change::RemovePool(name) = change { Some(name.clone()) } else { None },
            )
            .collect();
        let at = |place: &Machine| {
            // What is only added may be known under another name.
            let same = |machine: &&Machine| place.address.is_some() && endpoint(machine) == endpoint(place);
            current.iter().filter(|_| !self.whole).find(same)
        };
        let pairs: Vec<_> = wanted
            .iter()
            .map(|after| (known.get(&after.name).copied().or_else(|| at(after)), after))
            .collect();
        for (before, after) in pairs {
            match before {
                None => self.changes.push(Change::AddMachine(after.clone())),
                Some(before) => self.machine(before, after, &gone),
            }
        }
        if self.whole {
            let gone = current.iter().filter(|machine| !kept.contains(&machine.name));
            self.changes.extend(gone.map(|machine| Change::RemoveMachine(machine.name.clone())));
        }
    }

    fn machine(&mut self, before: &Machine, after: &Machine, gone: &BTreeSet<PoolName>) {
        let name = &before.name;
        let added = after.pools.iter().filter(|pool| !before.pools.contains(pool));
        self.changes.extend(added.map(|pool| Change::PutIn(name.clone(), pool.clone())));
        if !self.whole {
            return;
        }
        // A pool that is removed takes its machines' membership along.
        let left = before.pools.iter().filter(|pool| !after.pools.contains(pool) && !gone.contains(pool));
        self.changes.extend(left.map(|pool| Change::TakeOut(name.clone(), pool.clone())));
        let (was, is) = (endpoint(before), endpoint(after));
        if let Some(is) = is.filter(|is| was.as_ref() != Some(is)) {
            self.changes.push(Change::MoveMachine(name.clone(), was, is));
        }
        let same = before
            .host_keys
            .iter()
            .map(|key| &key.fingerprint)
            .eq(after.host_keys.iter().map(|key| &key.fingerprint));
        if !after.host_keys.is_empty() && !same {
            let (before, after) = (before.host_keys.clone(), after.host_keys.clone());
            self.changes.push(Change::PinHostKeys(name.clone(), before, after));
        }
    }

    /// The pools and employees that are removed.
    fn gone(&self) -> BTreeSet<Id> {
        let gone = self.changes.iter().filter_map(|change| match change {
            Change::RemovePool(name) => Some(Id::Pool(name.clone())),
            Change::RemoveEmployee(email) => Some(Id::Employee(email.clone())),
            _ => None,
        });
        gone.collect()
    }

    /// Compares the grants. One that has ended counts for as little as one that is not there.
    fn grants(
        &mut self,
        current: &[Grant],
        wanted: &[Grant],
        (managed, gone): (bool, &BTreeSet<Id>),
        now: Time,
    ) {
        let is_live = |grant: &&Grant| grants::State::at(now, grant.until) == grants::State::Live;
        let known: BTreeMap<Id, &Grant> = current.iter().map(|grant| (grant.id(), grant)).collect();
        let mut kept = BTreeSet::new();
        for after in wanted.iter().filter(|_| managed).filter(is_live) {
            kept.insert(after.id());
            match known.get(&after.id()) {
                None => self.changes.push(Change::AddGrant(after.clone())),
                Some(before) if self.whole && *before != after => {
                    self.changes.push(Change::ChangeGrant((*before).clone(), after.clone()));
                }
                Some(_) => {}
            }
        }
        for grant in current {
            let (owner, pool) = (Id::Employee(grant.email.clone()), Id::Pool(grant.pool.clone()));
            let with = [owner, pool].into_iter().find(|id| gone.contains(id));
            if with.is_some() || managed && self.whole && !kept.contains(&grant.id()) {
                self.changes.push(Change::RemoveGrant(grant.clone(), with));
            }
        }
    }

    fn keys(
        &mut self,
        current: &[Key],
        wanted: &[Key],
        (managed, gone): (bool, &BTreeSet<Id>),
        pending: impl Fn(&Key) -> Option<Email>,
    ) {
        let known: BTreeMap<_, _> = current.iter().map(|key| (&key.fingerprint, key)).collect();
        let mut kept = BTreeSet::new();
        for after in wanted.iter().filter(|_| managed) {
            kept.insert(&after.fingerprint);
            match known.get(&after.fingerprint) {
                None => {
                    let waits = pending(after).is_some_and(|owner| owner == after.email);
                    let change = if waits { Change::ApproveKey } else { Change::AddKey };
                    self.changes.push(change(after.clone()));
                }
                Some(before) if before.email != after.email => {
                    let what = format!("this key belongs to {}; a key is one person's", before.email);
                    self.faults.push((after.id(), what));
                }
                Some(before) if self.whole && before.device != after.device => {
                    let what = format!("this key is recorded for {}, and that name stays", before.device);
                    self.faults.push((after.id(), what));
                }
                Some(_) => {}
            }
        }
        for key in current {
            let with = Some(Id::Employee(key.email.clone())).filter(|id| gone.contains(id));
            if with.is_some() || managed && self.whole && !kept.contains(&key.fingerprint) {
                self.changes.push(Change::RevokeKey(key.clone(), with));
            }
        }
    }
}

fn endpoint(machine: &Machine) -> Option<Endpoint> {
    let address: Address = machine.address.clone()?;
    Some(Endpoint { address, port: machine.port.unwrap_or(SSH_PORT) })
}
