//! `/etc/kbmfa/pam.toml`, and the CA list and credential that it names.
//!
//! Unknown keys are faults, and all faults are found before anything is used. Reading the file looks no name
//! up, because the file contains the addresses of every server.

use kbmfa_proto::client::Target;
use kbmfa_proto::names::MachineName;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod access;
pub mod value;

use crate::files::{self, Kind};
pub use crate::outcome::OnUnreachable;
use value::Location;

/// Longest time that one address may take to answer. This time multiplied by the number of servers must be
/// less than the deadline, so that the last server is reached.
pub const ADDRESS_TIME: Duration = Duration::from_secs(5);

/// Maximum number of servers.
const SERVERS_MAX: usize = 8;
/// Maximum number of addresses of one server.
pub const ADDRESSES_MAX: usize = SERVERS_MAX;
const DEADLINE_MIN: Duration = Duration::from_secs(1);
pub const DEADLINE_MAX: Duration = Duration::from_secs(600);

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Every address of every server, in the order in which they are tried.
    pub targets: Vec<Target>,
    /// `ca`
    pub ca: Ca,
    /// `credential`: path of the credential's file.
    pub credential: PathBuf,
    /// `claims`: the name of a machine whose credential is the old tool's `AUTH_TOKEN`. `None` if the machine
    /// has joined.
    pub claims: Option<MachineName>,
    /// `deadline`: longest time for a whole login.
    pub deadline: Duration,
    /// `on_unreachable`
    pub on_unreachable: OnUnreachable,
    /// `spool`: the directory for reports that could not be sent.
    pub spool: PathBuf,
}

/// The CAs to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ca {
    /// The certificates in this file, and no other.
    File(PathBuf),
    /// Every CA in the system's list.
    System,
}

/// One fault, with its file and key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {place}{what}", .file.display())]
pub struct Fault {
    file: PathBuf,
    place: String,
    what: String,
}

/// The keys as they are written in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    servers: Vec<String>,
    #[serde(default = "default_ca")]
    ca: String,
    #[serde(default = "default_credential")]
    credential: PathBuf,
    #[serde(default)]
    claims: Option<String>,
    #[serde(default = "default_deadline")]
    deadline: String,
    #[serde(default = "default_on_unreachable")]
    on_unreachable: String,
    #[serde(default = "default_spool")]
    spool: PathBuf,
    #[serde(default)]
    addresses: BTreeMap<String, Vec<String>>,
}

fn default_ca() -> String {
    "/etc/kbmfa/ca.pem".into()
}

fn default_credential() -> PathBuf {
    "/etc/kbmfa/credential".into()
}

fn default_deadline() -> String {
    "75s".into()
}

fn default_on_unreachable() -> String {
    "deny".into()
}

pub fn default_spool() -> PathBuf {
    "/var/lib/kbmfa-host/spool".into()
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Every [`Fault`] in it.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        let text = files::read(path, Kind::Public).map_err(|error| vec![Fault::new(path, error)])?;
        Self::parse(path, &text)
    }

    /// Reads the text of a file; `path` is for the faults.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults { file: path, found: Vec::new() };
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
            faults.only(&format!("line {line}: "), error.message())
        })?;
        let config = Self {
            targets: targets(&raw, &mut faults),
            ca: ca(&raw.ca, &mut faults),
            deadline: deadline(&raw, &mut faults),
            on_unreachable: on_unreachable(&raw.on_unreachable, &mut faults),
            claims: raw.claims.and_then(|name| claims(&name, &mut faults)),
            credential: raw.credential,
            spool: raw.spool,
        };
        for (key, path) in [("credential", &config.credential), ("spool", &config.spool)] {
            if !path.is_absolute() {
                faults.add(key, "must be an absolute path");
            }
        }
        if faults.found.is_empty() { Ok(config) } else { Err(faults.found) }
    }
}

fn targets(raw: &Raw, faults: &mut Faults<'_>) -> Vec<Target> {
    if !(1..=SERVERS_MAX).contains(&raw.servers.len()) {
        faults.add("servers", format_args!("must name 1 to {SERVERS_MAX} servers"));
    }
    let mut targets = Vec::new();
    let mut hosts = Vec::new();
    for url in &raw.servers {
        let Some(location) = Location::parse(url) else {
            faults.add("servers", format_args!("{url:?} is not https://HOST or https://HOST:PORT"));
            continue;
        };
        let addresses = addresses(&location, raw, faults);
        let target = |ip| Target { host: location.host.clone(), address: SocketAddr::new(ip, location.port) };
        targets.extend(addresses.into_iter().map(target));
        hosts.push(location.host);
    }
    for host in raw.addresses.keys().filter(|host| !hosts.contains(host)) {
        faults.add("addresses", format_args!("{host:?} is not the host of any of the servers"));
    }
    targets
}

fn addresses(location: &Location, raw: &Raw, faults: &mut Faults<'_>) -> Vec<IpAddr> {
    let host = &location.host;
    match (raw.addresses.get(host), location.address()) {
        (None, Some(address)) => vec![address],
        (Some(_), Some(_)) => {
            faults.add("addresses", format_args!("{host:?} is an address already"));
            Vec::new()
        }
        (Some(texts), None) if (1..=SERVERS_MAX).contains(&texts.len()) => texts
            .iter()
            .filter_map(|text| {
                let bad =
                    |_| faults.add("addresses", format_args!("{text:?} of {host:?} is not an IP address"));
                text.parse().map_err(bad).ok()
            })
            .collect(),
        (_, None) => {
            faults.add(
                "addresses",
                format_args!("{host:?} needs 1 to {SERVERS_MAX} addresses: a login never looks names up"),
            );
            Vec::new()
        }
    }
}

fn ca(text: &str, faults: &mut Faults<'_>) -> Ca {
    match text {
        "system" => Ca::System,
        path if Path::new(path).is_absolute() => Ca::File(path.into()),
        _ => {
            faults.add("ca", "must be an absolute path, or \"system\"");
            Ca::System
        }
    }
}

fn claims(name: &str, faults: &mut Faults<'_>) -> Option<MachineName> {
    match name.parse::<MachineName>() {
        Ok(name) if !name.is_claimed() => return Some(name),
        Ok(_) => faults.add("claims", "leave out \"claimed:\""),
        Err(bad) => faults.add("claims", bad),
    }
    None
}

fn deadline(raw: &Raw, faults: &mut Faults<'_>) -> Duration {
    let deadline = value::duration(&raw.deadline).filter(|time| (DEADLINE_MIN..=DEADLINE_MAX).contains(time));
    let Some(deadline) = deadline else {
        faults.add("deadline", format_args!("{:?} is not a time from \"1s\" to \"600s\"", raw.deadline));
        return DEADLINE_MAX;
    };
    let servers = u32::try_from(raw.servers.len()).unwrap_or(u32::MAX);
    let needed = ADDRESS_TIME.saturating_mul(servers);
    if deadline <= needed {
        let needed_s = needed.as_secs();
        faults.add("deadline", format_args!("must be longer than {needed_s}s, 5s for each of the servers"));
    }
    deadline
}

fn on_unreachable(text: &str, faults: &mut Faults<'_>) -> OnUnreachable {
    match text {
        "allow" => return OnUnreachable::Allow,
        "deny" => {}
        _ => faults.add("on_unreachable", format_args!("{text:?} is neither \"deny\" nor \"allow\"")),
    }
    OnUnreachable::Deny
}

/// The faults found in one file so far.
struct Faults<'a> {
    file: &'a Path,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, key: &str, what: impl fmt::Display) {
        self.found.push(Fault { place: format!("{key}: "), ..Fault::new(self.file, what) });
    }

    fn only(&self, place: &str, what: impl fmt::Display) -> Vec<Fault> {
        vec![Fault { place: place.to_owned(), ..Fault::new(self.file, what) }]
    }
}

impl Fault {
    fn new(file: &Path, what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), place: String::new(), what: what.to_string() }
    }
}

#[cfg(test)]
mod tests;
