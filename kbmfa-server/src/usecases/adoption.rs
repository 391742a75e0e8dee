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
    if delivery.leaving {
        return Err(Error::Leaving(order.machine.clone()).into());
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adoption::survey;
    use crate::db::testing::{Fixture, fixture};
    use crate::deliveries::Place;
    use crate::employees::State;
    use crate::usecases::employees::New;
    use crate::usecases::testing::{enter_machine, rules};
    use crate::{clock::Time, deliveries::store as deliveries};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

    fn actor() -> Actor {
        Actor::new("console:root")
    }

    /// dora, who has a grant to web1, and the order to take her account over.
    fn prepared(fixture: &Fixture) -> Order {
        let machine = enter_machine(fixture, "web1");
        let employee = Employee {
            id: "e".into(),
            email: "dora@x".parse().unwrap(),
            name: "Dora".into(),
            unix_name: "dora".parse().unwrap(),
            keybase_name: None,
            state: State::Active,
            created_at: Time::from_micros(0),
            changed_at: Time::from_micros(0),
        };
        let new = New { employee, uid: Some(1501), pools: vec!["web".parse().unwrap()] };
        let (id, name) = (machine.machine_id, machine.name.clone());
        let prepare = move |tx: &Tx<'_>| {
            let pool = "web".parse().unwrap();
            crate::usecases::pools::add(tx, &actor(), &pool)?;
            crate::usecases::pools::put_all(tx, &actor(), &pool, std::slice::from_ref(&name))?;
            crate::usecases::employees::add(tx, Uids::default(), &actor(), &new)?;
            deliveries::insert(tx, &id, Place::Home, false).map_err(AnyError::from)
        };
        fixture.db.write_blocking("test", prepare).unwrap();
        let file = STANDARD.encode(format!("{KEY} dora@home\n{KEY} twice\n"));
        let report =
            [format!("found dora 1501 {} 0 0", STANDARD.encode("/bin/zsh")), format!("home dora {file}")];
        Order {
            machine: machine.name,
            survey: survey::parse(&report).unwrap(),
            take: ["dora".parse().unwrap()].into(),
            named: BTreeMap::new(),
            import_keys: true,
            exclusive: true,
            admin: "ssh-admin".parse().unwrap(),
        }
    }

    fn try_take(fixture: &Fixture, order: &Order) -> Result<Vec<Taken>, String> {
        let order = order.clone();
        let work = move |tx: &Tx<'_>| take(tx, (Uids::default(), &rules(), &actor()), &order);
        fixture.db.write_blocking("test", work).map_err(|error| error.to_string())
    }

    fn recorded(fixture: &Fixture) -> Vec<Adoption> {
        let all = fixture.db.read_blocking(adoptions::all).unwrap();
        all.into_values().flat_map(BTreeMap::into_values).collect()
    }

    #[test]
    fn an_account_is_handed_over_and_back_and_everything_can_be_repeated() {
        let fixture = fixture();
        let order = prepared(&fixture);
        let without = Order { import_keys: false, ..order.clone() };
        assert!(try_take(&fixture, &without).unwrap_err().contains("would be locked out"));
        assert_eq!(recorded(&fixture), [], "all or nothing");
        for imported in [1, 0] {
            let taken = try_take(&fixture, &order).unwrap();
            assert_eq!((taken.len(), taken[0].imported.len(), taken[0].by), (1, imported, By::NameAndUid));
        }
        let shell = Some("/bin/zsh".to_owned());
        let adoption = Adoption { uid: 1501, shell, is_exclusive: true, is_released: false };
        assert_eq!(recorded(&fixture), std::slice::from_ref(&adoption));
        let try_release = || {
            let (machine, name) = (order.machine.clone(), "dora".parse().unwrap());
            let work = move |tx: &Tx<'_>| release(tx, &actor(), &machine, &name);
            fixture.db.write_blocking("test", work).map_err(|error| error.to_string())
        };
        try_release().unwrap();
        assert_eq!(recorded(&fixture), [Adoption { is_released: true, ..adoption }]);
        assert!(try_release().unwrap_err().contains("was not taken over"));
        assert_eq!(try_take(&fixture, &order).unwrap().len(), 1, "and over again");
        let leave = {
            let machine = order.machine.clone();
            move |tx: &Tx<'_>| crate::usecases::deliveries::disable(tx, &actor(), &machine, false)
        };
        fixture.db.write_blocking("test", leave).unwrap();
        assert!(try_take(&fixture, &order).unwrap_err().contains("is being cleaned"));
    }

    #[test]
    fn one_account_that_is_refused_keeps_all_of_an_order_from_being_taken() {
        let fixture = fixture();
        let mut order = prepared(&fixture);
        let root = parse_root();
        order.survey.accounts.push(root);
        order.take.insert("root".parse().unwrap());
        assert_eq!(try_take(&fixture, &order).unwrap_err(), "root: root is never taken over");
        order.take.insert("nobody-here".parse().unwrap());
        assert!(try_take(&fixture, &order).unwrap_err().contains("no account nobody-here"));
        assert_eq!(recorded(&fixture), []);
    }

    fn parse_root() -> Found {
        survey::parse(&["found root 0 L2Jpbi9zaA== 0 1".to_owned()]).unwrap().accounts.remove(0)
    }

    #[test]
    fn each_key_that_is_enrolled_gets_a_device_of_its_own() {
        let taken: BTreeSet<String> = ["laptop", "laptop 2", "from web1"].map(str::to_owned).into();
        let of = |comment: &str| device(comment, &"web1".parse().unwrap(), &taken);
        assert_eq!(
            (of("laptop"), of(" home "), of("")),
            ("laptop 3".into(), "home".into(), "from web1 2".into())
        );
    }
}
