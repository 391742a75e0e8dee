//! Machines as ssh(1) reads them in its configuration. Pure.

use kbmfa_proto::names::UserName;
use std::fmt::Write as _;

use super::Machine;

/// A file for ssh's `Include`. A machine without an address has no entry. One of which a whole host key is pinned is
/// recognised by nothing else; `export known_hosts` has its key.
pub fn render(machines: &[Machine], account: Option<&UserName>) -> String {
    let mut text =
        "# Made by `kbmfa-server export ssh_config`; the host keys: `kbmfa-server export known_hosts`\n"
            .to_owned();
    for machine in machines {
        let Some(endpoint) = &machine.reach.endpoint else { continue };
        let (name, address, port) = (&machine.name, &endpoint.address, endpoint.port);
        // Writing to a String cannot fail.
        let _ = write!(text, "\nHost {name}\n    HostName {address}\n    Port {port}\n");
        if let Some(account) = account {
            let _ = writeln!(text, "    User {account}");
        }
        if machine.reach.host_keys.iter().any(|key| key.line.is_some()) {
            text.push_str("    StrictHostKeyChecking yes\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::host_keys::{Endpoint, HostKey, Reach};
    use std::collections::BTreeMap;

    #[test]
    fn a_machine_is_recognised_by_its_pinned_key_alone_if_the_whole_key_is_known() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7AyLu6ZzqWyNQyAEMqjtgkMzPpc8Jhoyz4eZ7CS3qi";
        let key = HostKey::read(line).unwrap();
        let machine = |name: &str, address: Option<&str>, key: HostKey| Machine {
            name: name.parse().unwrap(),
            pools: Vec::new(),
            reach: Reach {
                endpoint: address.map(|text| Endpoint { address: text.parse().unwrap(), port: 2222 }),
                host_keys: vec![key],
            },
            accounts: BTreeMap::new(),
            faults: Vec::new(),
        };
        let bare = HostKey::from(key.fingerprint.clone());
        let machines = [
            machine("web1", Some("2001:db8::7"), key.clone()),
            machine("web2", Some("web2.example.com"), bare),
            machine("web3", None, key),
        ];
        insta::assert_snapshot!(render(&machines, Some(&"dora".parse().unwrap())), @r"
        # Made by `kbmfa-server export ssh_config`; the host keys: `kbmfa-server export known_hosts`

        Host web1
            HostName 2001:db8::7
            Port 2222
            User dora
            StrictHostKeyChecking yes

        Host web2
            HostName web2.example.com
            Port 2222
            User dora
        ");
    }
}
