//! Machines, accounts and keys as an Ansible inventory. Pure.
//!
//! The playbook is constant. Everything that varies is in JSON files, which Ansible reads as YAML, and is written by
//! `serde_json`; each text in it has an alphabet in which no template can be written.

use kbmfa_proto::names::{PoolName, UserName};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

use super::{Machine, authorized_keys};

/// The playbook, the same for every roster.
pub const PLAYBOOK: &str = include_str!("playbook.yml");

/// Files of an Ansible directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Ansible {
    /// `inventory.json`: the machines, in a group for each pool, with their accounts.
    pub inventory: Value,
    /// `group_vars/all.json`: what is the same on several machines.
    pub group_vars: Value,
}

/// Renders these machines. `shell` is that of new accounts.
pub fn render(machines: &[Machine], shell: &str) -> Ansible {
    let mut keys = KeySets::default();
    let mut hosts = Map::new();
    for machine in machines {
        let account = |(name, account): (&UserName, &_)| {
            let set = keys.name_of(name, authorized_keys(account));
            json!({ "name": name.as_str(), "uid": account.uid, "key_set": set })
        };
        let accounts: Vec<Value> = machine.accounts.iter().map(account).collect();
        let mut host = json!({ "kbmfa_accounts": accounts });
        if let (Some(endpoint), Some(host)) = (&machine.reach.endpoint, host.as_object_mut()) {
            host.insert("ansible_host".to_owned(), endpoint.address.to_string().into());
            host.insert("ansible_port".to_owned(), endpoint.port.into());
        }
        hosts.insert(machine.name.to_string(), host);
    }
    let groups: Map<String, Value> = groups(machines)
        .into_iter()
        .map(|(group, members)| {
            let hosts: Map<_, _> = members.into_iter().map(|host| (host, json!({}))).collect();
            (group, json!({ "hosts": hosts }))
        })
        .collect();
    Ansible {
        inventory: json!({ "all": { "hosts": hosts, "children": groups } }),
        group_vars: json!({ "kbmfa_exclusive": false, "kbmfa_shell": shell, "kbmfa_keys": keys.into_json() }),
    }
}

/// The machines of each pool, by a name that Ansible accepts for a group: letters, digits and underscores.
fn groups(machines: &[Machine]) -> BTreeMap<String, Vec<String>> {
    let pools: BTreeSet<&PoolName> = machines.iter().flat_map(|machine| &machine.pools).collect();
    let mut groups = BTreeMap::new();
    for pool in pools {
        let plain = format!("pool_{}", pool.as_str().replace(['.', '-'], "_"));
        let mut group = plain.clone();
        let mut number = 2;
        while groups.contains_key(&group) {
            group = format!("{plain}_{number}");
            number += 1;
        }
        let members = machines.iter().filter(|machine| machine.pools.contains(pool));
        groups.insert(group, members.map(|machine| machine.name.to_string()).collect());
    }
    groups
}

/// The different `authorized_keys` of each account. They differ between machines if a grant ends.
#[derive(Default)]
struct KeySets(BTreeMap<UserName, Vec<String>>);

impl KeySets {
    fn label(name: &UserName, at: usize) -> String {
        if at == 0 { name.to_string() } else { format!("{name}+{}", at + 1) }
    }

    fn name_of(&mut self, name: &UserName, text: String) -> String {
        let sets = self.0.entry(name.clone()).or_default();
        let at = sets.iter().position(|known| *known == text).unwrap_or_else(|| {
            sets.push(text);
            sets.len() - 1
        });
        Self::label(name, at)
    }

    fn into_json(self) -> Value {
        let all = self.0.into_iter().flat_map(|(name, sets)| {
            sets.into_iter().enumerate().map(move |(at, text)| (Self::label(&name, at), text.into()))
        });
        Value::Object(all.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::host_keys::{Endpoint, Reach};
    use crate::provision::desired::Account;
    use proptest::prelude::*;

    fn machine(name: &str, pools: &[&str], accounts: &[(&str, u32, &str)]) -> Machine {
        let account = |(name, uid, line): &(&str, u32, &str)| {
            let account = Account {
                employee_id: "e".into(),
                uid: *uid,
                lines: vec![(*line).to_owned()],
                fingerprints: BTreeSet::new(),
                sudo: BTreeSet::new(),
                adoption: None,
            };
            (name.parse().unwrap(), account)
        };
        let endpoint = Endpoint { address: format!("{name}.example.com").parse().unwrap(), port: 2222 };
        Machine {
            name: name.parse().unwrap(),
            pools: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
            reach: Reach { endpoint: Some(endpoint), host_keys: Vec::new() },
            accounts: accounts.iter().map(account).collect(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn keys_that_several_machines_have_are_written_once() {
        let machines = [
            machine("a", &["web"], &[("dora", 20_001, "k1")]),
            machine("b", &["web"], &[("dora", 20_001, "k1")]),
            machine("c", &[], &[("dora", 20_001, "expiry k1")]),
        ];
        let Ansible { inventory, group_vars } = render(&machines, "/bin/bash");
        assert_eq!(group_vars["kbmfa_keys"], json!({ "dora": "k1\n", "dora+2": "expiry k1\n" }));
        let hosts = &inventory["all"]["hosts"];
        assert_eq!(hosts["b"]["kbmfa_accounts"][0]["key_set"], "dora");
        assert_eq!(hosts["c"]["kbmfa_accounts"][0]["key_set"], "dora+2");
        assert_eq!(hosts["a"]["ansible_host"], "a.example.com");
        assert_eq!(inventory["all"]["children"], json!({ "pool_web": { "hosts": { "a": {}, "b": {} } } }));
    }

    #[test]
    fn pools_whose_names_ansible_would_not_tell_apart_are_groups_of_their_own() {
        let machines =
            [machine("a", &["web-1"], &[]), machine("b", &["web.1"], &[]), machine("c", &["web_1"], &[])];
        let names: Vec<String> = groups(&machines).into_keys().collect();
        assert_eq!(names, ["pool_web_1", "pool_web_1_2", "pool_web_1_3"]);
    }

    proptest! {
        #[test]
        fn no_name_of_a_pool_or_machine_can_hold_a_template(
            name in "[a-z0-9][a-z0-9.-]{0,20}[a-z0-9]",
            pool in "[a-z0-9][a-z0-9._-]{0,20}",
        ) {
            let Ok(address) = name.parse::<crate::machines::host_keys::Address>() else { return Ok(()) };
            let mut machine = machine("a", &[&pool], &[]);
            machine.name = name.parse().unwrap();
            machine.reach.endpoint = Some(Endpoint { address, port: 22 });
            let text = render(&[machine], "/bin/sh").inventory["all"]["children"].to_string();
            let group = text.split('"').nth(1).unwrap().to_owned();
            prop_assert!(group.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{group}");
        }
    }
}
