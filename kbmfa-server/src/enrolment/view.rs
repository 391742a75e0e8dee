//! What a person's own computer is told about them: their keys, and how they reach their machines.

use kbmfa_proto::enrolment::{KeyView, MachineView, PersonView};

use super::store;
use crate::clock::Time;
use crate::db::{Error, Tx};
use crate::employees::store::Employee;
use crate::keys::State;
use crate::keys::store::{self as keys, Key};
use crate::machines::host_keys::store::reach;

/// Total size of the host keys that one answer holds, in bytes. It keeps an answer far below the 8
/// MiB that `kbmfa-enroll` reads; the machines that do not fit are counted.
const HOST_KEYS_MAX: usize = 1024 * 1024;

/// The person with their keys that are not revoked, and the machines that they have a live grant for.
pub fn person(tx: &Tx<'_>, employee: &Employee) -> Result<PersonView, Error> {
    let all = keys::of_employee(tx, &employee.id)?;
    let (machines, machines_left_out) = machines(tx, &employee.id)?;
    Ok(PersonView {
        email: employee.email.to_string(),
        name: employee.name.clone(),
        unix_name: employee.unix_name.to_string(),
        keys: all.iter().filter(|key| key.state != State::Revoked).map(key).collect(),
        machines,
        machines_left_out,
    })
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
fn machines(tx: &Tx<'_>, employee_id: &str) -> Result<(Vec<MachineView>, u64), Error> {
    let mut shown: Vec<(String, MachineView)> = Vec::new();
    let (mut bytes, mut left_out) = (0, 0);
    for way in store::ways(tx, employee_id)? {
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
        };
        shown.push((way.machine_id, machine));
    }
    Ok((shown.into_iter().map(|(_, machine)| machine).collect(), left_out))
}

/// The later of two ends; none is later than any.
fn later(one: Option<i64>, other: Option<Time>) -> Option<i64> {
    Some(one?.max(other?.micros()))
}
