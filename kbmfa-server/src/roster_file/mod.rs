//! The roster as one TOML file: reads it, writes it, and says what differs from the database. Pure but for
//! [`service`].

pub mod change;
pub mod check;
pub mod diff;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod guard;
pub mod read;
pub mod service;
pub mod ssh_handler;
pub mod words;
pub mod write;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use kbmfa_proto::names::{KeybaseName, MachineName, PoolName, UserName};
use kbmfa_proto::text::SafeText;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::clock::Time;
use crate::employees::{Email, State};
use crate::grants::SudoProfile;
use crate::machines::host_keys::{Address, HostKey};
use crate::near::did_you_mean;

/// The version of the file's format.
pub const FORMAT: u64 = 1;

/// One kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Pools and their labels.
    Pools,
    /// Machines: where they are, their pools and host keys.
    Machines,
    /// Employees.
    Employees,
    /// Grants of pools to employees.
    Grants,
    /// Employees' keys.
    Keys,
}

impl Part {
    /// Every part, in the order of a file.
    pub const ALL: [Self; 5] = [Self::Pools, Self::Machines, Self::Employees, Self::Grants, Self::Keys];

    /// The name in `manages`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pools => "pools",
            Self::Machines => "machines",
            Self::Employees => "employees",
            Self::Grants => "grants",
            Self::Keys => "keys",
        }
    }

    /// The name of one entry.
    pub fn one(self) -> &'static str {
        match self {
            Self::Pools => "pool",
            Self::Machines => "machine",
            Self::Employees => "employee",
            Self::Grants => "grant",
            Self::Keys => "key",
        }
    }
}

/// A text that is not a [`Part`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no part {:?} of a roster{}; write pools, machines, employees, grants or keys", .0,
    did_you_mean(.0, Part::ALL.iter().map(|part| part.as_str())))]
pub struct UnknownPart(String);

impl FromStr for Part {
    type Err = UnknownPart;
    fn from_str(text: &str) -> Result<Self, UnknownPart> {
        let found = Self::ALL.into_iter().find(|part| part.as_str() == text);
        found.ok_or_else(|| UnknownPart(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// A text for people.
    pub label: Option<SafeText>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: MachineName,
    /// Where its sshd listens; `None` leaves the recorded address and port as they are.
    pub address: Option<Address>,
    /// The port there; `None` is that of ssh.
    pub port: Option<u16>,
    /// The pools that it is in, sorted.
    pub pools: Vec<PoolName>,
    /// Its host keys, sorted by fingerprint; empty leaves the pinned ones as they are.
    pub host_keys: Vec<HostKey>,
}

/// An employee who was not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Employee {
    /// The address that identifies them.
    pub email: Email,
    /// Full name.
    pub name: SafeText,
    /// Their Unix account.
    pub unix_name: UserName,
    /// Their uid; `None` leaves it to the server.
    pub uid: Option<u32>,
    /// Their Keybase name.
    pub keybase_name: Option<KeybaseName>,
    /// Active or suspended.
    pub state: State,
}

/// A grant that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The employee's address.
    pub email: Email,
    /// The pool.
    pub pool: PoolName,
    /// The sudo profile; `None` for no sudo.
    pub sudo: Option<SudoProfile>,
    /// When it ends; `None` for one without an end.
    pub until: Option<Time>,
}

/// A key that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The owner's address.
    pub email: Email,
    /// The computer that has it.
    pub device: SafeText,
    /// Algorithm and base64, encoded anew by us.
    pub line: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// A roster. Each list is sorted by the id of its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The pools.
    pub pools: Vec<Pool>,
    /// The machines.
    pub machines: Vec<Machine>,
    /// The employees.
    pub employees: Vec<Employee>,
    /// The grants.
    pub grants: Vec<Grant>,
    /// The keys.
    pub keys: Vec<Key>,
}

/// What identifies an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// A pool, by its name.
    Pool(PoolName),
    /// A machine, by its name.
    Machine(MachineName),
    /// An employee, by their address.
    Employee(Email),
    /// A grant, by the employee and the pool.
    Grant(Email, PoolName),
    /// A key, by its fingerprint.
    Key(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(name) => write!(f, "pool {name}"),
            Self::Machine(name) => write!(f, "machine {name}"),
            Self::Employee(email) => write!(f, "employee {email}"),
            Self::Grant(email, pool) => write!(f, "grant of pool {pool} to {email}"),
            Self::Key(fingerprint) => write!(f, "key {fingerprint}"),
        }
    }
}

impl Id {
    /// The kind of the entry.
    pub fn part(&self) -> Part {
        match self {
            Self::Pool(_) => Part::Pools,
            Self::Machine(_) => Part::Machines,
            Self::Employee(_) => Part::Employees,
            Self::Grant(..) => Part::Grants,
            Self::Key(_) => Part::Keys,
        }
    }
}

impl Roster {
    /// The ids of all entries, in the order of a file.
    pub fn ids(&self) -> Vec<Id> {
        let pools = self.pools.iter().map(|pool| Id::Pool(pool.name.clone()));
        let machines = self.machines.iter().map(|machine| Id::Machine(machine.name.clone()));
        let employees = self.employees.iter().map(|employee| Id::Employee(employee.email.clone()));
        let grants = self.grants.iter().map(Grant::id);
        let keys = self.keys.iter().map(Key::id);
        pools.chain(machines).chain(employees).chain(grants).chain(keys).collect()
    }

    /// Number of entries of this kind.
    pub fn count(&self, part: Part) -> usize {
        match part {
            Part::Pools => self.pools.len(),
            Part::Machines => self.machines.len(),
            Part::Employees => self.employees.len(),
            Part::Grants => self.grants.len(),
            Part::Keys => self.keys.len(),
        }
    }

    /// Sorts every list by id.
    pub(crate) fn sort(&mut self) {
        self.pools.sort_by(|one, other| one.name.cmp(&other.name));
        self.machines.sort_by(|one, other| one.name.cmp(&other.name));
        for machine in &mut self.machines {
            machine.pools.sort();
            machine.host_keys.sort_by_key(|key| key.fingerprint.to_string());
        }
        self.employees.sort_by(|one, other| one.email.cmp(&other.email));
        self.grants.sort_by_key(Grant::id);
        // Sorted by their owner, so that a file has them together.
        let order = |key: &Key| (key.email.clone(), key.device.clone(), key.fingerprint.clone());
        self.keys.sort_by_key(order);
    }
}

impl Grant {
    /// What identifies it.
    pub fn id(&self) -> Id {
        Id::Grant(self.email.clone(), self.pool.clone())
    }
}

impl Key {
    /// What identifies it.
    pub fn id(&self) -> Id {
        Id::Key(self.fingerprint.clone())
    }
}

/// The line of each entry in its file, counted from 1.
pub type Lines = BTreeMap<Id, usize>;

/// A fault in a file, with its line, counted from 1.
pub type Fault = (usize, String);

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterFile {
    /// The id of the server whose roster it is; `None` for one of any server.
    pub server: Option<String>,
    /// The parts that the file is the whole of. All others are left alone.
    pub manages: Vec<Part>,
    /// The entries.
    pub roster: Roster,
    /// Their lines.
    pub lines: Lines,
}
