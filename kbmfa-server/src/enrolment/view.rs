//! What a person's own computer is told about them: their keys, and how they reach their machines.

use kbmfa_proto::enrolment::{KeyView, MachineProgress, MachineView, PersonView, Placed, Progress};
use std::collections::BTreeSet;

use super::store;
use crate::clock::Time;
use crate::db::{Error, Tx};
use crate::deliveries::placed;
use crate::employees::store::{Employee, password_set_at};
use crate::keys::State;
use crate::keys::store::{self as keys, Key};
use crate::machines::host_keys::store::reach;

/// Total size of the host keys that one answer holds, in bytes. It keeps an answer far below the 8
/// MiB that `kbmfa-enroll` reads; the machines that do not fit are counted.
const HOST_KEYS_MAX: usize = 1024 * 1024;

/// The person with their keys that are not revoked, and the machines that they have a live grant for.
pub fn person(tx: &Tx<'_>, employee: &Employee) -> Result<PersonView, Error> {
    let all = keys::of_employee(tx, &employee.id)?;
    let (machines, machines_left_out) = machines(tx, &Account::of(employee, &all))?;
    Ok(PersonView {
        email: employee.email.to_string(),
        name: employee.name.clone(),
        unix_name: employee.unix_name.to_string(),
        keys: all.iter().filter(|key| key.state != State::Revoked).map(key).collect(),
        machines,
        password_set_us: password_set_at(tx, &employee.id)?.map(Time::micros),
        machines_left_out,
    })
}

/// How far the person's keys have got, on each machine that they have a live grant for and to which keys are delivered.
pub fn progress(tx: &Tx<'_>, employee: &Employee) -> Result<Progress, Error> {
    let account = Account::of(employee, &keys::of_employee(tx, &employee.id)?);
    let mut machines = Vec::new();
    let mut seen = BTreeSet::new();
    for way in store::ways(tx, &employee.id)? {
        if seen.len() >= store::MACHINES_MAX || !seen.insert(way.machine_id.clone()) {
            continue;
        }
        if let Some(placed) = account.placed(tx, &way.machine_id)? {
            machines.push(MachineProgress { name: way.name.to_string(), placed });
        }
    }
    Ok(Progress { machines })
}

/// Whose account is asked about, and the keys that it should have.
struct Account<'a> {
    employee: &'a Employee,
    active: BTreeSet<String>,
}

impl<'a> Account<'a> {
    fn of(employee: &'a Employee, keys: &[Key]) -> Self {
        let active = keys.iter().filter(|key| key.state == State::Active);
        Self { employee, active: active.map(|key| key.fingerprint.clone()).collect() }
    }

    /// None if keys are not delivered to the machine. What the machine says of a failure may name other people, so it is not
    /// repeated.
    fn placed(&self, tx: &Tx<'_>, machine_id: &str) -> Result<Option<Placed>, Error> {
        let found = placed::of(tx, machine_id, (&self.employee.unix_name, &self.active))?;
        let view = |(placed, since): (placed::Placed, Option<Time>)| Placed {
            state: placed.as_str().to_owned(),
            since_us: since.map(Time::micros),
        };
        Ok(found.map(view))
    }
}

/// A key as its owner sees it.
pub fn key(key: &Key) -> KeyView {
    KeyView {
        fingerprint: key.fingerprint.clone(),
        algorithm: key.line.split(' ').next().unwrap_or_default().to_owned(),
        device: key.device.clone(),
        state: key.state.as_str().to_owned(),
        added_us: key.added_at.micros(),
    }
}

/// The machines of the live grants by name, each once, and the number of those that do not fit.
fn machines(tx: &Tx<'_>, account: &Account<'_>) -> Result<(Vec<MachineView>, u64), Error> {
    let mut shown: Vec<(String, MachineView)> = Vec::new();
    let (mut bytes, mut left_out) = (0, 0);
    for way in store::ways(tx, &account.employee.id)? {
        if let Some((_, machine)) = shown.last_mut().filter(|(id, _)| *id == way.machine_id) {
            machine.until_us = later(machine.until_us, way.ends_at);
            continue;
        }
        if shown.len() >= store::MACHINES_MAX || bytes > HOST_KEYS_MAX {
            left_out += 1;
            continue;
        }
        let reach = reach(tx, &way.machine_id)?;
        let host_keys: Vec<_> = reach.host_keys.into_iter().filter_map(|key| key.line).collect();
        bytes += host_keys.iter().map(String::len).sum::<usize>();
        let machine = MachineView {
            name: way.name.to_string(),
            address: reach.endpoint.as_ref().map(|endpoint| endpoint.address.to_string()),
            port: reach.endpoint.as_ref().map(|endpoint| endpoint.port),
            host_keys,
            until_us: way.ends_at.map(Time::micros),
            placed: account.placed(tx, &way.machine_id)?,
        };
        shown.push((way.machine_id, machine));
    }
    Ok((shown.into_iter().map(|(_, machine)| machine).collect(), left_out))
}

/// The later of two ends; none is later than any.
fn later(one: Option<i64>, other: Option<Time>) -> Option<i64> {
    Some(one?.max(other?.micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{Fixture, START, fixture};
    use crate::deliveries::{Place, store as deliveries};
    use crate::employees::store as employees;
    use std::time::Duration;

    const EVERYTHING: &[&str] = &[
        "INSERT INTO employee (id, email, name, unix_name, state, created_at, changed_at)
         VALUES ('e', 'ann@x', 'Ann', 'ann', 'active', 0, 0)",
        "INSERT INTO pool (id, name, created_at) VALUES ('p', 'web', 0), ('q', 'db', 0), ('o', 'old', 0)",
        "INSERT INTO machine (id, name, created_at) VALUES ('m', 'web1', 0), ('n', 'web2', 0), ('r', 'old1', 0)",
        "INSERT INTO pool_machine (pool_id, machine_id) VALUES ('p', 'm'), ('q', 'm'), ('p', 'n'), ('o', 'r')",
    ];

    /// Ann may go to web1 by two grants, and to web2 by one; another grant has ended.
    fn world() -> Fixture {
        let fixture = fixture();
        let fill = |tx: &Tx<'_>| {
            for sql in EVERYTHING {
                tx.execute(sql, &[])?;
            }
            for (id, pool, ends) in [("1", "p", START + 10), ("2", "q", START + 20), ("3", "o", START - 1)] {
                tx.execute(
                    "INSERT INTO pool_grant (id, employee_id, pool_id, created_at, ends_at) VALUES (?1, 'e', ?2, 0, ?3)",
                    &[id.into(), pool.into(), Time::from_micros(ends).into()],
                )?;
            }
            Ok::<_, Error>(())
        };
        fixture.db.write_blocking("test", fill).unwrap();
        fixture
    }

    fn of_ann<T>(fixture: &Fixture, look: impl Fn(&Tx<'_>, &Employee) -> Result<T, Error>) -> T {
        let found = fixture.db.read_blocking(|tx| {
            let ann = employees::by_id(tx, "e")?.unwrap();
            look(tx, &ann)
        });
        found.unwrap()
    }

    #[test]
    fn each_machine_of_a_live_grant_is_shown_once_with_the_later_end() {
        let shown = of_ann(&world(), person);
        let machines: Vec<_> =
            shown.machines.iter().map(|machine| (machine.name.as_str(), machine.until_us)).collect();
        assert_eq!(machines, [("web1", Some(START + 20)), ("web2", Some(START + 10))]);
        assert!(shown.machines.iter().all(|machine| machine.placed.is_none()));
        assert_eq!((shown.machines_left_out, shown.password_set_us), (0, None));
    }

    #[test]
    fn the_ends_of_two_grants_are_one_the_later_and_none_if_one_has_none() {
        let at = |us| Some(Time::from_micros(us));
        assert_eq!(later(Some(1), at(2)), Some(2));
        assert_eq!(later(Some(3), at(2)), Some(3));
        assert_eq!((later(None, at(2)), later(Some(3), None)), (None, None));
    }

    #[test]
    fn progress_names_the_machines_to_which_keys_are_delivered_and_the_persons_own_keys_decide() {
        let fixture = world();
        assert_eq!(of_ann(&fixture, progress).machines, []);
        let deliver = |tx: &Tx<'_>| {
            deliveries::insert(tx, "m", Place::System, false)?;
            deliveries::set_confirmed(tx, "m", ("hash", ""), tx.now + Duration::from_secs(9), false)?;
            // Another person's key on the same machine is not shown to ann.
            tx.execute(
                "INSERT INTO delivered_key (machine_id, unix_name, fingerprint) VALUES ('m', 'ben', 'SHA256:b')",
                &[],
            )
        };
        fixture.db.write_blocking("test", deliver).unwrap();
        let states = |fixture: &Fixture| {
            let machines = of_ann(fixture, progress).machines.into_iter();
            machines.map(|machine| (machine.name, machine.placed.state)).collect::<Vec<_>>()
        };
        assert_eq!(states(&fixture), [("web1".to_owned(), "confirmed".to_owned())], "she has no key");
        let add = |tx: &Tx<'_>| {
            tx.execute(
                "INSERT INTO ssh_key (id, employee_id, fingerprint, line, device, state, added_at, active_at)
                 VALUES ('k', 'e', 'SHA256:a', 'ssh-ed25519 AAAA', 'laptop', 'active', 0, 0)",
                &[],
            )
        };
        fixture.db.write_blocking("test", add).unwrap();
        assert_eq!(states(&fixture), [("web1".to_owned(), "left-out".to_owned())]);
        let given = |tx: &Tx<'_>| {
            tx.execute(
                "INSERT INTO delivered_key (machine_id, unix_name, fingerprint) VALUES ('m', 'ann', 'SHA256:a')",
                &[],
            )
        };
        fixture.db.write_blocking("test", given).unwrap();
        assert_eq!(states(&fixture), [("web1".to_owned(), "confirmed".to_owned())]);
    }
}
