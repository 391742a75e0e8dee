//! Actions on machines: each function is one action inside the caller's transaction, with its audit event.

use kbmfa_proto::machine::Host;
use kbmfa_proto::names::{MachineName, PoolName};
use kbmfa_proto::pin::Pin;
use std::time::Duration;

use super::host_keys;
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::ca::service as ca;
use crate::db::{self, Tx};
use crate::deliveries;
use crate::logins::ending::revoke_all_at;
use crate::logins::{self, Rules, notifications};
use crate::machines::host_keys::{Change, HostKey, Reach, store as pins, words};
use crate::machines::store::{self, Machine};
use crate::machines::{Error, service};
use crate::pools::store as pools;
use crate::random;
use crate::secret::{Secret, SecretHash};

/// Default validity of a join token.
pub const JOIN_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// Longest validity of a join token: enough to roll out a fleet over a long weekend.
pub const JOIN_TOKEN_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A machine to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Its name.
    pub name: MachineName,
    /// The pools that it is put into; they are created if necessary.
    pub pools: Vec<PoolName>,
    /// How it is reached and recognised, as far as that is known.
    pub reach: Change,
}

/// Adds a machine of which only the name is known, and puts it into these pools.
///
/// # Errors
/// Those of [`add_new`].
pub fn add(tx: &Tx<'_>, actor: &Actor, name: &MachineName, pools: &[PoolName]) -> Result<(), super::Error> {
    add_new(tx, actor, &New { name: name.clone(), pools: pools.to_vec(), reach: Change::default() })
}

/// Adds a machine.
///
/// # Errors
/// [`Error::MachineExists`], [`Error::OnlyClaimed`], [`Error::Reach`].
pub fn add_new(tx: &Tx<'_>, actor: &Actor, new: &New) -> Result<(), super::Error> {
    let New { name, pools, reach } = new;
    service::refuse_claimed(name)?;
    if store::machine_by_name(tx, name)?.is_some() {
        return Err(Error::MachineExists(name.clone()).into());
    }
    let nothing = Reach { endpoint: None, host_keys: Vec::new() };
    let reach = reach.of(&nothing).map_err(Error::from)?;
    host_keys::check(tx, name, &reach)?;
    let id = random::hex::<16>().map_err(Error::from)?;
    store::insert_machine(tx, &id, name)?;
    host_keys::write(tx, &id, &nothing, &reach)?;
    let event = Event::new(Kind::MachineAdded, actor.clone()).machine(name);
    let event = event.maybe("address", reach.endpoint.as_ref());
    let keys = (!reach.host_keys.is_empty()).then(|| words(&reach.host_keys));
    audit::append(tx, &event.maybe("host-keys", keys))?;
    for pool in pools {
        super::pools::add(tx, actor, pool)?;
        super::pools::put_in(tx, actor, pool, name)?;
    }
    Ok(())
}

/// Renames a machine. Its id, credentials and pools are kept.
///
/// # Errors
/// [`Error::NoSuchMachine`], [`Error::MachineExists`], [`Error::OnlyClaimed`].
pub fn rename(tx: &Tx<'_>, actor: &Actor, name: &MachineName, new_name: &MachineName) -> Result<(), Error> {
    let known = check_rename(tx, name, new_name)?;
    store::rename_machine(tx, &known.id, new_name)?;
    let event = Event::new(Kind::MachineRenamed, actor.clone()).machine(new_name);
    audit::append(tx, &event.detail("before", name).detail("after", new_name))?;
    Ok(())
}

/// The machine, if it may have the new name. Only reads.
///
/// # Errors
/// Those of [`rename`].
pub fn check_rename(tx: &Tx<'_>, name: &MachineName, new_name: &MachineName) -> Result<Machine, Error> {
    service::refuse_claimed(name)?;
    service::refuse_claimed(new_name)?;
    let known = service::find(tx, name)?;
    if store::machine_by_name(tx, new_name)?.is_some() {
        return Err(Error::MachineExists(new_name.clone()));
    }
    Ok(known)
}

/// Makes a join token. A machine that has joined can use it to replace its credential.
///
/// # Errors
/// [`Error::NoSuchMachine`], [`Error::OnlyClaimed`].
pub fn make_join_token(
    tx: &Tx<'_>,
    actor: &Actor,
    name: &MachineName,
    life: Duration,
) -> Result<Secret, Error> {
    service::refuse_claimed(name)?;
    let machine = service::find(tx, name)?;
    let token = Secret::new(format!("kbmfa-join-{}", random::hex::<32>()?));
    let expires_at = tx.now + life.min(JOIN_TOKEN_LIFE_MAX);
    store::insert_join_token(tx, &token.hash(), &machine.id, expires_at)?;
    let event = Event::new(Kind::MachineTokenMade, actor.clone()).machine(name);
    audit::append(tx, &event.detail("expires", expires_at).detail("joined", joined(&machine)))?;
    Ok(token)
}

/// Exchanges a token for a credential. The same exchange can be repeated until the token expires.
///
/// # Errors
/// [`Error::TokenRefused`].
pub fn join(
    tx: &Tx<'_>,
    token: &SecretHash,
    credential: &SecretHash,
    module_version: &str,
) -> Result<Machine, Error> {
    let found = store::join_token(tx, token)?.filter(|token| tx.now < token.expires_at);
    let Some(found) = found else { return Err(Error::TokenRefused) };
    match &found.credential_hash {
        Some(traded) if traded == credential.as_bytes() => return Ok(found.machine),
        Some(_) => return Err(Error::TokenRefused),
        None => {}
    }
    if !store::insert_credential(tx, credential, &found.machine.id)? {
        // The machine may have joined with an earlier token without receiving the reply.
        let known = store::credential(tx, credential, tx.now)?;
        if known.is_none_or(|known| known.machine_id != found.machine.id || known.first_used_at.is_some()) {
            return Err(Error::TokenRefused);
        }
    }
    store::trade(tx, token, credential)?;
    store::seen(tx, &found.machine.id, Some(module_version))?;
    let event = Event::new(Kind::MachineJoined, Actor::machine(&found.machine.name));
    let event = event.machine(&found.machine.name).detail("module", module_version);
    audit::append(tx, &event.detail("joined", joined(&found.machine)))?;
    ca::joined(tx, &found.machine.id)?;
    Ok(found.machine)
}

/// Retires the `AUTH_TOKEN` where a machine had registered it as its own credential, so that it stays worthless when
/// the server stops to accept it. Such a machine has to join again.
///
/// # Errors
/// What the database says.
pub fn retire_auth_token(tx: &Tx<'_>, rules: &Rules) -> Result<Option<MachineName>, db::Error> {
    let Some(token) = &rules.auth_token else { return Ok(None) };
    let retired = store::retire(tx, &token.hash)?;
    if let Some(name) = &retired {
        let event = Event::new(Kind::MachineCredentialRetired, Actor::new("server")).machine(name);
        audit::append(tx, &event.detail("reason", "auth-token"))?;
    }
    Ok(retired)
}

/// Removes a machine: its credentials and its waiting logins are refused from now on.
///
/// # Errors
/// [`Error::NoSuchMachine`]; [`deliveries::Error::IsDelivered`] while keys are on it.
pub fn remove(
    tx: &Tx<'_>,
    rules: &Rules,
    actor: &Actor,
    name: &MachineName,
) -> Result<Machine, super::Error> {
    let machine = service::find(tx, name)?;
    if deliveries::store::exists(tx, &machine.id)? {
        return Err(deliveries::Error::IsDelivered(name.to_string()).into());
    }
    let pools = pools::of_machine(tx, &machine.id)?;
    store::remove_machine(tx, &machine.id)?;
    let keys = pins::reach(tx, &machine.id)?.host_keys;
    pins::forget(tx, &machine.id)?;
    pins::end_quarantine(tx, &machine.id)?;
    let event = Event::new(Kind::MachineRemoved, actor.clone())
        .machine(name)
        .list("pools", &pools)
        .maybe("host-keys", (!keys.is_empty()).then(|| words(&keys)))
        .detail("joined", joined(&machine))
        .maybe("last-seen", machine.last_seen_at)
        .maybe("module", machine.module_version.as_ref());
    audit::append(tx, &event)?;
    revoke_all_at(tx, rules, &machine.id, actor)?;
    Ok(machine)
}

/// Returns the name and pools of the machine with this credential. `None` if its credential is not accepted.
pub fn identify(tx: &Tx<'_>, credential: &SecretHash) -> Result<Option<(MachineName, Vec<PoolName>)>, Error> {
    let Some(caller) = service::authenticate(tx, credential, None)? else { return Ok(None) };
    let pools = pools::of_machine(tx, &caller.machine_id)?;
    Ok(Some((caller.name, pools)))
}

/// What a machine reports about itself.
#[derive(Debug)]
pub struct Told {
    /// The computer on which it runs, if that can be told.
    pub host: Option<Host>,
    /// The authorities that it trusts.
    pub pins: Vec<Pin>,
    /// The keys of its sshd; none if they cannot be read.
    pub host_keys: Vec<HostKey>,
}

/// Records on which computer a machine runs, which authorities it trusts, and its host keys; false if its credential
/// is not accepted.
pub fn report_trust(
    tx: &Tx<'_>,
    rules: &Rules,
    credential: &SecretHash,
    told: Told,
) -> Result<bool, logins::Error> {
    let Some(caller) = service::authenticate(tx, credential, None)? else { return Ok(false) };
    if let Some(host) = &told.host {
        notifications::of_host(tx, rules, &caller, (credential, host))?;
    }
    ca::reported(tx, &caller, &told.pins)?;
    host_keys::reported(tx, rules, &caller, told.host_keys)?;
    Ok(true)
}

/// For the event: whether the machine has a valid credential already.
fn joined(machine: &Machine) -> &'static str {
    if machine.credentials > 0 { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::store::search::{Filter, Found, search};
    use crate::db::testing::{Fixture, fixture};
    use crate::db::{self, Db};
    use crate::machines::service::{LONGEST_WAIT, authenticate, authenticate_waiting};
    use crate::usecases::testing::rules;
    use crate::usecases::{self, pools};

    fn act<T: Send + 'static, E: From<db::Error> + Send + 'static>(
        fixture: &Fixture,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        fixture.db.write_blocking("test", work)
    }

    fn root() -> Actor {
        Actor::new("console:root")
    }

    fn web1() -> MachineName {
        "web1".parse().unwrap()
    }

    fn with_token() -> (Fixture, SecretHash) {
        let fixture = fixture();
        act(&fixture, |tx| add(tx, &root(), &web1(), &[])).unwrap();
        let token = new_token(&fixture);
        (fixture, token)
    }

    fn new_token(fixture: &Fixture) -> SecretHash {
        act(fixture, |tx| make_join_token(tx, &root(), &web1(), JOIN_TOKEN_LIFE)).unwrap().hash()
    }

    fn join_as(fixture: &Fixture, token: &SecretHash, credential: &'static str) -> Result<Machine, Error> {
        let token = token.clone();
        act(fixture, move |tx| join(tx, &token, &SecretHash::of(credential), "0.1.0"))
    }

    fn accepted(fixture: &Fixture, credential: &'static str) -> bool {
        act(fixture, move |tx| authenticate(tx, &SecretHash::of(credential), None)).unwrap().is_some()
    }

    #[test]
    fn a_token_is_valid_for_one_credential_and_a_join_can_be_repeated() {
        let (fixture, token) = with_token();
        assert_eq!(join_as(&fixture, &token, "a").unwrap().name, web1());
        assert_eq!(join_as(&fixture, &token, "a").unwrap().name, web1());
        assert!(matches!(join_as(&fixture, &token, "b"), Err(Error::TokenRefused)));
        assert!(accepted(&fixture, "a") && !accepted(&fixture, "b"));
    }

    #[test]
    fn a_token_expires_to_the_microsecond() {
        let (fixture, token) = with_token();
        fixture.clock.advance(JOIN_TOKEN_LIFE);
        assert!(matches!(join_as(&fixture, &token, "a"), Err(Error::TokenRefused)));
    }

    #[test]
    fn an_old_credential_works_until_the_new_one_is_used() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "old").unwrap();
        assert!(accepted(&fixture, "old"));
        fixture.clock.advance(Duration::from_secs(1));
        let second = new_token(&fixture);
        join_as(&fixture, &second, "new").unwrap();
        assert!(accepted(&fixture, "old"));
        assert!(accepted(&fixture, "new"));
        assert!(!accepted(&fixture, "old"));
    }

    #[test]
    fn a_machine_that_missed_the_reply_may_join_again_with_a_new_token() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "a").unwrap();
        fixture.clock.advance(JOIN_TOKEN_LIFE);
        let again = new_token(&fixture);
        assert_eq!(join_as(&fixture, &again, "a").unwrap().name, web1());
        assert!(accepted(&fixture, "a"));
        let third = new_token(&fixture);
        assert!(matches!(join_as(&fixture, &third, "a"), Err(Error::TokenRefused)), "it is in use by now");
    }

    #[test]
    fn a_replaced_credential_still_does_for_logins_that_wait_and_for_nothing_else() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "old").unwrap();
        assert!(accepted(&fixture, "old"));
        fixture.clock.advance(Duration::from_secs(1));
        let second = new_token(&fixture);
        join_as(&fixture, &second, "new").unwrap();
        assert!(accepted(&fixture, "new"));
        let waits =
            || act(&fixture, |tx| authenticate_waiting(tx, &SecretHash::of("old"))).unwrap().is_some();
        assert!(waits() && !accepted(&fixture, "old"));
        fixture.clock.advance(LONGEST_WAIT);
        assert!(!waits());
    }

    #[test]
    fn a_removed_machine_is_refused_and_its_name_is_free_again() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "a").unwrap();
        act(&fixture, |tx| remove(tx, &rules(), &root(), &web1())).unwrap();
        assert!(!accepted(&fixture, "a"));
        assert!(matches!(join_as(&fixture, &token, "a"), Err(Error::TokenRefused)));
        act(&fixture, |tx| add(tx, &root(), &web1(), &[])).unwrap();
        assert!(!accepted(&fixture, "a"));
    }

    #[test]
    fn what_changes_is_on_record_as_it_was_and_as_it_is() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "a").unwrap();
        act(&fixture, |tx| {
            let (web, db): (PoolName, PoolName) = ("web".parse().unwrap(), "db".parse().unwrap());
            for pool in [&web, &db] {
                pools::add(tx, &root(), pool)?;
                pools::put_in(tx, &root(), pool, &web1())?;
                pools::put_in(tx, &root(), pool, &web1())?;
            }
            pools::take_out(tx, &root(), &web, &web1())?;
            remove(tx, &rules(), &root(), &web1())?;
            pools::remove(tx, &root(), &db)
        })
        .unwrap();
        let filter = Filter { limit: 99, ..Filter::default() };
        let found = fixture.db.read_blocking(|tx| search(tx, &filter)).unwrap();
        let told: Vec<String> = found.iter().map(told).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        machine.added {}
        machine.token-made {"expires":"2026-11-21T13:00:00Z","joined":"no"}
        machine.joined {"joined":"no","module":"0.1.0"}
        pool.added {"pool":"web"}
        pool.machine-added {"after":"web","before":"-","pool":"web"}
        pool.added {"pool":"db"}
        pool.machine-added {"after":"db web","before":"web","pool":"db"}
        pool.machine-removed {"after":"db","before":"db web","pool":"web"}
        machine.removed {"joined":"yes","last-seen":"2026-11-21T12:00:00Z","module":"0.1.0","pools":"db"}
        pool.removed {"machines":"-","pool":"db"}
        "#);
    }

    #[test]
    fn many_writers_in_two_programs_make_one_chain_with_an_event_for_each_change() {
        let fixture = fixture();
        let other = fixture.reopen();
        let added = std::thread::scope(|scope| {
            let writers: Vec<_> = [&fixture.db, &other, &fixture.db, &other]
                .into_iter()
                .map(|db| scope.spawn(move || (0..50).filter(|n| added_once(db, *n)).count()))
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).sum::<usize>()
        });
        assert_eq!(added, 50, "each name was free once");
        let (machines, found, head) = fixture
            .db
            .read_blocking(|tx| {
                let filter = Filter { limit: 999, ..Filter::default() };
                let head = audit::verify(tx, None)?.unwrap();
                Ok::<_, Error>((store::machines(tx)?, search(tx, &filter)?, head))
            })
            .unwrap();
        assert_eq!((machines.len(), found.len(), head.seq), (50, 50, 50));
        assert_eq!(found.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
        assert_eq!(fixture.db.read_blocking(audit::index::hidden).unwrap(), 0);
    }

    /// Adds the machine; true if it did not exist before.
    fn added_once(db: &Db, number: i64) -> bool {
        let name: MachineName = format!("m{number}").parse().unwrap();
        match db.write_blocking("add", move |tx| add(tx, &root(), &name, &[])) {
            Ok(()) => true,
            Err(usecases::Error::Machine(Error::MachineExists(_))) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The kind and the details of an event, as text.
    fn told(event: &Found) -> String {
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        format!("{} {}", body["kind"].as_str().unwrap(), body.get("detail").unwrap_or(&serde_json::json!({})))
    }

    #[test]
    fn a_credential_of_one_machine_cannot_be_taken_over_by_another() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "a").unwrap();
        let db1: MachineName = "db1".parse().unwrap();
        act(&fixture, move |tx| add(tx, &root(), &"db1".parse().unwrap(), &[])).unwrap();
        let other =
            act(&fixture, move |tx| make_join_token(tx, &root(), &db1, JOIN_TOKEN_LIFE)).unwrap().hash();
        assert!(matches!(join_as(&fixture, &other, "a"), Err(Error::TokenRefused)));
    }
}
