//! Says each change in one line.

use std::fmt::{self, Display, Formatter};

use super::change::{Change, keybase_words};
use super::write::moment;
use super::{Employee, Grant, Id, Machine};
use crate::employees::State;
use crate::machines::host_keys::{Endpoint, HostKey, SSH_PORT};

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.verb().sign())?;
        match self {
            Self::AddPool(pool) => write!(f, "pool {}{}", pool.name, of(": ", pool.label.as_ref())),
            Self::LabelPool(name, before, after) => {
                write!(f, "pool {name}: label {} -> {}", or_dash(before.as_ref()), or_dash(after.as_ref()))
            }
            Self::RemovePool(name) => write!(f, "pool {name}"),
            Self::AddMachine(machine) => add_machine(f, machine),
            Self::MoveMachine(name, before, after) => {
                write!(f, "machine {name}: address {} -> {after}", or_dash(before.as_ref()))
            }
            Self::PinHostKeys(name, before, after) => {
                write!(f, "machine {name}: host keys {} -> {}", fingerprints(before), fingerprints(after))
            }
            Self::PutIn(machine, pool) | Self::TakeOut(machine, pool) => {
                write!(f, "machine {machine} in pool {pool}")
            }
            Self::RemoveMachine(name) => {
                write!(f, "machine {name}: its credential ends, and its logins are refused")
            }
            Self::AddEmployee(employee) => add_employee(f, employee),
            Self::ChangeEmployee(before, after) => change_employee(f, before, after),
            Self::SetState(email, state) => {
                write!(
                    f,
                    "employee {email}: {}",
                    if *state == State::Active { "resumed" } else { "suspended" }
                )
            }
            Self::RemoveEmployee(email) => write!(f, "employee {email}"),
            Self::AddGrant(grant) => write!(f, "{}{}", grant.id(), terms(grant)),
            Self::ChangeGrant(before, after) => {
                write!(f, "{}: {} -> {}", after.id(), plain(&terms(before)), plain(&terms(after)))
            }
            Self::RemoveGrant(grant, with) => write!(f, "{}{}", grant.id(), goes_with(with.as_ref())),
            Self::AddKey(key) => write!(f, "{} of {} ({})", key.id(), key.email, key.device),
            Self::ApproveKey(key) => write!(f, "{} of {} ({}): approved", key.id(), key.email, key.device),
            Self::RevokeKey(key, with) => {
                let with = goes_with(with.as_ref());
                write!(f, "{} of {} ({}): revoked for ever{with}", key.id(), key.email, key.device)
            }
        }
    }
}

fn add_machine(f: &mut Formatter<'_>, machine: &Machine) -> fmt::Result {
    write!(f, "machine {}", machine.name)?;
    if let Some(address) = &machine.address {
        let port = machine.port.unwrap_or(SSH_PORT);
        write!(f, ", address {}", Endpoint { address: address.clone(), port })?;
    }
    let pools: Vec<_> = machine.pools.iter().map(ToString::to_string).collect();
    write!(f, "{}", of(", pools ", Some(pools.join(" ")).filter(|pools| !pools.is_empty())))?;
    if !machine.host_keys.is_empty() {
        write!(f, ", host keys {}", fingerprints(&machine.host_keys))?;
    }
    f.write_str(": a record only, until it joins")
}

fn add_employee(f: &mut Formatter<'_>, employee: &Employee) -> fmt::Result {
    let Employee { email, name, unix_name, uid, keybase_name, state } = employee;
    write!(f, "employee {email}: {name}, {unix_name}{}", of(", uid ", *uid))?;
    write!(f, "{}", of(", Keybase ", keybase_name.as_ref()))?;
    f.write_str(if *state == State::Suspended { ", suspended" } else { "" })
}

fn change_employee(f: &mut Formatter<'_>, before: &Employee, after: &Employee) -> fmt::Result {
    write!(f, "employee {}: ", before.email)?;
    let mut parts = Vec::new();
    let mut differs = |what: &str, before: String, after: String| {
        if before != after {
            parts.push(format!("{what} {before} -> {after}"));
        }
    };
    differs("address", before.email.to_string(), after.email.to_string());
    differs("name", before.name.to_string(), after.name.to_string());
    let keybase = |employee: &Employee| keybase_words(employee.keybase_name.as_ref()).to_owned();
    differs("Keybase", keybase(before), keybase(after));
    differs("uid", or_dash(before.uid), or_dash(after.uid));
    f.write_str(&parts.join(", "))
}

/// ` with sudo profile ops until 2026-12-24T18:00:00Z`, or nothing.
fn terms(grant: &Grant) -> String {
    let until = of(" until ", grant.until.map(moment));
    format!("{}{until}", of(" with sudo profile ", grant.sudo.as_ref()))
}

fn plain(terms: &str) -> &str {
    if terms.is_empty() { "without sudo and without an end" } else { terms.trim_start() }
}

fn goes_with(with: Option<&Id>) -> String {
    of(", with ", with)
}

fn of(before: &str, value: Option<impl Display>) -> String {
    value.map_or_else(String::new, |value| format!("{before}{value}"))
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn fingerprints(keys: &[HostKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.fingerprint.to_string()).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(" ") }
}
