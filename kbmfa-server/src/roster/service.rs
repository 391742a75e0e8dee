//! What can be done to the roster: each function is one action inside the caller's transaction, with its
//! audit entry.

use kbmfa_proto::names::{MachineName, PoolName};
use std::time::Duration;

use super::Error;
use super::caller::{Caller, Claim};
use super::store::{self, Machine, Pool};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::db::Tx;
use crate::random;
use crate::secret::{Secret, SecretHash};

/// How long a join token is good for, unless the operator says otherwise.
pub const JOIN_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// Longest life of a join token: enough to roll out a fleet over a long weekend.
pub const JOIN_TOKEN_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How stale "last seen" may be: a write for each login would cost more than the knowledge is worth.
const SEEN_GRAIN: Duration = Duration::from_secs(60);

/// Names that may be claimed at once: enough for a fleet that is being moved, and no flood.
const CLAIMED_MAX: usize = 1000;

/// No login waits longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// Finds out who calls; `None` if the credential is not accepted.
///
/// The first use of a new credential retires the machine's older ones.
///
/// # Errors
/// What the database says.
pub fn authenticate(
    tx: &Tx<'_>,
    hash: &SecretHash,
    module_version: Option<&str>,
) -> Result<Option<Caller>, Error> {
    let Some(credential) = store::credential(tx, hash, tx.now)? else { return Ok(None) };
    if credential.first_used_at.is_none() {
        let retired = store::first_use(tx, hash, &credential)?;
        if retired > 0 {
            let event = Event::new(Kind::MachineRotated, Actor::machine(&credential.name));
            audit::append(tx, &event.machine(&credential.name).detail("retired", retired))?;
        }
    }
    if credential.last_seen_at.is_none_or(|seen| tx.now.since(seen) >= SEEN_GRAIN) {
        store::seen(tx, &credential.machine_id, module_version)?;
    }
    Ok(Some(Caller { machine_id: credential.machine_id, name: credential.name, login: None }))
}

/// [`authenticate`] for a machine that waits for a login which it opened before its credential was
/// replaced: the old one still does for that, and for nothing else.
///
/// # Errors
/// What the database says.
pub fn authenticate_waiting(tx: &Tx<'_>, hash: &SecretHash) -> Result<Option<Caller>, Error> {
    let retired_since = tx.now.minus(LONGEST_WAIT);
    let found = store::credential(tx, hash, retired_since)?;
    Ok(found.map(|credential| Caller {
        machine_id: credential.machine_id,
        name: credential.name,
        login: None,
    }))
}

/// The machine that a claim made with the `AUTH_TOKEN` stands for; `None` if nobody has claimed that name. Opening a
/// login, which tells the module's version, enters it under the name that it claims.
///
/// # Errors
/// [`Error::TooManyClaimed`].
pub fn claimed(tx: &Tx<'_>, claim: &Claim, module_version: Option<&str>) -> Result<Option<Caller>, Error> {
    let known = match (store::machine_by_name(tx, &claim.name)?, module_version) {
        (None, None) => return Ok(None),
        (None, Some(_)) => enter_claimed(tx, claim)?,
        (Some(known), _) => known,
    };
    if known.last_seen_at.is_none_or(|seen| tx.now.since(seen) >= SEEN_GRAIN) {
        store::seen(tx, &known.id, module_version)?;
    }
    Ok(Some(Caller { machine_id: known.id, name: known.name, login: Some(claim.login.clone()) }))
}

fn enter_claimed(tx: &Tx<'_>, claim: &Claim) -> Result<Machine, Error> {
    let claimed = store::machines(tx)?.iter().filter(|machine| machine.name.is_claimed()).count();
    if claimed >= CLAIMED_MAX {
        return Err(Error::TooManyClaimed);
    }
    store::insert_machine(tx, &random::hex::<16>()?, &claim.name)?;
    let event = Event::new(Kind::MachineClaimed, Actor::machine(&claim.name)).machine(&claim.name);
    audit::append(tx, &event.detail("address", claim.address))?;
    machine(tx, &claim.name)
}

/// The machine of this name.
///
/// # Errors
/// [`Error::NoSuchMachine`].
pub fn machine(tx: &Tx<'_>, name: &MachineName) -> Result<Machine, Error> {
    store::machine_by_name(tx, name)?.ok_or_else(|| Error::NoSuchMachine(name.clone()))
}

/// The pool of this name.
///
/// # Errors
/// [`Error::NoSuchPool`].
pub fn pool(tx: &Tx<'_>, name: &PoolName) -> Result<Pool, Error> {
    store::pool_by_name(tx, name)?.ok_or_else(|| Error::NoSuchPool(name.clone()))
}

/// Enters a machine.
///
/// # Errors
/// [`Error::MachineExists`], [`Error::OnlyClaimed`].
pub fn add_machine(tx: &Tx<'_>, actor: &Actor, name: &MachineName) -> Result<(), Error> {
    proven(name)?;
    if store::machine_by_name(tx, name)?.is_some() {
        return Err(Error::MachineExists(name.clone()));
    }
    store::insert_machine(tx, &random::hex::<16>()?, name)?;
    audit::append(tx, &Event::new(Kind::MachineAdded, actor.clone()).machine(name))?;
    Ok(())
}

/// Gives a machine another name. Its id, credentials and pools stay.
///
/// # Errors
/// [`Error::NoSuchMachine`], [`Error::MachineExists`], [`Error::OnlyClaimed`].
pub fn rename_machine(
    tx: &Tx<'_>,
    actor: &Actor,
    name: &MachineName,
    new_name: &MachineName,
) -> Result<(), Error> {
    proven(name)?;
    proven(new_name)?;
    let known = machine(tx, name)?;
    if store::machine_by_name(tx, new_name)?.is_some() {
        return Err(Error::MachineExists(new_name.clone()));
    }
    store::rename_machine(tx, &known.id, new_name)?;
    let event = Event::new(Kind::MachineRenamed, actor.clone()).machine(new_name);
    audit::append(tx, &event.detail("before", name).detail("after", new_name))?;
    Ok(())
}

/// A name that a machine merely claims gets nothing that is worth having.
fn proven(name: &MachineName) -> Result<(), Error> {
    if name.is_claimed() { Err(Error::OnlyClaimed(name.clone())) } else { Ok(()) }
}

/// Makes a token with which the machine can join, or join again to replace its credential.
///
/// # Errors
/// [`Error::NoSuchMachine`], [`Error::OnlyClaimed`].
pub fn make_join_token(
    tx: &Tx<'_>,
    actor: &Actor,
    name: &MachineName,
    life: Duration,
) -> Result<Secret, Error> {
    proven(name)?;
    let machine = machine(tx, name)?;
    let token = Secret::new(format!("kbmfa-join-{}", random::hex::<32>()?));
    let expires_at = tx.now + life.min(JOIN_TOKEN_LIFE_MAX);
    store::insert_join_token(tx, &token.hash(), &machine.id, expires_at)?;
    let event = Event::new(Kind::MachineTokenMade, actor.clone()).machine(name);
    audit::append(tx, &event.detail("expires", expires_at).detail("joined", joined(&machine)))?;
    Ok(token)
}

/// Trades a token for a credential. The same trade again is harmless until the token expires.
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
        // The machine may have joined with it already and not heard of it, before the last token expired.
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
    Ok(found.machine)
}

/// True if somebody can join with this token, or did: a look that costs the writer nothing.
///
/// # Errors
/// What the database says.
pub fn is_join_token(tx: &Tx<'_>, token: &SecretHash) -> Result<bool, Error> {
    Ok(store::join_token(tx, token)?.is_some_and(|token| tx.now < token.expires_at))
}

/// Removes a machine: its credentials are refused from now on.
///
/// # Errors
/// [`Error::NoSuchMachine`].
pub fn remove_machine(tx: &Tx<'_>, actor: &Actor, name: &MachineName) -> Result<Machine, Error> {
    let machine = machine(tx, name)?;
    let pools = store::pools_of(tx, &machine.id)?;
    store::remove_machine(tx, &machine.id)?;
    let event = Event::new(Kind::MachineRemoved, actor.clone())
        .machine(name)
        .detail("pools", list(&pools))
        .detail("joined", joined(&machine))
        .maybe("last-seen", machine.last_seen_at)
        .maybe("module", machine.module_version.as_ref());
    audit::append(tx, &event)?;
    Ok(machine)
}

/// Whether a machine had a credential before what is put on record.
fn joined(machine: &Machine) -> &'static str {
    if machine.credentials > 0 { "yes" } else { "no" }
}

/// Names with blanks between them; `-` for none.
fn list<N: std::fmt::Display>(names: &[N]) -> String {
    let names: Vec<_> = names.iter().map(N::to_string).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(" ") }
}

/// Makes a pool if there is none of this name; true if it was made.
///
/// # Errors
/// What the database says.
pub fn add_pool(tx: &Tx<'_>, actor: &Actor, name: &PoolName) -> Result<bool, Error> {
    if store::pool_by_name(tx, name)?.is_some() {
        return Ok(false);
    }
    store::insert_pool(tx, &random::hex::<16>()?, name)?;
    audit::append(tx, &Event::new(Kind::PoolAdded, actor.clone()).detail("pool", name))?;
    Ok(true)
}

/// Puts a machine into a pool; false if it was there already.
///
/// # Errors
/// [`Error::NoSuchPool`], [`Error::NoSuchMachine`], [`Error::OnlyClaimed`].
pub fn put_in_pool(
    tx: &Tx<'_>,
    actor: &Actor,
    pool_name: &PoolName,
    machine_name: &MachineName,
) -> Result<bool, Error> {
    proven(machine_name)?;
    let (pool, machine) = (pool(tx, pool_name)?, machine(tx, machine_name)?);
    let before = store::pools_of(tx, &machine.id)?;
    let added = store::put_in_pool(tx, &pool.id, &machine.id)?;
    if added {
        record_pools(tx, Event::new(Kind::PoolMachineAdded, actor.clone()), &pool, &machine, &before)?;
    }
    Ok(added)
}

/// Takes a machine out of a pool.
///
/// # Errors
/// [`Error::NotInPool`], [`Error::NoSuchPool`], [`Error::NoSuchMachine`].
pub fn take_out_of_pool(
    tx: &Tx<'_>,
    actor: &Actor,
    pool_name: &PoolName,
    machine_name: &MachineName,
) -> Result<(), Error> {
    let (pool, machine) = (pool(tx, pool_name)?, machine(tx, machine_name)?);
    let before = store::pools_of(tx, &machine.id)?;
    if !store::take_out_of_pool(tx, &pool.id, &machine.id)? {
        return Err(Error::NotInPool(machine_name.clone(), pool_name.clone()));
    }
    record_pools(tx, Event::new(Kind::PoolMachineRemoved, actor.clone()), &pool, &machine, &before)
}

/// The machine's pools have changed: from `before` to what they are now.
fn record_pools(
    tx: &Tx<'_>,
    event: Event,
    pool: &Pool,
    machine: &Machine,
    before: &[PoolName],
) -> Result<(), Error> {
    let after = store::pools_of(tx, &machine.id)?;
    let event = event.machine(&machine.name).detail("pool", &pool.name);
    audit::append(tx, &event.detail("before", list(before)).detail("after", list(&after)))?;
    Ok(())
}

/// Removes a pool. Its machines stay.
///
/// # Errors
/// [`Error::NoSuchPool`].
pub fn remove_pool(tx: &Tx<'_>, actor: &Actor, name: &PoolName) -> Result<(), Error> {
    let pool = pool(tx, name)?;
    store::remove_pool(tx, &pool.id)?;
    let event = Event::new(Kind::PoolRemoved, actor.clone()).detail("pool", name);
    audit::append(tx, &event.detail("machines", list(&pool.machines)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::store::search::{Filter, Found, search};
    use crate::db::Db;
    use crate::db::testing::{Fixture, fixture};

    fn act<T: Send + 'static>(
        fixture: &Fixture,
        work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
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
        act(&fixture, |tx| add_machine(tx, &root(), &web1())).unwrap();
        let token = act(&fixture, |tx| make_join_token(tx, &root(), &web1(), JOIN_TOKEN_LIFE)).unwrap();
        (fixture, token.hash())
    }

    fn join_as(fixture: &Fixture, token: &SecretHash, credential: &'static str) -> Result<Machine, Error> {
        let token = token.clone();
        act(fixture, move |tx| join(tx, &token, &SecretHash::of(credential), "0.1.0"))
    }

    fn accepted(fixture: &Fixture, credential: &'static str) -> bool {
        act(fixture, move |tx| authenticate(tx, &SecretHash::of(credential), None)).unwrap().is_some()
    }

    #[test]
    fn a_token_is_good_for_one_credential_and_the_same_trade_again_is_harmless() {
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
        let second =
            act(&fixture, |tx| make_join_token(tx, &root(), &web1(), JOIN_TOKEN_LIFE)).unwrap().hash();
        join_as(&fixture, &second, "new").unwrap();
        assert!(accepted(&fixture, "old"));
        assert!(accepted(&fixture, "new"));
        assert!(!accepted(&fixture, "old"));
    }

    #[test]
    fn a_machine_that_never_heard_of_its_success_may_join_again_with_a_new_token() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "a").unwrap();
        fixture.clock.advance(JOIN_TOKEN_LIFE);
        let again =
            act(&fixture, |tx| make_join_token(tx, &root(), &web1(), JOIN_TOKEN_LIFE)).unwrap().hash();
        assert_eq!(join_as(&fixture, &again, "a").unwrap().name, web1());
        assert!(accepted(&fixture, "a"));
        let third =
            act(&fixture, |tx| make_join_token(tx, &root(), &web1(), JOIN_TOKEN_LIFE)).unwrap().hash();
        assert!(matches!(join_as(&fixture, &third, "a"), Err(Error::TokenRefused)), "it is in use by now");
    }

    #[test]
    fn a_replaced_credential_still_does_for_logins_that_wait_and_for_nothing_else() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "old").unwrap();
        assert!(accepted(&fixture, "old"));
        fixture.clock.advance(Duration::from_secs(1));
        let second =
            act(&fixture, |tx| make_join_token(tx, &root(), &web1(), JOIN_TOKEN_LIFE)).unwrap().hash();
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
        act(&fixture, |tx| remove_machine(tx, &root(), &web1())).unwrap();
        assert!(!accepted(&fixture, "a"));
        assert!(matches!(join_as(&fixture, &token, "a"), Err(Error::TokenRefused)));
        act(&fixture, |tx| add_machine(tx, &root(), &web1())).unwrap();
        assert!(!accepted(&fixture, "a"));
    }

    #[test]
    fn what_changes_is_on_record_as_it_was_and_as_it_is() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "a").unwrap();
        act(&fixture, |tx| {
            let (web, db): (PoolName, PoolName) = ("web".parse().unwrap(), "db".parse().unwrap());
            for pool in [&web, &db] {
                add_pool(tx, &root(), pool)?;
                put_in_pool(tx, &root(), pool, &web1())?;
                put_in_pool(tx, &root(), pool, &web1())?;
            }
            take_out_of_pool(tx, &root(), &web, &web1())?;
            remove_machine(tx, &root(), &web1())?;
            remove_pool(tx, &root(), &db)
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

    /// True if this call entered the machine.
    fn added_once(db: &Db, number: i64) -> bool {
        let name: MachineName = format!("m{number}").parse().unwrap();
        match db.write_blocking("add", move |tx| add_machine(tx, &root(), &name)) {
            Ok(()) => true,
            Err(Error::MachineExists(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The kind and the details of an event.
    fn told(event: &Found) -> String {
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        format!("{} {}", body["kind"].as_str().unwrap(), body.get("detail").unwrap_or(&serde_json::json!({})))
    }

    #[test]
    fn a_credential_of_one_machine_cannot_be_taken_over_by_another() {
        let (fixture, token) = with_token();
        join_as(&fixture, &token, "a").unwrap();
        let db1: MachineName = "db1".parse().unwrap();
        act(&fixture, move |tx| add_machine(tx, &root(), &"db1".parse().unwrap())).unwrap();
        let other =
            act(&fixture, move |tx| make_join_token(tx, &root(), &db1, JOIN_TOKEN_LIFE)).unwrap().hash();
        assert!(matches!(join_as(&fixture, &other, "a"), Err(Error::TokenRefused)));
    }
}
