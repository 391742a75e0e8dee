//! How a machine is reached, and its host keys, by which it is recognised before anything is sent to it. Pure but for
//! [`store`].

pub mod known_hosts;
pub mod report;
pub mod store;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use kbmfa_proto::names::MachineName;
use serde::Serialize;
use sha2::{Digest, Sha256};
use ssh_encoding::{Decode, Reader};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Port of sshd, where none is named.
pub const SSH_PORT: u16 = 22;

/// An IP address or a DNS name, in one spelling: two texts that differ are two addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address(String);

/// The text is no address of a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a machine; write an IP address or a DNS name, such as web1.example.com")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        if let Ok(ip) = text.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            return if ip.is_unspecified() || ip.is_multicast() {
                Err(bad())
            } else {
                Ok(Self(ip.to_string()))
            };
        }
        let is_label = |label: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(fits)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits alone would be read as an IPv4 address by some programs.
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_name = text.len() <= 253
            && text.split('.').all(is_label)
            && last.bytes().any(|byte| byte.is_ascii_alphabetic())
            && !last.to_ascii_lowercase().starts_with("0x");
        if is_name { Ok(Self(text.to_ascii_lowercase())) } else { Err(bad()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a machine's sshd listens. Shown as ssh writes it in a `known_hosts` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            SSH_PORT => write!(f, "{}", self.address),
            port => write!(f, "[{}]:{port}", self.address),
        }
    }
}

/// The SHA-256 fingerprint of a key, as `ssh-keygen -l` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fingerprint(String);

/// The text is no SHA-256 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fingerprint; write it as ssh-keygen -l prints it: SHA256: and 43 characters")]
pub struct BadFingerprint(String);

impl Fingerprint {
    /// The fingerprint as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let hash = text.strip_prefix("SHA256:").and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        match hash {
            Some(hash) if hash.len() == 32 => Ok(Self(text.to_owned())),
            _ => Err(BadFingerprint(text.to_owned())),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Maximum number of host keys of a machine. sshd has one for each algorithm.
pub const KEYS_MAX: usize = kbmfa_proto::machine::HOST_KEYS_MAX;

/// Longest line of a host key that is read, in bytes. An RSA key of 16384 bits takes about 2800.
const LINE_MAX: usize = 3000;

/// Algorithms of host keys that ssh uses by default. There are no certificates here.
const ALGORITHMS: &[&str] =
    &["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/// A host key, pinned or reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostKey {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Algorithm and base64; `None` if only the fingerprint is known.
    pub line: Option<String>,
}

impl HostKey {
    /// Reads `algorithm base64 ..` and writes it anew; `None` if it is no key of a usual algorithm.
    pub fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (algorithm, encoded) = (words.next()?, words.next()?);
        if !ALGORITHMS.contains(&algorithm) || encoded.len() > LINE_MAX {
            return None;
        }
        let blob = STANDARD.decode(encoded).ok()?;
        let mut rest = blob.as_slice();
        // A blob begins with its own algorithm's name (RFC 4253 section 6.6), and is a list of such fields.
        if String::decode(&mut rest).ok()? != algorithm || rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            rest.drain_prefixed().ok()?;
        }
        let fingerprint = Fingerprint(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))));
        Some(Self { fingerprint, line: Some(format!("{algorithm} {}", STANDARD.encode(&blob))) })
    }

    /// Its algorithm, if more than its fingerprint is known.
    pub fn algorithm(&self) -> Option<&str> {
        self.line.as_deref().and_then(|line| line.split(' ').next())
    }
}

/// A key of which only the fingerprint is known.
impl From<Fingerprint> for HostKey {
    fn from(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, line: None }
    }
}

/// Each key once, in the order of fingerprints, as they are stored.
pub fn distinct(mut keys: Vec<HostKey>) -> Vec<HostKey> {
    keys.sort_by_key(|key| (key.fingerprint.to_string(), key.line.is_none()));
    keys.dedup_by(|a, b| a.fingerprint == b.fingerprint);
    keys
}

/// The fingerprints of keys as one text; `none` if there are none.
pub fn words(keys: &[HostKey]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.fingerprint.to_string()).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(" ") }
}

/// How a machine is reached and recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Where its sshd listens, if that is known.
    pub endpoint: Option<Endpoint>,
    /// The keys of which it must show one.
    pub host_keys: Vec<HostKey>,
}

impl Reach {
    /// The endpoint as text; `-` if there is none.
    pub fn place(&self) -> String {
        self.endpoint.as_ref().map_or_else(|| "-".to_owned(), Endpoint::to_string)
    }

    /// The fingerprints of its keys.
    pub fn fingerprints(&self) -> Vec<&Fingerprint> {
        self.host_keys.iter().map(|key| &key.fingerprint).collect()
    }
}

/// What to change. What is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The new address.
    pub address: Option<Address>,
    /// The new port.
    pub port: Option<u16>,
    /// The keys that replace all pinned ones; empty to keep those.
    pub host_keys: Vec<HostKey>,
}

impl Change {
    /// The result of this change.
    ///
    /// # Errors
    /// [`Refused::NoAddress`], [`Refused::TooManyKeys`].
    pub fn of(&self, before: &Reach) -> Result<Reach, Refused> {
        let known = before.endpoint.as_ref();
        let address = self.address.clone().or_else(|| known.map(|known| known.address.clone()));
        let port = self.port.or_else(|| known.map(|known| known.port));
        let endpoint = match (address, port) {
            (Some(address), port) => Some(Endpoint { address, port: port.unwrap_or(SSH_PORT) }),
            (None, Some(_)) => return Err(Refused::NoAddress),
            (None, None) => None,
        };
        if self.host_keys.len() > KEYS_MAX {
            return Err(Refused::TooManyKeys);
        }
        let host_keys =
            if self.host_keys.is_empty() { before.host_keys.clone() } else { self.host_keys.clone() };
        Ok(Reach { endpoint, host_keys })
    }
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A port without an address.
    #[error("the machine has no address that the port could belong to; name --address, too")]
    NoAddress,
    /// Another machine listens there.
    #[error("{0} is the address of machine {1}")]
    AddressTaken(Endpoint, MachineName),
    /// Another machine shows this key.
    #[error("{0} is the host key of machine {1}; two machines with one key are one machine and its clone")]
    HostKeyTaken(Fingerprint, MachineName),
    /// More keys than a machine has.
    #[error("a machine has at most {KEYS_MAX} host keys")]
    TooManyKeys,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_address_or_a_dns_name_in_one_spelling() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string()).ok();
        for (text, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:DB8:0::7", "2001:db8::7"),
            ("Web1.Example.com", "web1.example.com"),
            ("web-1", "web-1"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected));
        }
        let long = format!("{}.a", "a".repeat(64));
        for text in [
            "",
            ".",
            "web1.",
            ".web1",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a\nb",
            "a/b",
            "[::1]",
            "web1:22",
            "*",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "192.0.2",
            "1.2.3.0x7",
            "192.0.2.256",
            "-oProxyCommand=x",
            "w\u{fc}b",
            &long,
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_what_ssh_keygen_prints() {
        let good = format!("SHA256:{}", "A".repeat(43));
        assert_eq!(good.parse::<Fingerprint>().unwrap().to_string(), good);
        for text in ["", "SHA256:", "MD5:00:11", &good[7..], &format!("{good}="), &good.replace("AAA", "A A")]
        {
            assert!(text.parse::<Fingerprint>().is_err(), "{text:?}");
        }
        assert!(
            format!("SHA256:{}B", "A".repeat(42)).parse::<Fingerprint>().is_err(),
            "bits that do not count"
        );
    }

    #[test]
    fn a_line_is_a_host_key_only_if_its_data_is_of_the_algorithm_and_whole() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7AyLu6ZzqWyNQyAEMqjtgkMzPpc8Jhoyz4eZ7CS3qi";
        let key = HostKey::read(&format!(" {line} root@web1\n")).unwrap();
        assert_eq!((key.line.as_deref(), key.algorithm()), (Some(line), Some("ssh-ed25519")));
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJ7AyLu6ZzqWyNQyAEMqjtgkMzPpc8Jhoyz4eZ7CS3qi",
            "ssh-dss AAAAB3NzaC1kc3M=",
            &line[..line.len() - 4],
            &format!("@revoked {line}"),
        ] {
            assert_eq!(HostKey::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_named_in_a_change_stays_as_it_is() {
        let key = |c: &str| HostKey {
            fingerprint: format!("SHA256:{}", c.repeat(43)).parse().unwrap(),
            line: None,
        };
        let nothing = Reach { endpoint: None, host_keys: Vec::new() };
        let port = Change { port: Some(2222), ..Change::default() };
        assert_eq!(port.of(&nothing), Err(Refused::NoAddress));
        let named = Change { address: Some("web1".parse().unwrap()), host_keys: vec![key("A")], port: None };
        let before = named.of(&nothing).unwrap();
        assert_eq!(before.place(), "web1");
        let moved = port.of(&before).unwrap();
        assert_eq!((moved.place(), moved.host_keys), ("[web1]:2222".to_owned(), vec![key("A")]));
        let replaced = Change { host_keys: vec![key("Q")], ..Change::default() }.of(&before).unwrap();
        assert_eq!((replaced.place(), replaced.host_keys), ("web1".to_owned(), vec![key("Q")]));
    }
}
