//! A machine in memory, for tests: it understands the same requests as `remote.sh`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kbmfa_proto::names::UserName;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

use super::files;
use super::transport::Conversation;
use crate::deliveries::failure::{Failure, Kind};
use crate::grants::SudoProfile;
use crate::random::to_hex;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) is_ours: bool,
    pub(crate) is_off: bool,
    pub(crate) home: Option<Vec<u8>>,
}

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) accounts: BTreeMap<UserName, Account>,
    pub(crate) keys: BTreeMap<UserName, String>,
    pub(crate) sudo: BTreeMap<(UserName, String), String>,
    /// Accounts with open sessions.
    pub(crate) sessions: BTreeSet<UserName>,
    pub(crate) revoked: BTreeSet<String>,
    /// What it says of its state instead of the truth.
    pub(crate) state_line: Option<String>,
    /// Accounts whose file in the home is a link.
    pub(crate) odd_homes: BTreeSet<UserName>,
    /// Words by which steps fail, each by the step's beginning.
    pub(crate) fails: BTreeMap<String, &'static str>,
    pub(crate) state: Option<(String, u64, u64)>,
    /// The texts of profiles that its own policy allows, by name.
    pub(crate) allowed: BTreeMap<String, String>,
    /// Number of steps after which the connection breaks.
    pub(crate) breaks_after: Option<usize>,
    /// Number of changes so far.
    pub(crate) writes: usize,
}

fn hash(content: &[u8]) -> String {
    to_hex(&Sha256::digest(content))
}

fn token(content: &[u8]) -> String {
    if content.is_empty() { "-".to_owned() } else { STANDARD.encode(content) }
}

fn content(token: &str) -> Vec<u8> {
    if token == "-" { Vec::new() } else { STANDARD.decode(token).unwrap() }
}

impl Conversation for Model {
    fn ask(&mut self, request: &str) -> Result<Vec<String>, Failure> {
        let (head, body) = request.split_once('\n').unwrap();
        let head: Vec<_> = head.split(' ').collect();
        assert_eq!((head[1].parse(), head[2]), (Ok(body.len()), hash(body.as_bytes()).as_str()));
        match head[0] {
            "look" => Ok(self.look(body)),
            "revoked" => Ok(vec![format!("lines {}", token(self.revoked_file().as_bytes()))]),
            "apply" => self.apply(body),
            other => panic!("{other}"),
        }
    }
}

impl Model {
    fn revoked_file(&self) -> String {
        files::revoked_file(self.revoked.iter().map(String::as_str))
    }

    fn look(&self, body: &str) -> Vec<String> {
        let asked: BTreeSet<UserName> = body
            .lines()
            .filter_map(|line| line.strip_prefix("account "))
            .map(|name| name.parse().unwrap())
            .collect();
        let with_home = body.contains("place home\n");
        let state = self
            .state
            .as_ref()
            .map_or("- - -".to_owned(), |(one, two, three)| format!("{one} {two} {three}"));
        let state = self.state_line.as_ref().unwrap_or(&state);
        let mut lines = vec![format!("host 0123456789abcdef {state}")];
        lines.push("policy".to_owned());
        lines.extend(
            self.allowed.iter().map(|(name, text)| format!("policy {name} {}", hash(text.as_bytes()))),
        );
        let revoked = self.revoked_file();
        lines.push(format!(
            "revoked {}",
            if revoked.is_empty() { "-".to_owned() } else { hash(revoked.as_bytes()) }
        ));
        let marked = self.accounts.iter().filter(|(_, account)| account.is_ours).map(|(name, _)| name);
        for name in asked.iter().chain(marked.filter(|name| !asked.contains(*name))) {
            match self.accounts.get(name) {
                None => lines.push(format!("absent {name}")),
                Some(account) => {
                    let (off, expires) = if account.is_off { (1, "1") } else { (0, "-") };
                    let ours = u8::from(account.is_ours);
                    let (home, shell) = (token(b"/home/x"), token(b"/bin/bash"));
                    let uid = account.uid;
                    lines.push(format!("account {name} {uid} {uid} {home} {shell} {off} {expires} {ours}"));
                }
            }
            let keys = self.keys.get(name).map_or("-".to_owned(), |keys| hash(keys.as_bytes()));
            lines.push(format!("keys {name} {keys}"));
            for ((_, profile), text) in self.sudo.iter().filter(|((owner, _), _)| owner == name) {
                lines.push(format!("sudo {name} {profile} {}", hash(text.as_bytes())));
            }
            if let Some(account) = self.accounts.get(name).filter(|_| with_home) {
                let is_odd = self.odd_homes.contains(name);
                let home = account.home.as_ref().map_or("-".to_owned(), |home| match home.as_slice() {
                    [] => "empty".to_owned(),
                    home => STANDARD.encode(home),
                });
                lines.push(format!("home {name} {}", if is_odd { "odd" } else { &home }));
            }
        }
        for name in self.keys.keys().filter(|name| !asked.contains(*name)) {
            lines.push(format!("stray {}", token(name.as_str().as_bytes())));
        }
        lines
    }

    fn apply(&mut self, body: &str) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        for line in body.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            match fields.as_slice() {
                ["admin", _] => continue,
                ["for", installation, epoch, counter, "0123456789abcdef", _] => {
                    let told = ((*installation).to_owned(), epoch.parse().unwrap(), counter.parse().unwrap());
                    let is_older = |(one, two, three): &(String, u64, u64)| {
                        *one != told.0 || (told.1, told.2) <= (*two, *three)
                    };
                    if self.state.as_ref().is_some_and(is_older) {
                        return Err(Failure::new(Kind::Generation, "older"));
                    }
                    continue;
                }
                _ => {}
            }
            if self.breaks_after == Some(lines.len()) {
                self.breaks_after = None;
                return Err(Failure::new(Kind::Unreachable, "broken"));
            }
            let before = self.clone();
            let result = self.step(&fields);
            self.writes += usize::from(*self != before);
            lines.push(format!("step {} {result}", lines.len() + 1));
        }
        Ok(lines)
    }

    fn step(&mut self, fields: &[&str]) -> &'static str {
        let name = || fields[1].parse::<UserName>().unwrap();
        let is_ours = fields[1]
            .parse()
            .is_ok_and(|name| self.accounts.get(&name).is_some_and(|account| account.is_ours));
        let line = fields.join(" ");
        if let Some((_, word)) = self.fails.iter().find(|(step, _)| line.starts_with(step.as_str())) {
            return word;
        }
        match fields {
            ["revoke", lines] => {
                let lines = String::from_utf8(content(lines)).unwrap();
                self.revoked.extend(lines.lines().map(str::to_owned));
            }
            ["create", _, uid, _] => {
                let uid = uid.parse().unwrap();
                if self.accounts.contains_key(&name())
                    || self.accounts.values().any(|account| account.uid == uid)
                {
                    return "failed exists";
                }
                self.accounts.insert(name(), Account { uid, is_ours: true, is_off: false, home: None });
            }
            ["adopt", _, uid] => match self.accounts.get_mut(&name()) {
                Some(account) if uid.parse() == Ok(account.uid) && account.uid >= 1000 => {
                    account.is_ours = true;
                }
                _ => return "failed uid-differs",
            },
            ["without", _, lost] => {
                let lost = String::from_utf8(content(lost)).unwrap();
                if let Some(file) = self.keys.get_mut(&name()) {
                    let stays = |line: &&str| !lost.lines().any(|key| line.contains(key));
                    *file = file.lines().filter(stays).fold(String::new(), |text, line| text + line + "\n");
                }
            }
            ["keys", _, "-"] => drop(self.keys.remove(&name())),
            ["sudo", _, profile, "-"] => drop(self.sudo.remove(&(name(), (*profile).to_owned()))),
            ["generation", installation, epoch, counter] => {
                self.state =
                    Some(((*installation).to_owned(), epoch.parse().unwrap(), counter.parse().unwrap()));
            }
            _ if !is_ours => return "failed not-ours",
            fields => return self.step_of_ours(&name(), fields),
        }
        "changed"
    }

    /// A step on an account that has our mark.
    fn step_of_ours(&mut self, name: &UserName, fields: &[&str]) -> &'static str {
        match fields {
            ["keys", _, text] => {
                drop(self.keys.insert(name.clone(), String::from_utf8(content(text)).unwrap()));
            }
            ["sudo", _, profile, text] => {
                let text = String::from_utf8(content(text)).unwrap();
                if self.allowed.get(*profile) != Some(&text) {
                    return "failed forbidden";
                }
                let file = files::sudo_file(name, &profile.parse::<SudoProfile>().unwrap(), &text);
                self.sudo.insert((name.clone(), (*profile).to_owned()), file);
            }
            ["home", _, seen, text, "keep" | "lose"] => {
                let account = self.accounts.get_mut(name).unwrap();
                let now = account.home.as_ref().map_or("-".to_owned(), |home| hash(home));
                if now != *seen {
                    return "failed changed-meanwhile";
                }
                account.home = Some(content(text));
            }
            ["enable", ..] => self.accounts.get_mut(name).unwrap().is_off = false,
            ["disable", _, rest @ ..] => {
                self.accounts.get_mut(name).unwrap().is_off = true;
                if rest.is_empty() {
                    self.sessions.remove(name);
                }
            }
            ["end-sessions", _] => drop(self.sessions.remove(name)),
            ["release", ..] => self.accounts.get_mut(name).unwrap().is_ours = false,
            other => panic!("{other:?}"),
        }
        "changed"
    }
}
