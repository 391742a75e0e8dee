//! Takes accounts over that others made on a machine, and hands them back: each function is one action inside the
//! caller's transaction, with its audit events.

use kbmfa_proto::key::PublicKey;
use kbmfa_proto::names::{MachineName, UserName};
use kbmfa_proto::text::SafeText;
use std::collections::{BTreeMap, BTreeSet};

use super::accounts::ensure_uid;
use super::{Error as AnyError, keys};
use crate::adoption::Error;
use crate::adoption::matching::{By, Judged, Match, People, judge, matches};
use crate::adoption::people;
use crate::adoption::survey::{Found, Survey};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
use crate::deliveries::service;
use crate::deliveries::store::adoptions::{self, Adoption};
use crate::employees::Email;
use crate::employees::ledger::Uids;
use crate::employees::store::{self as employees, Employee};
use crate::keys::{Error as KeyError, Origin, State as KeyState, device as device_label, store as key_store};
use crate::logins::Rules;

/// What an operator has confirmed.
#[derive(Debug, Clone)]
pub struct Order {
    /// The machine.
    pub machine: MachineName,
    /// What it reported.
    pub survey: Survey,
    /// The accounts to take over.
    pub take: BTreeSet<UserName>,
    /// Whose accounts are; these are taken over, too.
    pub named: BTreeMap<UserName, Email>,
    /// True to enrol the keys that are not enrolled.
    pub import_keys: bool,
    /// True if the whole `~/.ssh/authorized_keys` is ours from now on.
    pub exclusive: bool,
    /// The account by which the server reaches machines.
    pub admin: UserName,
}

/// An account that was handed over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Taken {
    /// The account.
    pub account: UserName,
    /// Whose it is.
    pub email: Email,
    /// Its uid.
    pub uid: u32,
    /// Why it is theirs.
    pub by: By,
    /// Fingerprints of the keys that were enrolled, each with its device.
    pub imported: Vec<(String, SafeText)>,
    /// Keys that are not enrolled, each with why.
    pub refused: Vec<(String, String)>,
}

/// Hands accounts over: all that are named, or none. The next pass marks them on the machine.
///
/// # Errors
/// [`Error::Refused`] names every account that may not be taken over; [`Error::NoAccount`]; a machine to which nothing is
/// delivered.
pub fn take(
    tx: &Tx<'_>,
    (uids, rules, actor): (Uids, &Rules, &Actor),
    order: &Order,
) -> Result<Vec<Taken>, AnyError> {
    let delivery = service::find(tx, &order.machine)?;
    let people = people::read(tx, &delivery.machine_id, &order.survey, &order.admin).map_err(Error::from)?;
    let matches = matches(&order.survey.accounts, &people, &order.named);
    let wanted: BTreeSet<&UserName> = order.take.iter().chain(order.named.keys()).collect();
    let (mut chosen, mut refused) = (Vec::new(), Vec::new());
    for name in wanted {
        let found = matches.iter().find(|one| one.found.name == *name);
        let found = found.ok_or_else(|| Error::NoAccount(name.clone()))?;
        match (&found.obstacle, found.whose) {
            (None, Some((person, by))) => chosen.push((found, person.id.clone(), by)),
            (Some(obstacle), _) => refused.push(format!("{name}: {obstacle}")),
            (None, None) => {}
        }
    }
    if !refused.is_empty() {
        return Err(Error::Refused(refused).into());
    }
    let mut taken = Vec::new();
    for (found, id, by) in chosen {
        let Some(owner) = employees::by_id(tx, &id)? else { continue };
        taken.push(take_one(
            tx,
            (uids, rules, actor),
            order,
            (found, &owner, by),
            (&delivery.machine_id, &people),
        )?);
    }
    Ok(taken)
}

fn take_one(
    tx: &Tx<'_>,
    (uids, rules, actor): (Uids, &Rules, &Actor),
    order: &Order,
    (found, owner, by): (&Match<'_>, &Employee, By),
    (machine_id, people): (&str, &People),
) -> Result<Taken, AnyError> {
    let found = found.found;
    ensure_uid(tx, uids, actor, owner, Some(found.uid))?;
    let mut taken = Taken {
        account: found.name.clone(),
        email: owner.email.clone(),
        uid: found.uid,
        by,
        imported: Vec::new(),
        refused: Vec::new(),
    };
    if order.import_keys {
        import(tx, (rules, actor), order, (found, owner, people), &mut taken)?;
    }
    let has_key = key_store::of_employee(tx, &owner.id)?.iter().any(|key| key.state == KeyState::Active);
    if order.exclusive && !has_key {
        let why = format!("{}: {} has no active key, and would be locked out", found.name, owner.email);
        return Err(Error::Refused(vec![why]).into());
    }
    let shell = Some(found.shell.as_str()).filter(|shell| is_shell(shell)).map(str::to_owned);
    let (uid, is_exclusive) = (found.uid, order.exclusive);
    let adoption = Adoption { uid, shell, is_exclusive, is_released: false };
    adoptions::set(tx, machine_id, &found.name, &adoption)?;
    let event = about(&order.machine, &found.name, Kind::AccountAdopted, actor).detail("email", &owner.email);
    let event = event.detail("uid", uid).detail("by", words(by)).detail("exclusive", is_exclusive);
    audit::append(
        tx,
        &event.maybe("imported", (!taken.imported.is_empty()).then_some(taken.imported.len())),
    )?;
    Ok(taken)
}

/// Enrols the keys of an account that nobody has enrolled. A refusal of one does not keep the others out.
fn import(
    tx: &Tx<'_>,
    (rules, actor): (&Rules, &Actor),
    order: &Order,
    (found, owner, people): (&Found, &Employee, &People),
    taken: &mut Taken,
) -> Result<(), AnyError> {
    let mut devices: BTreeSet<String> =
        key_store::of_employee(tx, &owner.id)?.iter().map(|key| key.device.to_string()).collect();
    for key in &found.keys {
        let told = key.fingerprint.clone().unwrap_or_else(|| "a line that is no key".to_owned());
        let line = match (judge(key, people), &key.line) {
            (Judged::Unknown, Some(line)) => line,
            (Judged::Enrolled(email), _) if email == owner.email => continue,
            (judged, _) => {
                taken.refused.push((told, judged.to_string()));
                continue;
            }
        };
        let device = device(key.comment.as_str(), &order.machine, &devices);
        let parsed = PublicKey::parse(line).map_err(|error| Error::Refused(vec![error.to_string()]))?;
        let label = match device_label(&device) {
            Ok(label) => label,
            Err(error) => {
                taken.refused.push((told, error.to_string()));
                continue;
            }
        };
        let (email, origin) = (owner.email.clone(), Origin::Operator);
        let new = keys::New { email, key: parsed, device: label.clone(), origin, replaces: None };
        match keys::add(tx, rules, actor, &new) {
            Ok(_) => {
                devices.insert(device);
                taken.imported.push((told, label));
            }
            // The same key a second time in the file, or one that somebody else has.
            Err(AnyError::Key(error)) if !matches!(error, KeyError::Db(_) | KeyError::Random(_)) => {
                taken.refused.push((told, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A label that the person has for no other key: the key's comment, or the machine's name.
fn device(comment: &str, machine: &MachineName, taken: &BTreeSet<String>) -> String {
    let plain: String = comment.trim().chars().take(50).collect();
    let plain = if plain.is_empty() { format!("from {machine}") } else { plain };
    let numbered = (2..).map(|number| format!("{plain} {number}"));
    std::iter::once(plain.clone()).chain(numbered).find(|label| !taken.contains(label)).unwrap_or(plain)
}

/// Hands an account back: the next pass takes our keys and our mark off it, and leaves it on.
///
/// # Errors
/// [`Error::NotAdopted`].
pub fn release(tx: &Tx<'_>, actor: &Actor, machine: &MachineName, name: &UserName) -> Result<(), AnyError> {
    let delivery = service::find(tx, machine)?;
    let adopted =
        adoptions::of_machine(tx, &delivery.machine_id)?.remove(name).filter(|one| !one.is_released);
    let adopted = adopted.ok_or_else(|| Error::NotAdopted(name.clone()))?;
    adoptions::set(tx, &delivery.machine_id, name, &Adoption { is_released: true, ..adopted })?;
    audit::append(tx, &about(machine, name, Kind::AccountReleased, actor))?;
    Ok(())
}

/// What `remote.sh` accepts as a shell.
fn is_shell(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    text.starts_with('/') && text.len() <= 200 && text.bytes().all(is_plain)
}

fn words(by: By) -> &'static str {
    match by {
        By::Operator => "operator",
        By::NameAndUid => "name and uid",
        By::Key => "key",
        By::Name => "name",
    }
}

fn about(machine: &MachineName, account: &UserName, kind: Kind, actor: &Actor) -> Event {
    let (machine, user) = (Some(machine.clone()), Some(account.clone()));
    Event { machine, user, ..Event::new(kind, actor.clone()) }
}
