//! Reads a roster file, and collects every fault with its line.

use kbmfa_proto::key::PublicKey;
use kbmfa_proto::text::SafeText;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use super::check::{self, Known};
use super::{Employee, FORMAT, Fault, Grant, Id, Key, Lines, Machine, Part, Pool, Roster, RosterFile};
use crate::clock::Time;
use crate::employees::{Email, State};
use crate::keys;
use crate::machines::host_keys::{HostKey, KEYS_MAX, distinct};
use crate::machines::service::refuse_claimed;
use crate::settings::{File, Section};

/// Reads the text of a roster file.
///
/// # Errors
/// Every fault, sorted by line.
pub fn parse(text: &str) -> Result<RosterFile, Vec<Fault>> {
    let file = File::new(Path::new("roster"), text);
    let mut reader = Reader::default();
    let (server, manages) = head(&file);
    for part in Part::ALL {
        for section in file.tables(part.one()) {
            reader.entry(part, &section, &manages);
            section.finish();
        }
    }
    reader.end(&file);
    let mut faults = file.finish().err().map(|faults| faults.found().to_vec()).unwrap_or_default();
    reader.known.sort();
    let Reader { mut roster, lines, known, faults: own, .. } = reader;
    roster.sort();
    faults.extend(own);
    faults.extend(check::faults(&roster, &lines, &manages, &known));
    faults.sort();
    if faults.is_empty() { Ok(RosterFile { server, manages, roster, lines }) } else { Err(faults) }
}

/// The section `[roster]`: the server's id, and what the file is the whole of.
fn head(file: &File<'_>) -> (Option<String>, Vec<Part>) {
    let head = file.section("roster");
    let format = head.has("format");
    if !format {
        head.fault("format", "is missing: a roster file begins with [roster], as `roster export` writes it");
    }
    head.number("format", FORMAT, (FORMAT, FORMAT));
    let server = head.parsed_or_none::<String>("server");
    if format && !head.has("manages") {
        head.fault(
            "manages",
            "is missing: name the parts that this file is the whole of, such as [\"pools\"]",
        );
    }
    let mut manages: Vec<Part> = head.parsed_list("manages").unwrap_or_default();
    manages.sort_unstable();
    manages.dedup();
    head.finish();
    (server, manages)
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    roster: Roster,
    lines: Lines,
    known: Known,
    faults: Vec<Fault>,
    /// The last line on which an entry begins.
    last: usize,
}

impl Reader {
    fn entry(&mut self, part: Part, section: &Section<'_>, manages: &[Part]) {
        self.last = self.last.max(section.line());
        if !manages.is_empty() && !manages.contains(&part) {
            let what = format!("there is a {}, but `manages` does not name {part}", part.one());
            self.faults.push((section.line(), what));
        }
        let id = match part {
            Part::Pools => self.pool(section),
            Part::Machines => self.machine(section),
            Part::Employees => self.employee(section),
            Part::Grants => self.grant(section),
            Part::Keys => self.key(section),
        };
        let Some(id) = id else { return };
        if let Some(first) = self.lines.get(&id) {
            self.faults.push((section.line(), format!("{id} is on line {first} already")));
        } else {
            self.lines.insert(id, section.line());
        }
    }

    /// Checks the mark at the end, without which part of the file may be missing.
    fn end(&mut self, file: &File<'_>) {
        let end = file.section("end");
        match end.is_there() {
            false => {
                let what = "the file ends without [end]: part of it is missing, so nothing of it is applied";
                self.faults.push((file.lines(), what.to_owned()));
            }
            true if end.line() < self.last => {
                self.faults.push((self.last, "nothing may follow [end]".to_owned()));
            }
            true => {}
        }
        end.finish();
    }

    fn pool(&mut self, section: &Section<'_>) -> Option<Id> {
        let name = needed(section, "name");
        let label = text(section, "label");
        let name: kbmfa_proto::names::PoolName = name?;
        self.known.add(Part::Pools, name.as_str());
        self.roster.pools.push(Pool { name: name.clone(), label });
        Some(Id::Pool(name))
    }

    fn machine(&mut self, section: &Section<'_>) -> Option<Id> {
        let name = needed(section, "name");
        let address = section.parsed_or_none("address");
        let port = whole(section, "port", (1, u64::from(u16::MAX)));
        let pools = each(section, "pools", |text| text.parse().map_err(|error| format!("{error}")));
        let host_keys = each(section, "host_keys", host_key);
        if section.has("port") && !section.has("address") {
            section.fault("port", "there is no address that the port could belong to");
        }
        if host_keys.len() > KEYS_MAX {
            section.fault("host_keys", &format!("a machine has at most {KEYS_MAX} host keys"));
        }
        let name: kbmfa_proto::names::MachineName = name?;
        if let Err(error) = refuse_claimed(&name) {
            section.fault("name", &error.to_string());
        }
        let port = port.and_then(|port| u16::try_from(port).ok());
        let mut machine = Machine { name: name.clone(), address, port, pools, host_keys };
        machine.pools.sort();
        machine.pools.dedup();
        machine.host_keys = distinct(machine.host_keys);
        self.roster.machines.push(machine);
        Some(Id::Machine(name))
    }

    fn employee(&mut self, section: &Section<'_>) -> Option<Id> {
        let email: Option<Email> = needed(section, "email");
        if let Some(email) = &email {
            self.known.add(Part::Employees, email.as_str());
        }
        let (name, unix_name) = (needed_text(section, "name"), needed(section, "unix_name"));
        let uid = whole(section, "uid", (0, u64::from(u32::MAX))).and_then(|uid| u32::try_from(uid).ok());
        let keybase_name = section.parsed_or_none("keybase_name");
        let state = section.parsed("state", State::Active);
        if state == State::Removed {
            section.fault("state", "write active or suspended; somebody who is removed has no entry");
        }
        let (email, name, unix_name) = (email?, name?, unix_name?);
        let id = Id::Employee(email.clone());
        self.roster.employees.push(Employee { email, name, unix_name, uid, keybase_name, state });
        Some(id)
    }

    fn grant(&mut self, section: &Section<'_>) -> Option<Id> {
        let (email, pool) = (needed(section, "employee"), needed(section, "pool"));
        let sudo = section.parsed_or_none("sudo");
        let until = section.parsed_or_none::<Until>("until").map(|Until(time)| time);
        let grant = Grant { email: email?, pool: pool?, sudo, until };
        let id = grant.id();
        self.roster.grants.push(grant);
        Some(id)
    }

    fn key(&mut self, section: &Section<'_>) -> Option<Id> {
        let (email, device) = (needed(section, "employee"), needed_text(section, "device"));
        if let Some(Err(error)) = device.as_ref().map(|device| keys::device(device.as_str())) {
            section.fault("device", &error.to_string());
        }
        let line: Option<String> = needed(section, "key");
        let key = PublicKey::parse(&line?).map_err(|error| section.fault("key", &error.to_string())).ok()?;
        let (line, fingerprint) = (key.line().to_owned(), key.fingerprint().to_owned());
        let key = Key { email: email?, device: device?, line, fingerprint };
        let id = key.id();
        self.roster.keys.push(key);
        Some(id)
    }
}

/// A value that must be there.
fn needed<T: FromStr<Err: Display>>(section: &Section<'_>, key: &'static str) -> Option<T> {
    if !section.has(key) {
        section.fault(key, "is missing");
    }
    section.parsed_or_none(key)
}

/// A text for people, without blanks around it; `None` if it is empty.
fn text(section: &Section<'_>, key: &'static str) -> Option<SafeText> {
    let text = section.parsed_or_none::<String>(key)?;
    Some(SafeText::new(text.trim())).filter(|text| !text.as_str().is_empty())
}

fn needed_text(section: &Section<'_>, key: &'static str) -> Option<SafeText> {
    let text = text(section, key);
    if text.is_none() {
        section.fault(key, "is missing or empty");
    }
    text
}

/// A whole number, if the key is there.
fn whole(section: &Section<'_>, key: &'static str, bounds: (u64, u64)) -> Option<u64> {
    let number = section.number(key, bounds.0, bounds);
    section.has(key).then_some(number)
}

/// A list, of which each invalid item is a fault.
fn each<T>(section: &Section<'_>, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    let texts = section.list(key).unwrap_or_default();
    texts.iter().filter_map(|text| read(text).map_err(|what| section.fault(key, &what)).ok()).collect()
}

/// A host key: `SHA256:..`, or algorithm and base64.
fn host_key(text: &str) -> Result<HostKey, String> {
    if text.starts_with("SHA256:") {
        let fingerprint = text.parse().map_err(|error| format!("{error}"))?;
        return Ok(HostKey { fingerprint, line: None });
    }
    HostKey::read(text).ok_or_else(|| {
        "a host key is written as SHA256:.., or as the algorithm and base64 of its .pub file".to_owned()
    })
}

/// The end of a grant in a file. It is never relative to now, because it must mean the same tomorrow.
struct Until(Time);

impl FromStr for Until {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let day = |date: jiff::civil::Date| date.tomorrow()?.to_zoned(jiff::tz::TimeZone::UTC);
        let time = match (text.parse::<jiff::Timestamp>(), text.parse::<jiff::civil::Date>().and_then(day)) {
            (Ok(time), _) => time,
            (Err(_), Ok(day)) => day.timestamp(),
            _ => return Err("write 2026-12-24T18:00:00Z, or 2026-12-24 (with that day, in UTC)"),
        };
        Ok(Self(Time::from_micros(time.as_microsecond())))
    }
}
