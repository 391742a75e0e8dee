//! One difference between a file and the database, and what it takes to make it.

use kbmfa_proto::names::{KeybaseName, MachineName, PoolName};
use kbmfa_proto::text::SafeText;

use super::{Employee, Grant, Id, Key, Machine, Pool};
use crate::employees::{Email, State};
use crate::machines::host_keys::{Endpoint, HostKey};

/// One change, which one use case makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates a pool.
    AddPool(Pool),
    /// Changes a pool's label, from one to the other.
    LabelPool(PoolName, Option<SafeText>, Option<SafeText>),
    /// Removes a pool.
    RemovePool(PoolName),
    /// Adds a machine: a record, without a credential.
    AddMachine(Machine),
    /// Changes where a machine is.
    MoveMachine(MachineName, Option<Endpoint>, Endpoint),
    /// Replaces a machine's host keys.
    PinHostKeys(MachineName, Vec<HostKey>, Vec<HostKey>),
    /// Puts a machine into a pool.
    PutIn(MachineName, PoolName),
    /// Takes a machine out of a pool.
    TakeOut(MachineName, PoolName),
    /// Removes a machine and its credential.
    RemoveMachine(MachineName),
    /// Adds an employee.
    AddEmployee(Employee),
    /// Changes an employee's address, names or uid, from one to the other.
    ChangeEmployee(Employee, Employee),
    /// Suspends or resumes an employee.
    SetState(Email, State),
    /// Removes an employee.
    RemoveEmployee(Email),
    /// Adds a grant.
    AddGrant(Grant),
    /// Changes a grant's end or sudo profile, from one to the other.
    ChangeGrant(Grant, Grant),
    /// Removes a grant, perhaps because something else is removed.
    RemoveGrant(Grant, Option<Id>),
    /// Adds a key.
    AddKey(Key),
    /// Approves a key that is known and does not count yet.
    ApproveKey(Key),
    /// Revokes a key for ever, perhaps because its owner is removed.
    RevokeKey(Key, Option<Id>),
}

impl Change {
    /// The rank of the change among the others. New addresses of people come first, because the other changes
    /// name people by them. Removals come last, so that a login which the new roster allows is never refused in
    /// between. What has to wait for a removal is made after it.
    pub(super) fn order(&self) -> u8 {
        match self {
            Self::ChangeEmployee(before, after) if before.email != after.email => 0,
            Self::AddPool(_) => 1,
            Self::LabelPool(..) => 2,
            Self::AddMachine(_) => 3,
            Self::MoveMachine(..) => 4,
            Self::PinHostKeys(..) => 5,
            Self::PutIn(..) => 6,
            Self::AddEmployee(_) => 7,
            Self::ChangeEmployee(..) => 8,
            Self::SetState(..) => 9,
            Self::AddGrant(_) => 10,
            Self::ChangeGrant(..) => 11,
            Self::AddKey(_) => 12,
            Self::ApproveKey(_) => 13,
            Self::RemoveGrant(..) => 14,
            Self::RevokeKey(..) => 15,
            Self::RemoveEmployee(_) => 16,
            Self::TakeOut(..) => 17,
            Self::RemoveMachine(_) => 18,
            Self::RemovePool(_) => 19,
        }
    }

    /// The entry that it is about.
    pub fn id(&self) -> Id {
        match self {
            Self::AddPool(pool) => Id::Pool(pool.name.clone()),
            Self::LabelPool(name, ..) | Self::RemovePool(name) => Id::Pool(name.clone()),
            Self::AddMachine(machine) => Id::Machine(machine.name.clone()),
            Self::MoveMachine(name, ..)
            | Self::PinHostKeys(name, ..)
            | Self::PutIn(name, _)
            | Self::TakeOut(name, _)
            | Self::RemoveMachine(name) => Id::Machine(name.clone()),
            Self::AddEmployee(employee) | Self::ChangeEmployee(_, employee) => {
                Id::Employee(employee.email.clone())
            }
            Self::SetState(email, _) | Self::RemoveEmployee(email) => Id::Employee(email.clone()),
            Self::AddGrant(grant) | Self::ChangeGrant(_, grant) | Self::RemoveGrant(grant, _) => grant.id(),
            Self::AddKey(key) | Self::ApproveKey(key) | Self::RevokeKey(key, _) => key.id(),
        }
    }

    /// The entries without which it cannot be made.
    pub fn needs(&self) -> Vec<Id> {
        match self {
            Self::AddMachine(machine) => machine.pools.iter().cloned().map(Id::Pool).collect(),
            Self::PutIn(_, pool) => vec![Id::Pool(pool.clone())],
            Self::AddGrant(grant) | Self::ChangeGrant(_, grant) => {
                vec![Id::Employee(grant.email.clone()), Id::Pool(grant.pool.clone())]
            }
            Self::AddKey(key) => vec![Id::Employee(key.email.clone())],
            _ => Vec::new(),
        }
    }

    /// What kind of change it is, for people and programs.
    pub fn verb(&self) -> Verb {
        match self {
            Self::AddPool(_)
            | Self::AddMachine(_)
            | Self::AddEmployee(_)
            | Self::AddGrant(_)
            | Self::AddKey(_)
            | Self::PutIn(..) => Verb::Add,
            Self::RemovePool(_)
            | Self::TakeOut(..)
            | Self::RemoveMachine(_)
            | Self::RemoveEmployee(_)
            | Self::RemoveGrant(..)
            | Self::RevokeKey(..) => Verb::Remove,
            _ => Verb::Change,
        }
    }

    /// True if another change makes it as well.
    pub fn follows(&self) -> bool {
        matches!(self, Self::RemoveGrant(_, Some(_)) | Self::RevokeKey(_, Some(_)))
    }
}

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Something new.
    Add,
    /// Something becomes different.
    Change,
    /// Something goes.
    Remove,
}

impl Verb {
    /// The sign before a line of a diff.
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
        }
    }
}

/// A Keybase name for people.
pub(super) fn keybase_words(name: Option<&KeybaseName>) -> &str {
    name.map_or("-", KeybaseName::as_str)
}
