//! `machine set`: changes a machine's address, port and pinned host keys.

use clap::Args as ClapArgs;
use kbmfa_proto::names::MachineName;
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::{Admin, Failure};
use crate::logins::key;
use crate::machines::host_keys::{Address, Change, Endpoint, Fingerprint, HostKey, Reach};
use crate::usecases::host_keys as usecase;

/// Maximum number of bytes that are read of a `known_hosts` file.
const FILE_MAX: u64 = 1 << 20;

/// Maximum number of host keys of a machine. sshd has one for each algorithm.
const KEYS_MAX: usize = 8;

/// Algorithms of host keys.
const ALGORITHMS: &[&str] =
    &["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/// What to change.
#[derive(ClapArgs)]
#[command(
    after_help = "New host keys replace all pinned ones. Read them on the machine itself, at its console:
  for f in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -l -f $f; done"
)]
pub struct Args {
    /// The machine's name.
    name: MachineName,
    /// IP address or DNS name of its sshd.
    #[arg(long)]
    address: Option<Address>,
    /// Port of its sshd; 22 if none was ever named.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Fingerprint of a host key to pin, as SHA256:..; repeat it for each.
    #[arg(long = "host-key", value_name = "SHA256:..")]
    host_keys: Vec<Fingerprint>,
    /// Pin the host keys that this file, in the format that ssh-keyscan prints, has for the machine's address.
    #[arg(long, value_name = "FILE", conflicts_with = "host_keys")]
    known_hosts: Option<PathBuf>,
    /// Do it; without this, pinned host keys are not replaced, and what would change is printed.
    #[arg(long)]
    yes: bool,
}

/// Runs the verb.
pub(super) fn run(admin: &Admin, args: &Args) -> Result<(), Failure> {
    // Read before root is given up, because only root may be able to read the file.
    let text = args.known_hosts.as_deref().map(read).transpose()?;
    let bare = |fingerprint: &Fingerprint| HostKey { fingerprint: fingerprint.clone(), line: None };
    let mut change = Change {
        address: args.address.clone(),
        port: args.port,
        host_keys: distinct(args.host_keys.iter().map(bare).collect()),
    };
    if change == Change::default() && text.is_none() {
        return Err(Failure::new("nothing to change; name --address, --port, --host-key or --known-hosts"));
    }
    let (_, db) = admin.open()?;
    let plan =
        |change: &Change| db.read_blocking(|tx| usecase::plan(tx, &args.name, change)).map_err(Failure::new);
    if let Some(text) = &text {
        let endpoint = plan(&change)?.1.endpoint;
        let endpoint =
            endpoint.ok_or_else(|| Failure::new("the machine has no address yet; name --address, too"))?;
        change.host_keys = keys_of(text, &endpoint).map_err(Failure::new)?;
    }
    if change.host_keys.len() > KEYS_MAX {
        return Err(Failure::new(format!("a machine has at most {KEYS_MAX} host keys")));
    }
    let (before, after) = plan(&change)?;
    let replaces = !before.host_keys.is_empty() && before.host_keys != after.host_keys;
    if replaces && !args.yes {
        return admin.preview(&format!(
            "replace the pinned host keys of machine {}\n  old: {}\n  new: {}\nMake sure that it is the machine itself \
             that has new keys: compare them at its console",
            args.name,
            words(&before),
            words(&after),
        ));
    }
    let name = args.name.clone();
    let after = admin.change("machine.set", move |tx, _, actor| usecase::set(tx, actor, &name, &change))?;
    let sentence = format!("machine {}: address {}, host keys {}", args.name, after.place(), words(&after));
    let (address, port) = after.endpoint.map(|endpoint| (endpoint.address, endpoint.port)).unzip();
    let json =
        json!({ "machine": args.name, "address": address, "port": port, "host_keys": after.host_keys });
    admin.tell(&sentence, &json)
}

fn words(reach: &Reach) -> String {
    let keys: Vec<String> = reach.fingerprints().iter().map(ToString::to_string).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(" ") }
}

/// Each key once, in the order of fingerprints.
fn distinct(mut keys: Vec<HostKey>) -> Vec<HostKey> {
    keys.sort_by_key(|key| key.fingerprint.to_string());
    keys.dedup_by(|a, b| a.fingerprint == b.fingerprint);
    keys
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    if text.len() as u64 > FILE_MAX {
        return Err(Failure::new(format!("{} is larger than {} MiB", path.display(), FILE_MAX >> 20)));
    }
    Ok(text)
}

/// The keys that a `known_hosts` text has for this endpoint. Pure.
///
/// A line with a marker (`@revoked`, `@cert-authority`), a hashed name or a pattern is not for the endpoint: it would
/// pin what the operator did not see.
fn keys_of(text: &str, endpoint: &Endpoint) -> Result<Vec<HostKey>, String> {
    let wanted = endpoint.to_string();
    let (mut keys, mut revoked) = (Vec::new(), Vec::new());
    for (at, line) in (1..).zip(text.lines().map(str::trim)) {
        let (marker, rest) = match line.split_once(char::is_whitespace) {
            Some((marker, rest)) if marker.starts_with('@') => (marker, rest.trim_start()),
            _ => ("", line),
        };
        let Some((hosts, key)) = rest.split_once(char::is_whitespace) else { continue };
        if line.starts_with('#') || !hosts.split(',').any(|host| host.eq_ignore_ascii_case(&wanted)) {
            continue;
        }
        let mut parts = key.split_ascii_whitespace();
        let (algorithm, encoded) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let known = ALGORITHMS.contains(&algorithm);
        let found = known.then(|| key::read(&format!("{algorithm} {encoded}"))).flatten();
        let fingerprint = found.and_then(|key| key.fingerprint.parse::<Fingerprint>().ok());
        let fingerprint =
            fingerprint.ok_or_else(|| format!("line {at}: it is no host key of a usual algorithm"))?;
        match marker {
            "" => keys.push(HostKey { fingerprint, line: Some(format!("{algorithm} {encoded}")) }),
            "@revoked" => revoked.push(fingerprint),
            _ => {}
        }
    }
    if let Some(key) = keys.iter().find(|key| revoked.contains(&key.fingerprint)) {
        return Err(format!("the file calls {} revoked", key.fingerprint));
    }
    if keys.is_empty() {
        return Err(format!("the file has no key for {wanted}; hashed names and patterns are not read"));
    }
    Ok(distinct(keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7AyLu6ZzqWyNQyAEMqjtgkMzPpc8Jhoyz4eZ7CS3qi";

    fn fingerprints(text: &str, port: u16) -> Result<usize, String> {
        let endpoint = Endpoint { address: "web1.example.com".parse().unwrap(), port };
        keys_of(text, &endpoint).map(|keys| {
            assert!(keys.iter().all(|key| key.line.as_deref() == Some(KEY)));
            keys.len()
        })
    }

    #[test]
    fn a_known_hosts_file_gives_only_the_keys_of_the_address_and_port() {
        let text = format!(
            "# web1\nweb1.example.com,192.0.2.7 {KEY} comment\nweb1.example.com {KEY}\nother {KEY}\n"
        );
        assert_eq!(fingerprints(&text, 22), Ok(1));
        assert!(fingerprints(&text, 2222).unwrap_err().contains("no key for [web1.example.com]:2222"));
        assert_eq!(fingerprints(&format!("[web1.example.com]:2222 {KEY}"), 2222), Ok(1));
    }

    #[test]
    fn what_ssh_would_not_trust_for_this_address_is_not_pinned() {
        for line in
            ["*", "*.example.com", "!web1.example.com", "|1|AAAA|BBBB", "@cert-authority web1.example.com"]
        {
            assert!(fingerprints(&format!("{line} {KEY}"), 22).is_err(), "{line}");
        }
        let revoked = format!("web1.example.com {KEY}\n@revoked web1.example.com {KEY}\n");
        assert!(fingerprints(&revoked, 22).unwrap_err().contains("revoked"));
        for key in ["", "ssh-dss AAAA", "ssh-ed25519 AAAA", "ssh-rsa AAAAC3NzaC1lZDI1NTE5"] {
            let bad = fingerprints(&format!("x y\nweb1.example.com {key} z"), 22);
            assert!(bad.unwrap_err().starts_with("line 2"), "{key}");
        }
    }
}
