//! The steps from what a machine has to what it should have. Pure.

use kbmfa_proto::names::UserName;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::desired::{Account, Desired, Keys};
use super::files;
use super::hindrance::Hindrance;
use super::report::{Entry, File, Home, Report, Seen};
use super::revoked::Revoked;
use crate::deliveries::{Generation, Place};
use crate::grants::SudoProfile;
use crate::random::to_hex;

/// The day at which an account that is switched off has expired, in days since 1970.
const EXPIRED_DAY: u32 = 1;

/// One change on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Adds keys that the machine refuses from everybody. None is ever taken out.
    Revoke {
        /// `algorithm base64`, a line each.
        lines: String,
    },
    /// Adds an account, with our mark.
    Create {
        /// Its name.
        name: UserName,
        /// Its uid, and the gid of its own group.
        uid: u32,
        /// Its shell.
        shell: String,
    },
    /// Marks an account that others made as ours, if it still has this uid.
    Adopt {
        /// Its name.
        name: UserName,
        /// Its uid.
        uid: u32,
    },
    /// Takes our mark off an account that others made.
    Release {
        /// Its name.
        name: UserName,
    },
    /// Switches an account on: no expiry, not locked, with this shell.
    Enable {
        /// Its name.
        name: UserName,
        /// Its shell.
        shell: String,
    },
    /// Switches an account off: expired, locked, no shell, no cron or at jobs, no lingering services.
    Disable {
        /// Its name.
        name: UserName,
        /// True if its sessions are ended as well.
        ends_sessions: bool,
    },
    /// Ends the sessions of an account, and everything else that runs as it.
    EndSessions {
        /// Its name.
        name: UserName,
    },
    /// Writes its root-owned key file.
    SetKeys {
        /// Its name.
        name: UserName,
        /// The whole file.
        content: String,
    },
    /// Removes its root-owned key file.
    RemoveKeys {
        /// Its name.
        name: UserName,
    },
    /// Takes revoked keys out of a root-owned key file whose other lines are left as they are.
    TakeOut {
        /// Its name.
        name: UserName,
        /// `algorithm base64`, a line each.
        lines: String,
    },
    /// Writes `~/.ssh/authorized_keys`, as the user, if it still is as it was reported.
    SetHome {
        /// Its name.
        name: UserName,
        /// SHA-256 of the file as it was reported; `None` if there was none.
        seen: Option<String>,
        /// The whole file.
        content: Vec<u8>,
        /// True if a key is taken out by it.
        loses: bool,
    },
    /// Writes a sudo file, if the machine's own policy allows the profile.
    SetSudo {
        /// Its name.
        name: UserName,
        /// The profile.
        profile: SudoProfile,
        /// The profile's text, to which the machine adds the name.
        content: String,
    },
    /// Removes a sudo file.
    RemoveSudo {
        /// Its name.
        name: UserName,
        /// The profile.
        profile: String,
    },
    /// Records which state the machine now has.
    Record {
        /// That state.
        generation: Generation,
    },
}

impl Step {
    /// The account that it is about, if it is about one alone.
    pub fn account(&self) -> Option<&UserName> {
        match self {
            Self::Create { name, .. }
            | Self::Adopt { name, .. }
            | Self::Release { name }
            | Self::Enable { name, .. }
            | Self::Disable { name, .. }
            | Self::EndSessions { name }
            | Self::SetKeys { name, .. }
            | Self::RemoveKeys { name }
            | Self::TakeOut { name, .. }
            | Self::SetHome { name, .. }
            | Self::SetSudo { name, .. }
            | Self::RemoveSudo { name, .. } => Some(name),
            Self::Revoke { .. } | Self::Record { .. } => None,
        }
    }

    /// True if somebody loses something by it.
    pub fn takes_away(&self) -> bool {
        match self {
            Self::Revoke { .. }
            | Self::Disable { .. }
            | Self::EndSessions { .. }
            | Self::Release { .. }
            | Self::RemoveKeys { .. }
            | Self::TakeOut { .. }
            | Self::RemoveSudo { .. } => true,
            Self::SetHome { loses, .. } => *loses,
            _ => false,
        }
    }
}

/// The sudo profiles that a machine allows: the name and the SHA-256 of the text of each.
type Policy = BTreeSet<(String, String)>;

/// What to do on a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order: first what takes away.
    pub steps: Vec<Step>,
    /// What is left as it is.
    pub hindrances: Vec<Hindrance>,
    /// Number of accounts of which the steps take keys or access away entirely.
    pub removals: usize,
    /// Number of accounts with our mark that let somebody in before.
    pub present: usize,
}

/// How the operator has set the machines up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the keys are.
    pub place: Place,
    /// Shell of new accounts.
    pub shell: String,
    /// Text of each sudo profile.
    pub profiles: BTreeMap<SudoProfile, String>,
    /// Accounts whose sessions go on when access ends; see `end_sessions` in [`super::settings::Settings`].
    pub keeps_sessions: BTreeSet<UserName>,
}

/// The difference between what a machine should have and what it reports. `given` are the keys that it may have.
pub fn plan(desired: &Desired, report: &Report, settings: &Settings, given: &Keys) -> Plan {
    let mut plan = Plan::default();
    let revoked = &desired.revoked;
    // The machine may hold more of them than we know; it keeps those.
    if !report.refuses(revoked) {
        plan.steps.push(Step::Revoke { lines: files::revoked_file(revoked.lines()) });
    }
    for (name, seen) in &report.accounts {
        if !desired.accounts.contains_key(name) && !desired.faults.contains_key(name) {
            plan.take_away(name, seen, settings, desired);
        }
    }
    let nothing = Seen::default();
    for (name, fault) in &desired.faults {
        plan.hindrances.push(Hindrance::Record(name.clone(), fault.clone()));
        let seen = report.accounts.get(name).unwrap_or(&nothing);
        plan.take_out_of_home(name, seen, revoked);
    }
    for (name, account) in &desired.accounts {
        let seen = report.accounts.get(name).unwrap_or(&nothing);
        plan.present += usize::from(lets_in(seen));
        let is_touched = plan.give(name, account, seen, (settings, report.policy.as_ref()), revoked);
        if is_touched && desired.ending.contains(name) && seen.entry.is_some() {
            plan.steps.push(Step::EndSessions { name: name.clone() });
        }
    }
    let left: BTreeSet<_> = plan.hindrances.iter().filter_map(|one| one.left_alone().cloned()).collect();
    for name in left {
        let seen = report.accounts.get(&name).unwrap_or(&nothing);
        let lines =
            given.get(&name).map(|keys| revoked.lines_of(keys).collect::<Vec<_>>()).unwrap_or_default();
        if !lines.is_empty() && seen.keys != File::Absent {
            let lines = files::revoked_file(lines.into_iter());
            plan.steps.push(Step::TakeOut { name, lines });
        }
    }
    plan.hindrances.extend(report.strays.iter().map(|stray| Hindrance::Stray(stray.to_string())));
    plan
}

impl Plan {
    /// True if the machine is as it should be, as far as that is possible.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps that take nothing from anybody but revoked keys. A plan that takes away too much is stopped but for
    /// these: a revoked key is used again nowhere, whatever is wrong with the rest of the roster, and a roster that is
    /// wrong about who leaves may be wrong about who comes, so nothing is given either.
    pub fn revocations(&self, desired: &Desired, given: &Keys) -> Vec<Step> {
        let loses_revoked_alone = |name: &UserName| {
            let stays = desired.accounts.get(name).map(|account| &account.fingerprints);
            let lost = given.get(name).into_iter().flatten();
            let mut lost = lost.filter(|key| stays.is_none_or(|stays| !stays.contains(*key))).peekable();
            lost.peek().is_some() && lost.all(|key| desired.revoked.has(key))
        };
        let is_one = |step: &&Step| match step {
            Step::Revoke { .. } | Step::TakeOut { .. } => true,
            Step::SetKeys { name, .. }
            | Step::RemoveKeys { name }
            | Step::SetHome { name, .. }
            | Step::EndSessions { name } => loses_revoked_alone(name),
            _ => false,
        };
        self.steps.iter().filter(is_one).cloned().collect()
    }

    fn take_away(&mut self, name: &UserName, seen: &Seen, settings: &Settings, desired: &Desired) {
        let (is_released, is_ending) = (desired.released.contains(name), desired.ending.contains(name));
        let was_in = lets_in(seen);
        self.present += usize::from(was_in);
        let before = self.steps.len();
        for profile in seen.sudo.keys() {
            self.steps.push(Step::RemoveSudo { name: name.clone(), profile: profile.clone() });
        }
        if seen.keys != File::Absent {
            self.steps.push(Step::RemoveKeys { name: name.clone() });
        }
        if let Some(entry) = seen.entry.as_ref().filter(|entry| entry.is_ours) {
            if settings.place == Place::Home {
                self.set_home(name, &seen.home, &[], (&desired.revoked, false));
            }
            let name = name.clone();
            if is_released {
                if is_ending {
                    self.steps.push(Step::EndSessions { name: name.clone() });
                }
                self.steps.push(Step::Release { name });
            } else if !is_off(entry) {
                let ends_sessions = is_ending || !settings.keeps_sessions.contains(&name);
                self.steps.push(Step::Disable { name, ends_sessions });
            } else if is_ending {
                self.steps.push(Step::EndSessions { name });
            }
        } else if is_released && seen.entry.is_some() {
            self.hindrances.push(Hindrance::Released(name.clone()));
        }
        self.removals += usize::from(was_in && self.steps.len() > before);
    }

    /// False if the account is not touched.
    fn give(
        &mut self,
        name: &UserName,
        account: &Account,
        seen: &Seen,
        (settings, policy): (&Settings, Option<&Policy>),
        revoked: &Revoked,
    ) -> bool {
        match &seen.entry {
            // An account is made with its owner's first key.
            None if account.lines.is_empty() => return false,
            None => {
                let shell = settings.shell.clone();
                self.steps.push(Step::Create { name: name.clone(), uid: account.uid, shell });
            }
            Some(entry)
                if !entry.is_ours && account.adoption.as_ref().is_none_or(|one| one.uid != entry.uid) =>
            {
                self.hindrances.push(Hindrance::NotOurs(name.clone()));
                return false;
            }
            Some(entry) if entry.uid != account.uid => {
                let (found, wanted) = (entry.uid, account.uid);
                self.hindrances.push(Hindrance::UidDiffers { name: name.clone(), found, wanted });
                return false;
            }
            Some(entry) if account.adoption.is_some() => self.adopt(name, account, entry, settings),
            Some(entry) if is_off(entry) || entry.is_locked || entry.expires_day.is_some() => {
                self.steps.push(Step::Enable { name: name.clone(), shell: settings.shell.clone() });
            }
            Some(_) => {}
        }
        match settings.place {
            Place::System => self.set_keys(name, &seen.keys, &account.lines),
            Place::Home => {
                let is_exclusive = account.adoption.as_ref().is_some_and(|adoption| adoption.is_exclusive);
                self.set_home(name, &seen.home, &account.lines, (revoked, is_exclusive));
            }
        }
        self.set_sudo(name, account, seen, (settings, policy));
        true
    }

    /// Marks an account that others made. A lock or an expiry of theirs stays; only what we switched off is switched on.
    fn adopt(&mut self, name: &UserName, account: &Account, entry: &Entry, settings: &Settings) {
        if !entry.is_ours {
            self.steps.push(Step::Adopt { name: name.clone(), uid: account.uid });
        }
        if is_off(entry) {
            let shell = account.adoption.as_ref().and_then(|adoption| adoption.shell.clone());
            let shell = shell.unwrap_or_else(|| settings.shell.clone());
            self.steps.push(Step::Enable { name: name.clone(), shell });
        }
    }

    fn set_keys(&mut self, name: &UserName, present: &File, lines: &[String]) {
        if lines.is_empty() {
            if *present != File::Absent {
                self.removals += 1;
                self.steps.push(Step::RemoveKeys { name: name.clone() });
            }
            return;
        }
        let content = files::system_file(lines);
        if *present != File::Present(sha256(content.as_bytes())) {
            self.steps.push(Step::SetKeys { name: name.clone(), content });
        }
    }

    fn set_home(
        &mut self,
        name: &UserName,
        present: &Home,
        lines: &[String],
        (revoked, is_exclusive): (&Revoked, bool),
    ) {
        let old: &[u8] = match present {
            Home::Present(content) => content,
            Home::Unknown | Home::Absent => &[],
            Home::NoHome if lines.is_empty() => return,
            Home::NoHome | Home::Odd => return self.hindrances.push(Hindrance::OddHome(name.clone())),
            Home::Big => return self.hindrances.push(Hindrance::BigHome(name.clone())),
        };
        let (block, has_revoked) = (files::block_of(old), files::has_revoked_beside(old, revoked));
        let content = files::home_file(if is_exclusive { &[] } else { old }, lines, revoked);
        let is_right = if is_exclusive { content == old } else { block == lines && !has_revoked };
        if is_right {
            return;
        }
        let seen = matches!(present, Home::Present(_)).then(|| sha256(old));
        let loses = is_exclusive || has_revoked || block.iter().any(|line| !lines.contains(line));
        self.steps.push(Step::SetHome { name: name.clone(), seen, content, loses });
    }

    /// Takes revoked keys out of a home of which everything else is left as it is.
    fn take_out_of_home(&mut self, name: &UserName, seen: &Seen, revoked: &Revoked) {
        let (Some(entry), Home::Present(old)) = (&seen.entry, &seen.home) else { return };
        let content = files::without(old, revoked);
        if entry.is_ours && content != *old {
            let seen = Some(sha256(old));
            self.steps.push(Step::SetHome { name: name.clone(), seen, content, loses: true });
        }
    }

    fn set_sudo(
        &mut self,
        name: &UserName,
        account: &Account,
        seen: &Seen,
        (settings, policy): (&Settings, Option<&Policy>),
    ) {
        for profile in seen.sudo.keys().filter(|found| !account.sudo.iter().any(|one| one.as_str() == *found))
        {
            self.steps.push(Step::RemoveSudo { name: name.clone(), profile: profile.clone() });
        }
        for profile in &account.sudo {
            let content = settings.profiles.get(profile);
            let is_allowed = |content: &String| {
                let line = (profile.to_string(), sha256(content.as_bytes()));
                policy.is_none_or(|policy| policy.contains(&line))
            };
            let Some(content) = content.filter(|content| is_allowed(content)) else {
                let hindrance = if content.is_none() { Hindrance::NoProfile } else { Hindrance::Forbidden };
                self.hindrances.push(hindrance(name.clone(), profile.clone()));
                if seen.sudo.contains_key(profile.as_str()) {
                    self.steps.push(Step::RemoveSudo { name: name.clone(), profile: profile.to_string() });
                }
                continue;
            };
            let wanted = sha256(files::sudo_file(name, profile, content).as_bytes());
            if seen.sudo.get(profile.as_str()) != Some(&wanted) {
                let (name, profile, content) = (name.clone(), profile.clone(), content.clone());
                self.steps.push(Step::SetSudo { name, profile, content });
            }
        }
    }
}

/// True if the account is switched off.
fn is_off(entry: &Entry) -> bool {
    entry.is_locked && entry.expires_day == Some(EXPIRED_DAY)
}

/// True if somebody could get in with what is there of ours.
fn lets_in(seen: &Seen) -> bool {
    let has_block = matches!(&seen.home, Home::Present(content) if !files::block_of(content).is_empty());
    seen.entry.as_ref().is_some_and(|entry| entry.is_ours && !is_off(entry))
        && (seen.keys != File::Absent || has_block)
}

fn sha256(content: &[u8]) -> String {
    to_hex(&Sha256::digest(content))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoke { lines } => {
                write!(f, "refuse {} revoked keys from everybody", lines.lines().count())
            }
            Self::Create { name, uid, .. } => write!(f, "create account {name} with uid {uid}"),
            Self::Adopt { name, .. } => write!(f, "take over account {name}"),
            Self::Release { name } => write!(f, "hand account {name} back"),
            Self::Enable { name, .. } => write!(f, "switch account {name} on"),
            Self::Disable { name, ends_sessions: true } => {
                write!(f, "switch account {name} off and end its sessions")
            }
            Self::Disable { name, ends_sessions: false } => write!(f, "switch account {name} off"),
            Self::EndSessions { name } => write!(f, "end the sessions of {name}"),
            Self::SetKeys { name, .. } => write!(f, "write the keys of {name}"),
            Self::RemoveKeys { name } => write!(f, "remove the keys of {name}"),
            Self::TakeOut { name, .. } => write!(f, "take revoked keys from {name}"),
            Self::SetHome { name, .. } => write!(f, "write {name}'s ~/.ssh/authorized_keys"),
            Self::SetSudo { name, profile, .. } => write!(f, "give {name} sudo profile {profile}"),
            Self::RemoveSudo { name, profile } => write!(f, "take sudo profile {profile} from {name}"),
            Self::Record { generation } => {
                write!(f, "record state {}.{}", generation.epoch, generation.counter)
            }
        }
    }
}

impl Serialize for Step {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
