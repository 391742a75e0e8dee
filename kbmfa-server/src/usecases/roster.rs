//! Makes the database's roster that of a file. Every change is a use case of its own, with its own audit event,
//! and either all of them are made or none.

#[cfg(test)]
mod tests;

use kbmfa_proto::key::PublicKey;
use std::collections::BTreeSet;

use super::employees::{self, Changes};
use super::grants::{self, Terms};
use super::{Error as AnyError, host_keys, keys, machines, pools};
use crate::audit::Actor;
use crate::db::{self, Tx, meta};
use crate::employees::ledger::Uids;
use crate::employees::store::Employee as Account;
use crate::employees::{Email, State};
use crate::keys::{Origin, Reason};
use crate::logins::Rules;
use crate::machines::host_keys::Change as ReachChange;
use crate::pools::service as found;
use crate::random;
use crate::roster_file::change::Change;
use crate::roster_file::diff::{self, Mode};
use crate::roster_file::{Employee, Grant, Id, Key, Machine, Part, Roster, guard, service};

/// What to make of the roster.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The server whose roster it is; `None` for one of any server.
    pub server: Option<String>,
    /// The parts of which it is the whole.
    pub manages: Vec<Part>,
    /// The roster.
    pub roster: Roster,
    /// Whether what it does not have is removed.
    pub mode: Mode,
    /// Number of removals that the operator has confirmed.
    pub confirmed: Option<usize>,
    /// True to make no change.
    pub dry_run: bool,
}

/// What was changed, or would be.
#[derive(Debug, Default)]
pub struct Applied {
    /// The changes.
    pub changes: Vec<Change>,
    /// Number of removals among them.
    pub removals: usize,
    /// True if the number of removals must be confirmed.
    pub must_confirm: bool,
    /// Number of waiting logins that were refused.
    pub refused: usize,
    /// Accounts of people who may not log in any more, and have open sessions.
    pub open: Vec<String>,
}

/// Why nothing was changed. The transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] random::NoRandomness),
    /// The file is of another server.
    #[error("the file is the roster of another server, whose id is {0}")]
    OtherServer(String),
    /// The faults, each with its entry.
    #[error("{}", .0.iter().map(|(id, what)| format!("{id}: {what}")).collect::<Vec<_>>().join("\n"))]
    Faulty(Vec<(Id, String)>),
    /// So many removals must be confirmed.
    #[error("{0} things would be removed; confirm that number")]
    Unconfirmed(usize),
    /// It was a dry run. This would have been changed.
    #[error("nothing was changed, because it was a dry run")]
    DryRun(Box<Applied>),
}

/// The id that tells the rosters of several servers apart; made when it is first needed.
///
/// # Errors
/// If it cannot be stored.
pub fn name_server(tx: &Tx<'_>) -> Result<String, NotApplied> {
    if let Some(id) = service::server_id(tx)? {
        return Ok(id);
    }
    let id = random::hex::<8>()?;
    meta::set(tx, meta::SERVER_ID, &id)?;
    Ok(id)
}

/// Applies a roster: compares it with the database's, and makes every change or none.
///
/// # Errors
/// [`NotApplied`].
pub fn apply(
    tx: &Tx<'_>,
    uids: Uids,
    rules: &Rules,
    actor: &Actor,
    wanted: &Wanted,
) -> Result<Applied, NotApplied> {
    let own = service::server_id(tx)?;
    if wanted.server.is_some() && wanted.server != own {
        return Err(NotApplied::OtherServer(wanted.server.clone().unwrap_or_default()));
    }
    let current = service::current(tx)?;
    let scope = (wanted.manages.as_slice(), wanted.mode);
    let changes = diff::changes(&current, &wanted.roster, scope, tx.now).map_err(NotApplied::Faulty)?;
    let mut applied = Applied {
        removals: guard::removals(&changes),
        must_confirm: guard::must_confirm(&current.roster, &changes),
        ..Applied::default()
    };
    let maker = Maker { tx, uids, rules, actor };
    maker.make_all(&changes, &mut applied)?;
    applied.changes = changes;
    if wanted.dry_run {
        return Err(NotApplied::DryRun(Box::new(applied)));
    }
    if wanted.confirmed.map_or(applied.must_confirm, |count| count != applied.removals) {
        return Err(NotApplied::Unconfirmed(applied.removals));
    }
    Ok(applied)
}

struct Maker<'a> {
    tx: &'a Tx<'a>,
    uids: Uids,
    rules: &'a Rules,
    actor: &'a Actor,
}

impl Maker<'_> {
    /// Makes all changes. One that fails is tried again after the others, because it may need what another one
    /// frees, such as an address. A failed change has written nothing.
    fn make_all(&self, changes: &[Change], applied: &mut Applied) -> Result<(), NotApplied> {
        let mut left: Vec<&Change> = changes.iter().filter(|change| !change.follows()).collect();
        loop {
            let mut failed = Vec::new();
            for change in &left {
                match self.make(change, applied) {
                    Ok(()) => {}
                    Err(AnyError::Db(error)) => return Err(error.into()),
                    Err(error) => failed.push((*change, error.to_string())),
                }
            }
            if failed.is_empty() {
                return Ok(());
            }
            if failed.len() == left.len() {
                return Err(NotApplied::Faulty(causes(failed)));
            }
            left = failed.into_iter().map(|(change, _)| change).collect();
        }
    }

    fn make(&self, change: &Change, applied: &mut Applied) -> Result<(), AnyError> {
        let Self { tx, rules, actor, .. } = *self;
        match change {
            Change::AddPool(pool) => {
                pools::add(tx, actor, &pool.name)?;
                if pool.label.is_some() {
                    pools::set_label(tx, actor, &pool.name, pool.label.as_ref())?;
                }
            }
            Change::LabelPool(name, _, label) => pools::set_label(tx, actor, name, label.as_ref())?,
            Change::RemovePool(name) => pools::take_out_all(tx, rules, actor, name, &[])?,
            Change::AddMachine(machine) => self.add_machine(machine)?,
            Change::MoveMachine(name, _, to) => {
                let (address, port) = (Some(to.address.clone()), Some(to.port));
                host_keys::set(tx, actor, name, &ReachChange { address, port, host_keys: Vec::new() })?;
            }
            Change::PinHostKeys(name, _, keys) => {
                let change = ReachChange { host_keys: keys.clone(), ..ReachChange::default() };
                host_keys::set(tx, actor, name, &change)?;
            }
            Change::PutIn(machine, pool) => drop(pools::put_in(tx, actor, pool, machine)?),
            Change::TakeOut(machine, pool) => {
                pools::take_out_all(tx, rules, actor, pool, std::slice::from_ref(machine))?;
            }
            Change::RemoveMachine(name) => drop(machines::remove(tx, rules, actor, name)?),
            Change::AddEmployee(employee) => self.add_employee(employee, applied)?,
            Change::ChangeEmployee(before, after) => self.change_employee(before, after)?,
            Change::SetState(email, state) => self.set_state(email, *state, applied)?,
            Change::RemoveEmployee(email) => self.set_state(email, State::Removed, applied)?,
            Change::AddGrant(grant) => self.add_grant(grant)?,
            Change::ChangeGrant(before, after) => self.change_grant(before, after)?,
            Change::RemoveGrant(grant, _) => {
                applied.refused += grants::remove(tx, rules, actor, (&grant.email, &grant.pool))?;
            }
            Change::AddKey(key) => self.add_key(key)?,
            Change::ApproveKey(key) => {
                let added = keys::approve(tx, rules, actor, &key.fingerprint)?;
                applied.refused += added.replaced.map_or(0, |revoked| revoked.refused);
            }
            Change::RevokeKey(key, _) => {
                let revoked = keys::revoke(tx, rules, actor, &key.fingerprint, Reason::Retired)?;
                applied.refused += revoked.iter().map(|one| one.refused).sum::<usize>();
            }
        }
        Ok(())
    }

    /// Adds the record of a machine. It has no credential until it joins.
    fn add_machine(&self, machine: &Machine) -> Result<(), AnyError> {
        let Machine { name, address, port, pools, host_keys } = machine.clone();
        // `add_new` would create a pool that does not exist.
        pools.iter().try_for_each(|pool| found::find(self.tx, pool).map(drop))?;
        machines::add_new(
            self.tx,
            self.actor,
            &machines::New { name, pools, reach: ReachChange { address, port, host_keys } },
        )
    }

    fn add_employee(&self, new: &Employee, applied: &mut Applied) -> Result<(), AnyError> {
        let (now, state) = (self.tx.now, State::Active);
        let account = Account {
            id: random::hex::<16>()?,
            email: new.email.clone(),
            name: new.name.clone(),
            unix_name: new.unix_name.clone(),
            keybase_name: new.keybase_name.clone(),
            state,
            created_at: now,
            changed_at: now,
        };
        let new_employee = employees::New { employee: account, uid: new.uid, pools: Vec::new() };
        employees::add(self.tx, self.uids, self.actor, &new_employee)?;
        if new.state != state {
            self.set_state(&new.email, new.state, applied)?;
        }
        Ok(())
    }

    fn change_employee(&self, before: &Employee, after: &Employee) -> Result<(), AnyError> {
        let changes = Changes {
            email: Some(after.email.clone()).filter(|email| *email != before.email),
            name: Some(after.name.clone()),
            keybase_name: Some(after.keybase_name.clone()),
            uid: after.uid.filter(|_| before.uid.is_none()),
        };
        employees::set(self.tx, self.uids, self.actor, &before.email, changes)?;
        Ok(())
    }

    fn set_state(&self, email: &Email, state: State, applied: &mut Applied) -> Result<(), AnyError> {
        let changed = employees::set_state(self.tx, self.rules, self.actor, email, state)?;
        applied.refused += changed.refused;
        if !changed.open.is_empty() {
            applied.open.push(changed.employee.unix_name.to_string());
        }
        Ok(())
    }

    fn add_grant(&self, grant: &Grant) -> Result<(), AnyError> {
        let terms = Terms { sudo: grant.sudo.clone(), ends_at: grant.until };
        grants::add(self.tx, self.uids, self.actor, (&grant.email, &grant.pool), &terms)?;
        Ok(())
    }

    /// Puts off the end of a grant, or replaces it.
    fn change_grant(&self, before: &Grant, after: &Grant) -> Result<(), AnyError> {
        let (tx, actor, which) = (self.tx, self.actor, (&after.email, &after.pool));
        let is_later = before.until.is_some_and(|end| after.until.is_none_or(|new| end < new));
        if before.sudo == after.sudo && is_later {
            grants::extend(tx, actor, which, after.until)?;
            return Ok(());
        }
        let terms = Terms { sudo: after.sudo.clone(), ends_at: after.until };
        Ok(grants::replace(tx, self.uids, actor, which, &terms)?)
    }

    fn add_key(&self, key: &Key) -> Result<(), AnyError> {
        let public = PublicKey::parse(&key.line)
            .map_err(|_| crate::keys::Error::NoSuchKey(key.fingerprint.clone()))?;
        let (email, device) = (key.email.clone(), key.device.clone());
        let new = keys::New { email, key: public, device, origin: Origin::Operator, replaces: None };
        keys::add(self.tx, self.rules, self.actor, &new)?;
        Ok(())
    }
}

/// The faults of changes that failed, without those that failed because an entry that they need has a fault.
fn causes(failed: Vec<(&Change, String)>) -> Vec<(Id, String)> {
    let faulty: BTreeSet<Id> = failed.iter().map(|(change, _)| change.id()).collect();
    let own = failed.into_iter().filter(|(change, _)| !change.needs().iter().any(|id| faulty.contains(id)));
    own.map(|(change, what)| (change.id(), what)).collect()
}
