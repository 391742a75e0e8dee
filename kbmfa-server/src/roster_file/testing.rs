//! Generated rosters for tests. Everything about an entry that never changes follows from its number, so that any
//! two rosters are one server's at two times.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kbmfa_proto::key::PublicKey;
use kbmfa_proto::names::PoolName;
use kbmfa_proto::text::SafeText;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::subsequence;
use sha2::{Digest, Sha256};

use super::{Employee, Grant, Key, Machine, Pool, Roster};
use crate::clock::Time;
use crate::db::testing::START;
use crate::employees::State;
use crate::machines::host_keys::HostKey;

/// The names of pools, whose members a generated roster takes.
const POOLS: [&str; 5] = ["db", "ops-1", "web", "web.eu", "w_1"];

/// The Ed25519 key of this number.
pub(crate) fn public_key(number: u32) -> PublicKey {
    let name: &[u8] = b"ssh-ed25519";
    let bytes = Sha256::digest(number.to_be_bytes());
    let blob = [&11_u32.to_be_bytes(), name, &32_u32.to_be_bytes(), &bytes].concat();
    PublicKey::parse(&format!("ssh-ed25519 {}", STANDARD.encode(blob))).unwrap()
}

/// The host key of this number, of which more than the fingerprint is known if the number is even.
fn host_key(number: u32) -> HostKey {
    let key = public_key(number);
    HostKey {
        fingerprint: key.fingerprint().parse().unwrap(),
        line: number.is_multiple_of(2).then(|| key.line().to_owned()),
    }
}

/// The key of an employee of this number.
pub(crate) fn key(owner: u32, number: u32) -> Key {
    let public = public_key(1000 + 10 * owner + number);
    Key {
        email: email(owner).parse().unwrap(),
        device: SafeText::new(&format!("device {number}")),
        line: public.line().to_owned(),
        fingerprint: public.fingerprint().to_owned(),
    }
}

pub(crate) fn email(number: u32) -> String {
    format!("p{number}@example.com")
}

fn text() -> impl Strategy<Value = SafeText> {
    // A label is trimmed, and an empty one is none.
    "[ -~äß\u{1f600}\"'\\\\\u{202e}]{0,12}".prop_map(|text| SafeText::new(format!("x{text}").trim()))
}

fn pools() -> impl Strategy<Value = Vec<PoolName>> {
    subsequence(POOLS.to_vec(), 0..=POOLS.len())
        .prop_map(|names| names.into_iter().map(|name| name.parse().unwrap()).collect())
}

fn machine(number: u32) -> impl Strategy<Value = (u32, bool, u16, u32)> {
    (Just(number), any::<bool>(), 20_u16..25, 1..3_u32)
}

fn employee(number: u32) -> impl Strategy<Value = Employee> {
    (text(), of(Just(number)), any::<bool>()).prop_map(move |(name, keybase, active)| Employee {
        email: email(number).parse().unwrap(),
        name,
        unix_name: format!("p{number}").parse().unwrap(),
        uid: Some(30_000 + number),
        keybase_name: keybase.map(|number| format!("kb{number}").parse().unwrap()),
        state: if active { State::Active } else { State::Suspended },
    })
}

fn until() -> impl Strategy<Value = Option<Time>> {
    of((START + 1..START + 1_000_000_000_000).prop_map(Time::from_micros))
}

/// Any roster of a server.
pub(crate) fn any_roster() -> impl Strategy<Value = Roster> {
    let machines = subsequence((0..6_u32).collect::<Vec<_>>(), 0..=6)
        .prop_flat_map(|numbers| numbers.into_iter().map(machine).collect::<Vec<_>>());
    let employees = subsequence((0..6_u32).collect::<Vec<_>>(), 0..=6)
        .prop_flat_map(|numbers| numbers.into_iter().map(employee).collect::<Vec<_>>());
    let choices = prop::collection::vec(any::<prop::sample::Index>(), 6);
    let grants = prop::collection::vec(
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), of("[a-z]{1,4}"), until()),
        0..8,
    );
    let keys = prop::collection::vec((any::<prop::sample::Index>(), 0..3_u32), 0..8);
    let labels = prop::collection::vec(of(text()), POOLS.len());
    (pools(), labels, machines, choices, employees, grants, keys).prop_map(
        |(pools, labels, machines, choices, employees, grants, keys)| {
            let mut roster = Roster {
                pools: pools.iter().cloned().zip(labels).map(|(name, label)| Pool { name, label }).collect(),
                ..Roster::default()
            };
            for ((number, by_name, port, host_keys), choice) in machines.into_iter().zip(choices) {
                let its: Vec<PoolName> = pools.iter().take(choice.index(pools.len() + 1)).cloned().collect();
                let address =
                    if by_name { format!("m{number}.example.com") } else { format!("192.0.2.{number}") };
                roster.machines.push(Machine {
                    name: format!("m{number}").parse().unwrap(),
                    address: Some(address.parse().unwrap()),
                    port: Some(port),
                    pools: its,
                    host_keys: (0..host_keys).map(|n| host_key(10 * number + n)).collect(),
                });
            }
            for (who, what, sudo, until) in grants {
                if employees.is_empty() || pools.is_empty() {
                    break;
                }
                let (email, pool) = (who.get(&employees).email.clone(), what.get(&pools).clone());
                let grant = Grant { email, pool, sudo: sudo.map(|name| name.parse().unwrap()), until };
                if !roster.grants.iter().any(|other| other.id() == grant.id()) {
                    roster.grants.push(grant);
                }
            }
            for (who, number) in keys {
                if employees.is_empty() {
                    break;
                }
                let owner: u32 = who.get(&employees).unix_name.as_str()[1..].parse().unwrap();
                if !roster.keys.contains(&key(owner, number)) {
                    roster.keys.push(key(owner, number));
                }
            }
            roster.employees = employees;
            roster.sort();
            roster
        },
    )
}
