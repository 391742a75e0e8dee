//! Actions on employees: each function is one action inside the caller's transaction, with its audit event.

use kbmfa_proto::names::{KeybaseName, PoolName};
use kbmfa_proto::text::SafeText;

use super::accounts::{account_of, ensure_uid, give};
use super::{Error, grants, keys};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
use crate::employees::ledger::Uids;
use crate::employees::store::{self, Employee};
use crate::employees::{self, Email, State, service};
use crate::enrolment::store as invites;
use crate::grants::store::of_employee;
use crate::keys::service::fingerprints_of;
use crate::logins::Rules;
use crate::logins::ending::{revoke_all_of, revoke_all_with};
use crate::logins::state::Revocation;
use crate::pools::service as pools;
use crate::sessions::store::{self as sessions, Session};

/// An employee to add.
#[derive(Debug, Clone)]
pub struct New {
    /// The employee.
    pub employee: Employee,
    /// The uid that the operator chose; `None` for the next of the range.
    pub uid: Option<u32>,
    /// The pools that the employee is granted, without sudo and without an end.
    pub pools: Vec<PoolName>,
}

/// Adds an employee, with a Unix name and a uid that nobody else ever had. Somebody who comes back under the same
/// address and Unix name has the same uid as before. Returns the uid.
///
/// # Errors
/// [`employees::Error::EmployeeExists`] if the address, the account or the Keybase name already belongs to
/// somebody; [`employees::Error`] for a Unix name or uid that cannot be given; a pool that does not exist.
pub fn add(tx: &Tx<'_>, uids: Uids, actor: &Actor, new: &New) -> Result<u32, Error> {
    let employee = &new.employee;
    if let Some(holder) = store::holder_of(tx, employee)? {
        return Err(employees::Error::EmployeeExists(holder.email.to_string()).into());
    }
    // Everything is checked before the first write, so that a caller can go on to find other faults.
    let pools = new.pools.iter().map(|pool| pools::find(tx, pool)).collect::<Result<Vec<_>, _>>()?;
    let uid = account_of(tx, uids, employee, new.uid)?;
    store::insert(tx, employee)?;
    give(tx, employee, uid)?;
    let event = about(employee, Kind::EmployeeAdded, actor).detail("name", &employee.name).detail("uid", uid);
    audit::append(tx, &event.maybe("keybase", employee.keybase_name.as_ref()))?;
    for pool in pools {
        grants::add(tx, uids, actor, (&employee.email, &pool.name), &grants::Terms::default())?;
    }
    Ok(uid)
}

/// Changes of an employee. `None` leaves a value as it is.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// A new address.
    pub email: Option<Email>,
    /// A new full name.
    pub name: Option<SafeText>,
    /// A new Keybase name; `Some(None)` removes it.
    pub keybase_name: Option<Option<KeybaseName>>,
    /// A uid, as long as no machine has keys of theirs.
    pub uid: Option<u32>,
}

/// Changes the address or the names of an employee. The Unix name never changes.
///
/// # Errors
/// [`employees::Error::NoSuchEmployee`]; [`employees::Error::EmployeeExists`] if another employee has the new
/// address or Keybase name; [`employees::Error::NothingNew`].
pub fn set(
    tx: &Tx<'_>,
    uids: Uids,
    actor: &Actor,
    email: &Email,
    changes: Changes,
) -> Result<Employee, employees::Error> {
    let before = service::find(tx, email)?;
    let after = Employee {
        email: changes.email.unwrap_or_else(|| before.email.clone()),
        name: changes.name.unwrap_or_else(|| before.name.clone()),
        keybase_name: changes.keybase_name.unwrap_or_else(|| before.keybase_name.clone()),
        ..before.clone()
    };
    if after == before && changes.uid.is_none() {
        return Err(employees::Error::NothingNew(email.to_string()));
    }
    if let Some(holder) = store::holder_of(tx, &after)? {
        return Err(employees::Error::EmployeeExists(holder.email.to_string()));
    }
    if changes.uid.is_some() {
        ensure_uid(tx, uids, actor, &before, changes.uid)?;
    }
    if after != before {
        store::set_names(tx, &after)?;
        let event = about(&after, Kind::EmployeeChanged, actor).detail("before", names(&before));
        audit::append(tx, &event.detail("after", names(&after)))?;
    }
    Ok(after)
}

/// The values that [`set`] can change, as one text.
fn names(employee: &Employee) -> String {
    let keybase = employee.keybase_name.as_ref().map_or("-", KeybaseName::as_str);
    format!("{}, {}, Keybase {keybase}", employee.email, employee.name)
}

/// Maximum number of open sessions that are listed when somebody may no longer log in.
pub const SESSIONS_MAX: i64 = 100;

/// What goes with an employee who is removed.
#[derive(Debug, Default)]
pub struct Gone {
    /// Number of their grants.
    pub grants: usize,
    /// Fingerprints of their keys, which are revoked.
    pub keys: Vec<String>,
    /// Whether they had an account password, which is removed.
    pub password: bool,
}

/// An employee whose state has changed.
#[derive(Debug)]
pub struct Changed {
    /// The employee before the change.
    pub employee: Employee,
    /// Number of their waiting logins that were refused.
    pub refused: usize,
    /// What was taken from somebody who was removed.
    pub gone: Gone,
    /// Their open sessions, newest first, at most [`SESSIONS_MAX`]. Empty if they may log in.
    pub open: Vec<Session>,
}

/// Suspends, resumes or removes an employee. Suspending and removing also refuses their waiting logins, and a
/// removal takes their grants and keys along.
///
/// # Errors
/// [`employees::Error::NoSuchEmployee`]; [`employees::Error::SameState`] if the state would not change.
pub fn set_state(
    tx: &Tx<'_>,
    rules: &Rules,
    actor: &Actor,
    email: &Email,
    state: State,
) -> Result<Changed, Error> {
    let employee = service::find(tx, email)?;
    if employee.state == state {
        return Err(employees::Error::SameState(email.to_string(), state.as_str()).into());
    }
    store::set_state(tx, &employee.id, state)?;
    let (kind, revocation) = match state {
        State::Active => (Kind::EmployeeResumed, None),
        State::Suspended => (Kind::EmployeeSuspended, Some(Revocation::Suspended)),
        State::Removed => (Kind::EmployeeRemoved, Some(Revocation::Removed)),
    };
    let gone = if state == State::Removed { take_away(tx, actor, &employee)? } else { Gone::default() };
    let event = about(&employee, kind, actor).detail("before", employee.state.as_str());
    let keys = (!gone.keys.is_empty()).then(|| gone.keys.join(" "));
    let password = gone.password.then_some("removed");
    let invite = (state != State::Active && invites::end_all_of(tx, &employee.id)?).then_some("ended");
    let event = event.detail("after", state.as_str()).maybe("keys", keys).maybe("password", password);
    audit::append(tx, &event.maybe("invite", invite))?;
    let Some(why) = revocation else {
        return Ok(Changed { employee, refused: 0, gone, open: Vec::new() });
    };
    // Their keys may have been used for other accounts.
    let keys = fingerprints_of(tx, &employee.id)?;
    let refused = revoke_all_of(tx, rules, &employee.unix_name, why, actor)?
        + revoke_all_with(tx, rules, &keys, why, actor)?;
    let open = sessions::newest(tx, true, Some(&employee.unix_name), SESSIONS_MAX)?;
    Ok(Changed { employee, refused, gone, open })
}

/// Removes the grants and the password of an employee who is being removed, and revokes their keys for ever.
fn take_away(tx: &Tx<'_>, actor: &Actor, employee: &Employee) -> Result<Gone, Error> {
    let held = of_employee(tx, &employee.id)?;
    grants::remove_all(tx, actor, &held)?;
    let password = store::password_set_at(tx, &employee.id)?.is_some();
    store::set_password(tx, &employee.id, None)?;
    Ok(Gone { grants: held.len(), keys: keys::revoke_all_of(tx, actor, employee)?, password })
}

fn about(employee: &Employee, kind: Kind, actor: &Actor) -> Event {
    let user = Some(employee.unix_name.clone());
    Event { user, ..Event::new(kind, actor.clone()).detail("email", &employee.email) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::store::search::{Filter, search};
    use crate::clock::Time;
    use crate::db;
    use crate::db::testing::{Fixture, START, fixture};
    use crate::employees::ledger;
    use crate::employees::password::Vault;
    use crate::keys::store::by_fingerprint;
    use crate::keys::{Origin, Reason, State as KeyState};
    use crate::usecases::all_or_none::{NothingDone, all_or_none};
    use crate::usecases::passwords;
    use crate::usecases::testing::rules;
    use kbmfa_proto::key::PublicKey;
    use std::time::Duration;

    fn actor() -> Actor {
        Actor::new("console:root")
    }

    fn new(email: &str, unix_name: &str, uid: Option<u32>, pools: &[&str]) -> New {
        let employee = Employee {
            id: crate::random::hex::<16>().unwrap(),
            email: email.parse().unwrap(),
            name: "Somebody".into(),
            unix_name: unix_name.parse().unwrap(),
            keybase_name: None,
            state: State::Active,
            created_at: Time::from_micros(START),
            changed_at: Time::from_micros(START),
        };
        New { employee, uid, pools: pools.iter().map(|pool| pool.parse().unwrap()).collect() }
    }

    fn write<T: Send + 'static, E: From<db::Error> + Send + 'static>(
        fixture: &Fixture,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        fixture.db.write_blocking("test", work)
    }

    fn add_one(fixture: &Fixture, new: New) -> Result<u32, String> {
        write(fixture, move |tx| add(tx, Uids::default(), &actor(), &new)).map_err(|error| error.to_string())
    }

    fn remove(fixture: &Fixture, email: &str) -> Changed {
        let email = email.parse().unwrap();
        let remove = move |tx: &Tx<'_>| set_state(tx, &rules(), &actor(), &email, State::Removed);
        write(fixture, remove).unwrap()
    }

    fn add_pool(fixture: &Fixture, name: &'static str) {
        let add = move |tx: &Tx<'_>| crate::usecases::pools::add(tx, &actor(), &name.parse().unwrap());
        write(fixture, add).unwrap();
    }

    #[test]
    fn neither_name_nor_uid_is_given_to_another_person_also_after_a_removal() {
        let fixture = fixture();
        assert_eq!(add_one(&fixture, new("a@x", "ann", None, &[])), Ok(20_000));
        assert_eq!(add_one(&fixture, new("b@x", "ben", Some(30_000), &[])), Ok(30_000));
        remove(&fixture, "a@x");
        remove(&fixture, "b@x");
        let told = add_one(&fixture, new("c@x", "ann", None, &[])).unwrap_err();
        assert!(told.contains("is or was the account of a@x"), "{told}");
        let told = add_one(&fixture, new("c@x", "cat", Some(20_000), &[])).unwrap_err();
        assert!(told.contains("uid 20000 is or was that of a@x"), "{told}");
        assert_eq!(add_one(&fixture, new("c@x", "cat", None, &[])), Ok(30_001));
        assert_eq!(add_one(&fixture, new("a@x", "ann", None, &[])), Ok(20_000), "the same person comes back");
        let told = add_one(&fixture, new("b@x", "ben", Some(30_009), &[])).unwrap_err();
        assert!(told.contains("b@x has uid 30000, which never changes"), "{told}");
    }

    #[test]
    fn an_employee_of_before_the_ledger_gets_a_uid_with_the_first_grant() {
        let fixture = fixture();
        add_pool(&fixture, "web");
        let old = new("o@x", "old", None, &[]).employee;
        let whose = old.email.clone();
        write(&fixture, move |tx| store::insert(tx, &old)).unwrap();
        let grant = move |tx: &Tx<'_>| {
            let (pool, terms) = ("web".parse().unwrap(), grants::Terms::default());
            grants::add(tx, Uids::default(), &actor(), (&whose, &pool), &terms)
        };
        write(&fixture, grant).unwrap();
        let entry = fixture.db.read_blocking(|tx| ledger::store::entry(tx, &"old".parse().unwrap())).unwrap();
        assert_eq!(entry.unwrap().uid, Some(20_000));
    }

    #[test]
    fn all_employees_are_added_or_none_and_a_dry_run_finds_the_same_faults() {
        let fixture = fixture();
        add_pool(&fixture, "web");
        let all = vec![
            new("a@x", "ann", None, &["web"]),
            new("a@x", "ann2", None, &[]),
            new("c@x", "root", None, &[]),
            new("d@x", "dan", None, &["wbe"]),
        ];
        for dry_run in [true, false] {
            let wanted = all.clone();
            let found = write(&fixture, move |tx| {
                all_or_none(&wanted, dry_run, |new| add(tx, Uids::default(), &actor(), new))
            });
            let Err(NothingDone::Faulty(faults)) = found else { panic!("{found:?}") };
            let faults: Vec<_> = faults.iter().map(|(at, error)| (*at, error.to_string())).collect();
            assert_eq!(faults.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2, 3]);
            assert_eq!(faults[2].1, "there is no pool wbe; did you mean web?");
            assert!(fixture.db.read_blocking(|tx| store::all(tx, true)).unwrap().is_empty());
        }
        let good = vec![new("a@x", "ann", None, &["web"]), new("b@x", "ben", None, &[])];
        for dry_run in [true, false] {
            let wanted = good.clone();
            let found = write(&fixture, move |tx| {
                all_or_none(&wanted, dry_run, |new| add(tx, Uids::default(), &actor(), new))
            });
            match found {
                Ok(uids) | Err(NothingDone::DryRun(uids)) => assert_eq!(uids, [20_000, 20_001]),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(fixture.db.read_blocking(|tx| store::all(tx, true)).unwrap().len(), 2);
    }

    #[test]
    fn a_removal_takes_grants_and_keys_along_and_nobody_comes_back_with_them() {
        let fixture = fixture();
        add_pool(&fixture, "web");
        add_one(&fixture, new("a@x", "ann", None, &["web"])).unwrap();
        fixture.clock.advance(Duration::from_secs(1));
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
        let key = PublicKey::parse(line).unwrap();
        let fingerprint = key.fingerprint().to_owned();
        let new_key = keys::New {
            email: "a@x".parse().unwrap(),
            key,
            device: "laptop".into(),
            origin: Origin::Operator,
            replaces: None,
        };
        write(&fixture, move |tx| keys::add(tx, &rules(), &actor(), &new_key)).unwrap();
        let gone = remove(&fixture, "a@x").gone;
        assert_eq!((gone.grants, gone.keys), (1, vec![fingerprint.clone()]));
        let key = fixture.db.read_blocking(|tx| by_fingerprint(tx, &fingerprint)).unwrap().unwrap();
        assert_eq!((key.state, key.revoked_for), (KeyState::Revoked, Some(Reason::Removed)));
        add_one(&fixture, new("a@x", "ann", None, &[])).unwrap();
        assert_eq!(fixture.db.read_blocking(crate::grants::store::all).unwrap(), []);
    }

    #[test]
    fn an_account_password_is_stored_encrypted_and_goes_with_its_person() {
        let fixture = fixture();
        add_one(&fixture, new("a@x", "ann", None, &[])).unwrap();
        let state_dir = fixture.dir.path().to_owned();
        let text = "$y$j9T$abcdefghijklmnopqrstu/$GOBj9MnQX2XXRYb4Fyz9668D5epsKc/lpFQOxVhyXjA";
        let set = move |tx: &Tx<'_>| {
            let vault = Vault::open_or_make(&state_dir).unwrap();
            let ann = service::find(tx, &"a@x".parse().unwrap())?;
            passwords::set_password(tx, &vault, &Actor::new("invite:i"), &ann, &text.parse().unwrap())
        };
        write(&fixture, set).unwrap();
        let stored = || fixture.db.read_blocking(store::sealed_passwords).unwrap();
        let all = stored();
        let [(id, email, sealed)] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(email.as_str(), "a@x");
        let vault = Vault::open(fixture.dir.path()).unwrap();
        assert_eq!(vault.unseal(id, sealed).unwrap().reveal(), text);
        let filter = Filter { limit: 100, ..Filter::default() };
        let events = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
        assert!(events.iter().any(|event| event.body.contains(Kind::EmployeePasswordSet.as_str())));
        for event in &events {
            assert!(!event.body.contains("$y$") && !event.body.contains("GOBj9"), "{}", event.body);
        }
        assert!(remove(&fixture, "a@x").gone.password);
        assert_eq!(stored(), []);
    }

    #[test]
    fn an_employees_address_and_names_change_but_not_to_those_of_another() {
        let fixture = fixture();
        add_one(&fixture, new("a@x", "ann", None, &[])).unwrap();
        add_one(&fixture, new("b@x", "ben", None, &[])).unwrap();
        let change = |changes: Changes| {
            let set = move |tx: &Tx<'_>| set(tx, Uids::default(), &actor(), &"a@x".parse().unwrap(), changes);
            write(&fixture, set).map(|after| after.email.to_string()).map_err(|error| error.to_string())
        };
        let to = |email: &str| Changes { email: Some(email.parse().unwrap()), ..Changes::default() };
        assert!(change(to("B@x")).unwrap_err().contains("belongs to b@x already"));
        assert!(change(Changes::default()).unwrap_err().contains("recorded already"));
        assert_eq!(change(to("ann@x")), Ok("ann@x".to_owned()));
    }

    #[test]
    fn a_uid_changes_only_until_a_machine_has_keys_and_the_old_one_is_given_to_nobody() {
        let fixture = fixture();
        add_one(&fixture, new("a@x", "ann", None, &[])).unwrap();
        add_one(&fixture, new("b@x", "ben", None, &[])).unwrap();
        let change = |uid| {
            let changes = Changes { uid: Some(uid), ..Changes::default() };
            let set = move |tx: &Tx<'_>| set(tx, Uids::default(), &actor(), &"b@x".parse().unwrap(), changes);
            write(&fixture, set).map(drop).map_err(|error| error.to_string())
        };
        assert!(change(20_000).unwrap_err().contains("is or was that of a@x"));
        change(1501).unwrap();
        assert_eq!(add_one(&fixture, new("c@x", "cat", None, &[])), Ok(20_002), "not 20001 again");
        let deliver = |tx: &Tx<'_>| {
            crate::machines::store::insert_machine(tx, "m", &"web1".parse().unwrap())?;
            let keys = [("ben".parse().unwrap(), ["SHA256:x".to_owned()].into())].into();
            crate::deliveries::store::add_given(tx, "m", &keys)
        };
        write(&fixture, deliver).unwrap();
        assert!(change(1502).unwrap_err().contains("b@x has uid 1501 on the machines"));
        assert_eq!(change(1501), Ok(()));
    }
}
