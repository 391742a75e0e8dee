//! `machine add`: takes names as arguments, or a CSV file.

use clap::Args as ClapArgs;
use kbmfa_proto::names::{MachineName, PoolName};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use super::super::sheet::{self, Fault, Line};
use super::super::{Admin, Failure};
use super::reach;
use crate::machines::host_keys::{
    Address, Change, Endpoint, Fingerprint, HostKey, SSH_PORT, distinct, known_hosts,
};
use crate::usecases::all_or_none::{NothingDone, all_or_none};
use crate::usecases::machines::{self as usecase, New};

/// The columns of a file; only the first must be there.
const COLUMNS: &[&str] = &["name", "pools", "address", "port", "host_keys"];

/// The machines to add.
#[derive(ClapArgs)]
#[command(
    after_help = "The file of --from is CSV with a header line; all columns but the name may be absent:
  name,pools,address,port,host_keys
  web1,web,web1.example.com,,
  db1,db backup,192.0.2.7,2222,SHA256:.. SHA256:..
Pools and fingerprints of a machine are separated by blanks. Either every machine of the file is added, or none."
)]
pub struct Args {
    /// The names, such as web1 web2.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    names: Vec<MachineName>,
    /// A pool to put them into, created if it does not exist; repeat it for each.
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<PoolName>,
    /// IP address or DNS name of its sshd; only for a single machine.
    #[arg(long, conflicts_with = "from")]
    address: Option<Address>,
    /// Port of its sshd; 22 if none is named.
    #[arg(long, conflicts_with = "from", requires = "address", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Fingerprint of its host key to pin, as SHA256:..; repeat it for each. Without any, those are pinned that the
    /// machine itself reports when it joins.
    #[arg(long = "host-key", value_name = "SHA256:..", conflicts_with_all = ["from", "known_hosts"])]
    host_keys: Vec<Fingerprint>,
    /// Pin the host keys that this file, in the format that ssh-keyscan prints, has for each machine's address.
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// A CSV file with the machines.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Check everything and print what would be added, but add nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: Args) -> Result<(), Failure> {
    let Args { names, pools, address, port, host_keys, known_hosts, from, dry_run } = args;
    // Files are read before root is given up, because only root may be able to read them.
    let keys = known_hosts.as_deref().map(reach::read).transpose()?;
    let (lines, machines): (Vec<u64>, Vec<New>) = if let Some(path) = &from {
        let read = |line: &Line<'_>| machine(line, &pools, keys.as_deref());
        let (found, mut faults) = sheet::parse(&sheet::read(path)?, COLUMNS, 1, read);
        faults.extend(named_twice(&found));
        sheet::refuse(path, faults)?;
        found.into_iter().unzip()
    } else {
        let host_keys = host_keys.into_iter().map(HostKey::from).collect();
        let reach = with_keys(Change { address, port, host_keys }, keys.as_deref());
        let reach = reach.map_err(Failure::new)?;
        if names.len() > 1 && reach != Change::default() {
            return Err(Failure::usage("an address and host keys are one machine's; use --from for several"));
        }
        let new = |name| (0, New { name, pools: pools.clone(), reach: reach.clone() });
        names.into_iter().map(new).unzip()
    };
    let wanted = machines.clone();
    let added = admin.attempt("machine.add", move |tx, _, actor| {
        all_or_none(&wanted, dry_run, |new| usecase::add_new(tx, actor, new))
    })?;
    match (added, &from) {
        (Ok(_), _) => told(admin, &machines),
        (Err(NothingDone::DryRun(_)), _) => match phrase(&machines) {
            None => told(admin, &machines),
            Some(phrase) => {
                admin.dry_run(&format!("add {phrase}"), json!({ "machines": names_of(&machines) }))
            }
        },
        (Err(NothingDone::Faulty(faults)), Some(path)) => {
            sheet::refuse(path, sheet::at_lines(&lines, faults))
        }
        (Err(error), _) => Err(Failure::new(error).hint("nothing was added")),
    }
}

fn names_of(machines: &[New]) -> Vec<&MachineName> {
    machines.iter().map(|new| &new.name).collect()
}

fn told(admin: &Admin, machines: &[New]) -> Result<(), Failure> {
    let names = names_of(machines);
    let Some(phrase) = phrase(machines) else {
        return admin.tell("the file names no machine", &json!({ "machines": names }));
    };
    let next = match names.as_slice() {
        [name] => name.to_string(),
        _ => "--never-joined".to_owned(),
    };
    let sentence = format!("added {phrase}; next: kbmfa-server machine join-token {next}");
    admin.tell(&sentence, &json!({ "machines": names }))
}

/// The machines as a phrase: `machine web1`, or `3 machines: web1, web2, web3`. `None` if there are none.
fn phrase(machines: &[New]) -> Option<String> {
    match machines {
        [] => None,
        [one] => Some(format!("machine {}", one.name)),
        many => {
            let names: Vec<String> = many.iter().take(10).map(|new| new.name.to_string()).collect();
            let more = if many.len() > names.len() { ", .." } else { "" };
            Some(format!("{} machines: {}{more}", many.len(), names.join(", ")))
        }
    }
}

/// Names that an earlier line has, too.
fn named_twice(machines: &[(u64, New)]) -> Vec<Fault> {
    let mut first: HashMap<&MachineName, u64> = HashMap::new();
    let mut faults = Vec::new();
    for (line, New { name, .. }) in machines {
        match first.get(name) {
            Some(before) => {
                faults.push(Fault { line: *line, what: format!("{name} is named twice, in line {before}") });
            }
            None => drop(first.insert(name, *line)),
        }
    }
    faults
}

/// Reads one line of a file. The pools of the command line are for every machine in it, and so is the `known_hosts`
/// text.
fn machine(line: &Line<'_>, pools_of_all: &[PoolName], keys: Option<&str>) -> Result<New, String> {
    let mut pools = pools_of_all.to_vec();
    for pool in each(line.field("pools"))? {
        if !pools.contains(&pool) {
            pools.push(pool);
        }
    }
    let maybe = |column: &str| Some(line.field(column)).filter(|text| !text.is_empty());
    let port = maybe("port").map(|text| text.parse().ok().filter(|port| *port > 0));
    let port = port.map(|port| port.ok_or("the port is not a number from 1 to 65535")).transpose()?;
    let keys_of_line: Vec<Fingerprint> = each(line.field("host_keys"))?;
    let host_keys = distinct(keys_of_line.into_iter().map(HostKey::from).collect());
    let change = Change { address: maybe("address").map(read).transpose()?, port, host_keys };
    Ok(New { name: read(line.field("name"))?, pools, reach: with_keys(change, keys)? })
}

fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn each<T: FromStr<Err: Display>>(text: &str) -> Result<Vec<T>, String> {
    text.split_whitespace().map(read).collect()
}

/// With the keys that a `known_hosts` text has for the machine's address, unless its keys are named already.
fn with_keys(change: Change, keys: Option<&str>) -> Result<Change, String> {
    let Some(text) = keys.filter(|_| change.host_keys.is_empty()) else { return Ok(change) };
    let address = change.address.clone().ok_or("without an address the file of host keys has none for it")?;
    let endpoint = Endpoint { address, port: change.port.unwrap_or(SSH_PORT) };
    Ok(Change { host_keys: known_hosts::keys_of(text, &endpoint)?, ..change })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn parsed(text: &str, keys: Option<&str>) -> (Vec<String>, Vec<String>) {
        let read = |line: &Line<'_>| machine(line, &["all".parse().unwrap()], keys);
        let (machines, faults) = sheet::parse(text, COLUMNS, 1, read);
        let machine = |(line, new): &(u64, New)| {
            let pools: Vec<_> = new.pools.iter().map(PoolName::to_string).collect();
            let Change { address, port, host_keys } = &new.reach;
            let address = address.as_ref().map_or("-".to_owned(), ToString::to_string);
            let port = port.map_or("-".to_owned(), |port| port.to_string());
            format!(
                "{line}: {} in {} at {address} {port} with {}",
                new.name,
                pools.join(" "),
                host_keys.len()
            )
        };
        let fault = |fault: &Fault| format!("{}: {}", fault.line, fault.what);
        (machines.iter().map(machine).collect(), faults.iter().map(fault).collect())
    }

    #[test]
    fn a_line_of_a_file_is_a_machine() {
        let text = format!(
            "Name,Pools,Address,Port,Host_keys\nweb1,web,web1.example.com,,\ndb1,db all,192.0.2.7,2222,{KEY} {KEY}\n"
        );
        let (machines, faults) = parsed(&text, None);
        assert_eq!(faults, Vec::<String>::new());
        let expected =
            ["2: web1 in all web at web1.example.com - with 0", "3: db1 in all db at 192.0.2.7 2222 with 1"];
        assert_eq!(machines, expected);
        assert_eq!(parsed("name\nweb1\n", None).0, ["2: web1 in all at - - with 0"]);
    }

    #[test]
    fn every_fault_of_a_file_of_machines_is_reported_with_its_line() {
        let text = "name,pools,address,port,host_keys\nweb 1,,,,\nw2,w/b,,,\nw3,,a_b,,\nw4,,x,0,\nw5,,x,,MD5:1\nw6,,x y,,\n";
        let (_, faults) = parsed(text, None);
        let lines: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["2", "3", "4", "5", "6", "7"], "{faults:?}");
        let twice = [("w1", 2), ("w2", 3), ("w1", 5)].map(|(name, line)| {
            (line, New { name: name.parse().unwrap(), pools: Vec::new(), reach: Change::default() })
        });
        let faults = named_twice(&twice);
        assert_eq!(
            (faults.len(), faults[0].line, faults[0].what.as_str()),
            (1, 5, "w1 is named twice, in line 2")
        );
    }

    #[test]
    fn the_keys_of_a_known_hosts_file_go_to_the_machines_that_name_none() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7AyLu6ZzqWyNQyAEMqjtgkMzPpc8Jhoyz4eZ7CS3qi";
        let keys = format!("w1 {key}\n[w2]:2222 {key}\n");
        let text =
            format!("name,address,port,host_keys\nw1,w1,,\nw2,w2,2222,\nw3,w3,,{KEY}\nw4,w4,,\nw5,,,\n");
        let (machines, faults) = parsed(&text, Some(&keys));
        assert_eq!(machines.len(), 3, "{machines:?}");
        assert!(
            faults[0].starts_with("5: the file has no key for w4") && faults[1].starts_with("6: without"),
            "{faults:?}"
        );
    }
}
