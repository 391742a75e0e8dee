//! The two files of the old tool for keys, `data.json` and `pools.json`. Pure.
//!
//! The old tool checked next to nothing before it wrote them, so every value may be of any kind. A password is
//! never looked at. No error quotes a value whose place in the file could be that of a password.

mod json;
#[cfg(test)]
mod tests;

use kbmfa_proto::key::PublicKey;
use kbmfa_proto::names::{MachineName, PoolName, UserName};
use kbmfa_proto::text::SafeText;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use json::{Json, PASSWORD, field, records};

use super::{Employee, Grant, Id, Key, Machine, Pool, Roster};
use crate::employees::{Email, State, account};
use crate::machines::host_keys::Address;
use crate::near::did_you_mean;

/// The device of a key that the old tool had: it did not record any.
const DEVICE: &str = "ssh-handler";

/// What the two files hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// The roster.
    pub roster: Roster,
    /// Where each entry comes from, for messages.
    pub places: BTreeMap<Id, String>,
    /// Addresses of people without a key.
    pub without_key: Vec<Email>,
    /// Addresses of people without a pool.
    pub without_pool: Vec<Email>,
    /// Number of passwords, none of which is taken over.
    pub passwords: usize,
}

/// Reads the texts of both files.
///
/// # Errors
/// Every fault, with its file and record.
pub fn parse(data: &str, pools: &str) -> Result<Taken, Vec<String>> {
    let mut reader = Reader::default();
    match records(pools) {
        Ok(records) => reader.each("pools.json", &records, Reader::pool),
        Err(what) => reader.faults.push(format!("pools.json: {what}")),
    }
    match records(data) {
        Ok(records) => reader.each("data.json", &records, Reader::person),
        Err(what) => reader.faults.push(format!("data.json: {what}")),
    }
    let Reader { mut taken, faults, .. } = reader;
    taken.roster.sort();
    if faults.is_empty() { Ok(taken) } else { Err(faults) }
}

#[derive(Default)]
struct Reader {
    taken: Taken,
    faults: Vec<String>,
    /// The pools of the files, by the names there. `None` if the pool itself is faulty.
    pools: BTreeMap<String, Option<PoolName>>,
    people: BTreeMap<String, String>,
    accounts: BTreeMap<String, String>,
    keys: BTreeMap<String, String>,
}

impl Reader {
    fn fault(&mut self, place: &str, what: impl fmt::Display) {
        self.faults.push(format!("{place}: {what}"));
    }

    /// Reads each record of a file. One whose id is there twice is a fault: it is not known which one counted.
    fn each(&mut self, file: &str, records: &[(String, Json)], read: impl Fn(&mut Self, &str, &Json)) {
        let mut ids: Vec<&str> = records.iter().map(|(id, _)| id.as_str()).collect();
        ids.sort_unstable();
        let mut twice: Vec<&str> =
            ids.windows(2).filter(|two| two.first() == two.last()).flatten().copied().collect();
        twice.dedup();
        for id in &twice {
            self.fault(&place(file, id), "the id is there twice");
        }
        for (id, record) in records.iter().filter(|(id, _)| twice.binary_search(&id.as_str()).is_err()) {
            read(self, id, record);
        }
    }

    /// The fields of a record; `None` if it is no record.
    fn fields<'j>(&mut self, place: &str, record: &'j Json) -> Option<&'j [(String, Json)]> {
        let Json::Object(fields) = record else {
            self.fault(place, "it is no record with fields");
            return None;
        };
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find_map(|two| (two.first() == two.last()).then(|| two.first()))
        {
            self.fault(
                place,
                format!("the field {:?} is there twice", SafeText::new(twice.unwrap_or(&"")).as_str()),
            );
            return None;
        }
        Some(fields)
    }

    fn pool(&mut self, id: &str, record: &Json) {
        let place = place("pools.json", id);
        let lower = id.to_lowercase();
        if let Some((first, _)) = self.pools.iter().find(|(name, _)| name.to_lowercase() == lower) {
            let what =
                format!("there is a pool {:?} already; names of pools are in lower case here", shown(first));
            return self.fault(&place, what);
        }
        self.pools.insert(id.to_owned(), None);
        let name = lower.parse::<PoolName>().map_err(|error| self.fault(&place, error)).ok();
        let Some(fields) = self.fields(&place, record) else { return };
        let label = match field(fields, "name") {
            Some(Json::Text(label)) => {
                Some(SafeText::new(label.trim())).filter(|label| !label.as_str().is_empty())
            }
            None => None,
            Some(_) => return self.fault(&place, "its name is no text"),
        };
        let Some(name) = name else { return };
        match field(fields, "machines") {
            Some(Json::List(machines)) => {
                for machine in machines {
                    self.machine(&place, &name, machine);
                }
            }
            Some(_) => self.fault(&place, "its machines are no list"),
            None => self.fault(&place, "the field machines is missing"),
        }
        self.pools.insert(id.to_owned(), Some(name.clone()));
        self.taken.places.insert(Id::Pool(name.clone()), place);
        self.taken.roster.pools.push(Pool { name, label });
    }

    fn machine(&mut self, place: &str, pool: &PoolName, machine: &Json) {
        let Json::Text(text) = machine else { return self.fault(place, "a machine is no text") };
        let Some((name, address)) = machine_at(text) else {
            return self.fault(place, format!("{:?} is no address of a machine", shown(text)));
        };
        let known = self.taken.roster.machines.iter_mut().find(|machine| machine.name == name);
        if let Some(machine) = known {
            if !machine.pools.contains(pool) {
                machine.pools.push(pool.clone());
            }
            return;
        }
        self.taken.places.insert(Id::Machine(name.clone()), place.to_owned());
        let (address, pools) = (Some(address), vec![pool.clone()]);
        self.taken.roster.machines.push(Machine { name, address, port: None, pools, host_keys: Vec::new() });
    }

    fn person(&mut self, id: &str, record: &Json) {
        let place = place("data.json", id);
        let Some(fields) = self.fields(&place, record) else { return };
        if field(fields, PASSWORD).is_some() {
            self.taken.passwords += 1;
        }
        let email = match field(fields, "email") {
            Some(Json::Text(email)) => email.trim().parse::<Email>().map_err(|error| error.to_string()),
            Some(_) => Err("its email is no text".to_owned()),
            None => Err("the field email is missing".to_owned()),
        };
        let pools = self.pools_of(&place, fields);
        let key = self.key_of(&place, fields);
        match email {
            Ok(email) => {
                let Some((account, uid)) = self.account_of(&place, fields, &email) else { return };
                self.employee(place, (email, &account, uid), &pools, key);
            }
            Err(what) => self.fault(&place, what),
        }
    }

    /// The account of a person: the text before the @, as the old tool made it. Somebody whose name is no Unix name
    /// is given another one in the file, which the old tool did not have.
    fn account_of(
        &mut self,
        place: &str,
        fields: &[(String, Json)],
        email: &Email,
    ) -> Option<(UserName, Option<u32>)> {
        let uid = match field(fields, "uid") {
            None => None,
            Some(Json::Number(uid)) if u32::try_from(*uid).is_ok() => u32::try_from(*uid).ok(),
            Some(_) => {
                self.fault(place, "its uid is no whole number");
                return None;
            }
        };
        let before_at = email.as_str().split('@').next().unwrap_or_default();
        let text = match field(fields, "unix_name") {
            None => before_at,
            Some(Json::Text(name)) => name,
            Some(_) => {
                self.fault(place, "its unix_name is no text");
                return None;
            }
        };
        let parsed = text.parse::<UserName>().map_err(|error| error.to_string());
        let checked =
            parsed.and_then(|name| account::check(&name).map(|()| name).map_err(|error| error.to_string()));
        match checked {
            Ok(name) => Some((name, uid)),
            Err(what) => {
                self.fault(place, format!("{what}: add \"unix_name\" to the record"));
                None
            }
        }
    }

    fn employee(
        &mut self,
        place: String,
        (email, unix_name, uid): (Email, &UserName, Option<u32>),
        pools: &[PoolName],
        key: Option<PublicKey>,
    ) {
        if let Some(first) = first(&mut self.people, email.as_str(), &place) {
            return self.fault(&place, format!("{email} is in {first}, too"));
        }
        if let Some(first) = first(&mut self.accounts, unix_name.as_str(), &place) {
            let what = format!("its account {unix_name} is that of {first}, too; the old tool let both in");
            return self.fault(&place, what);
        }
        self.taken.places.insert(Id::Employee(email.clone()), place.clone());
        for pool in pools {
            let grant = Grant { email: email.clone(), pool: pool.clone(), sudo: None, until: None };
            self.taken.places.insert(grant.id(), place.clone());
            self.taken.roster.grants.push(grant);
        }
        if pools.is_empty() {
            self.taken.without_pool.push(email.clone());
        }
        match key {
            Some(key) => self.key(place, &email, &key),
            None => self.taken.without_key.push(email.clone()),
        }
        let (unix_name, name) = (unix_name.clone(), SafeText::new(unix_name.as_str()));
        let (keybase_name, state) = (None, State::Active);
        self.taken.roster.employees.push(Employee { email, name, unix_name, uid, keybase_name, state });
    }

    fn key(&mut self, place: String, email: &Email, key: &PublicKey) {
        let (line, fingerprint) = (key.line().to_owned(), key.fingerprint().to_owned());
        if let Some(first) = first(&mut self.keys, &fingerprint, &place) {
            return self
                .fault(&place, format!("its public_key is that of {first}, too; a key is one person's"));
        }
        let key = Key { email: email.clone(), device: DEVICE.into(), line, fingerprint };
        self.taken.places.insert(key.id(), place);
        self.taken.roster.keys.push(key);
    }

    /// The pools of a person: in `pool` or `pools`, as one text or a list of them.
    fn pools_of(&mut self, place: &str, fields: &[(String, Json)]) -> Vec<PoolName> {
        let mut found = Vec::new();
        for value in ["pool", "pools"].into_iter().filter_map(|name| field(fields, name)) {
            let items =
                if let Json::List(items) = value { items.as_slice() } else { std::slice::from_ref(value) };
            for item in items {
                match item {
                    Json::Text(name) if name.is_empty() => {}
                    Json::Text(name) => found.extend(self.pool_named(place, name)),
                    _ => self.fault(place, "the name of a pool is no text"),
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    fn pool_named(&mut self, place: &str, name: &str) -> Option<PoolName> {
        if let Some(known) = self.pools.get(name) {
            return known.clone();
        }
        let near = did_you_mean(name, self.pools.keys());
        self.fault(place, format!("pools.json has no pool {:?}{near}", shown(name)));
        None
    }

    fn key_of(&mut self, place: &str, fields: &[(String, Json)]) -> Option<PublicKey> {
        match field(fields, "public_key") {
            None => None,
            Some(Json::Text(text)) if text.trim().is_empty() => None,
            Some(Json::Text(text)) => PublicKey::parse(text)
                .map_err(|error| self.fault(place, format!("its public_key: {error}")))
                .ok(),
            Some(_) => {
                self.fault(place, "its public_key is no text");
                None
            }
        }
    }
}

/// The first place with this value, if there is one; otherwise notes that this is it.
fn first(places: &mut BTreeMap<String, String>, value: &str, place: &str) -> Option<String> {
    if let Some(first) = places.get(value) {
        return Some(first.clone());
    }
    places.insert(value.to_owned(), place.to_owned());
    None
}

/// A text of the file, cut and cleaned.
fn shown(text: &str) -> String {
    SafeText::new(&text.chars().take(80).collect::<String>()).to_string()
}

fn place(file: &str, id: &str) -> String {
    format!("{file}: record {:?}", shown(id))
}

/// The name and the address of a machine. The old tool knew machines by their addresses alone.
fn machine_at(text: &str) -> Option<(MachineName, Address)> {
    let text = text.trim();
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // Such as 192.168.163.13X, which would be a DNS name.
    if parts.len() == 4 && parts.iter().take(3).all(is_number) && text.parse::<IpAddr>().is_err() {
        return None;
    }
    let address: Address = text.parse().ok()?;
    let name = address.to_string();
    let name = if name.contains(':') { format!("ip6-{}", name.replace(':', "-")) } else { name };
    Some((name.parse().ok()?, address))
}
