//! What a machine reports, read from the lines that `remote.sh` prints. A machine may be hostile: what is not
//! understood is an error, every number and length has a limit, and texts are only compared or shown escaped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kbmfa_proto::names::UserName;
use kbmfa_proto::text::SafeText;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

use super::files::{self, HOME_FILE_MAX};
use super::revoked::Revoked;
use crate::deliveries::Generation;
use crate::random::to_hex;

/// Largest number of accounts in a report; a machine with more is not one that this program manages.
pub const ACCOUNTS_MAX: usize = 20_000;

/// Most sudo profiles that a machine allows: as many as fit into the part of its policy that is read.
const PROFILES_MAX: usize = 1000;

/// Most files beside the key files.
const STRAYS_MAX: usize = 100;

/// Largest file of revoked keys, in bytes, as in `remote.sh`.
const REVOKED_FILE_MAX: usize = 8 << 20;

/// A report that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the machine's report cannot be read: {0:?}")]
pub struct BadReport(String);

/// What a machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// `/etc/machine-id`.
    pub host_id: Option<String>,
    /// The state that it was given last.
    pub generation: Option<Generation>,
    /// SHA-256 of the installed helper, if that is what reports.
    pub helper: Option<String>,
    /// What demands signed orders there.
    pub signers: Signers,
    /// True if its record of that state cannot be read.
    pub is_state_damaged: bool,
    /// SHA-256 of the file of revoked keys.
    pub revoked: Option<String>,
    /// Its lines, read only if the file is not the one that is expected.
    pub revoked_lines: BTreeSet<String>,
    /// The sudo profiles that it allows, each with the SHA-256 of its text; `None` if it does not tell.
    pub policy: Option<BTreeSet<(String, String)>>,
    /// Each account that was asked about, and each that has our mark.
    pub accounts: BTreeMap<UserName, Seen>,
    /// Files beside the key files that belong to no account we know.
    pub strays: Vec<SafeText>,
    /// Settings that sshd uses for ssh-admin, by their name in lower case; `None` if it was not found.
    pub sshd: Option<BTreeMap<String, String>>,
}

/// The file of those whose signed orders the machine takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Signers {
    /// There is none: orders need no signature.
    #[default]
    Absent,
    /// Something that is no sound file: no order is taken.
    Odd,
    /// Its SHA-256.
    Present(String),
}

/// What there is of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its entry in passwd and shadow.
    pub entry: Option<Entry>,
    /// Its root-owned key file.
    pub keys: File,
    /// `~/.ssh/authorized_keys`; only asked about where keys are written there.
    pub home: Home,
    /// SHA-256 of each of its sudo files, by profile.
    pub sudo: BTreeMap<String, String>,
}

/// An account in passwd and shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its uid.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home.
    pub home: SafeText,
    /// Its shell.
    pub shell: String,
    /// True if its password is locked.
    pub is_locked: bool,
    /// Day of its expiry, in days since 1970.
    pub expires_day: Option<u32>,
    /// True if it is in the group by which we mark accounts.
    pub is_ours: bool,
}

/// A file that root owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum File {
    /// There is none.
    #[default]
    Absent,
    /// Something that is no regular file, or not owned and readable as it should be.
    Odd,
    /// Its SHA-256.
    Present(String),
}

/// The file in a home, as its owner reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Home {
    /// Not asked about.
    #[default]
    Unknown,
    /// There is no file, and one can be made.
    Absent,
    /// There is no home directory.
    NoHome,
    /// A link, a directory or a device is in the way, or it is too large, or cannot be read.
    Odd,
    /// It is larger than [`HOME_FILE_MAX`], or together with the other homes' more than a report holds.
    Big,
    /// Its content.
    Present(Vec<u8>),
}

impl Report {
    /// True if the machine refuses these keys, and no others.
    pub fn has_revoked(&self, keys: &Revoked) -> bool {
        self.revoked.as_deref() == Some(to_hex(&Sha256::digest(files::revoked_file(keys.lines()))).as_str())
    }

    /// True if the machine refuses these keys, and perhaps others.
    pub fn refuses(&self, keys: &Revoked) -> bool {
        keys.is_empty()
            || self.has_revoked(keys)
            || keys.lines().all(|line| self.revoked_lines.contains(line))
    }
}

/// Reads the file of revoked keys.
///
/// # Errors
/// [`BadReport`].
pub fn revoked(lines: &[String]) -> Result<BTreeSet<String>, BadReport> {
    let [line] = lines else { return Err(BadReport(format!("{} lines of revoked keys", lines.len()))) };
    let content = line.strip_prefix("lines ").and_then(|content| text(content, REVOKED_FILE_MAX));
    let content = content.ok_or_else(|| BadReport(line.chars().take(120).collect()))?;
    Ok(content.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Reads the lines of a report.
///
/// # Errors
/// [`BadReport`] with the line.
pub fn parse(lines: &[String]) -> Result<Report, BadReport> {
    let mut report = Report::default();
    for line in lines {
        let bad = || BadReport(line.chars().take(120).collect());
        read_line(&mut report, line).ok_or_else(bad)?;
        if report.accounts.len() > ACCOUNTS_MAX || report.strays.len() > STRAYS_MAX {
            return Err(bad());
        }
    }
    Ok(report)
}

fn read_line(report: &mut Report, line: &str) -> Option<()> {
    let fields: Vec<&str> = line.split(' ').collect();
    match fields.as_slice() {
        ["host", id, installation, epoch, counter] => {
            report.host_id = optional(id).map(str::to_owned);
            let numbers = (epoch.parse(), counter.parse());
            (report.generation, report.is_state_damaged) = match (optional(installation), numbers) {
                (None, _) => (None, false),
                (Some("odd"), _) | (Some(_), (Err(_), _) | (_, Err(_))) => (None, true),
                (Some(installation), (Ok(epoch), Ok(counter))) => {
                    (Some(Generation { installation: installation.to_owned(), epoch, counter }), false)
                }
            };
        }
        ["revoked", hash] => {
            report.revoked = optional(hash).map(sha256).map_or(Some(None), |hash| hash.map(Some))?;
        }
        ["program", helper, signers] => {
            report.helper = optional(helper).map(sha256).map_or(Some(None), |hash| hash.map(Some))?;
            report.signers = match *signers {
                "-" => Signers::Absent,
                "odd" => Signers::Odd,
                hash => Signers::Present(sha256(hash)?),
            };
        }
        ["policy"] => report.policy = Some(BTreeSet::new()),
        ["policy", profile, hash] => {
            let policy = report.policy.as_mut().filter(|policy| policy.len() < PROFILES_MAX)?;
            policy.insert(((*profile).to_owned(), sha256(hash)?));
        }
        ["stray", name] => report.strays.push(String::from_utf8_lossy(&bytes(name, 256)?).as_ref().into()),
        ["sshd", "missing"] => report.sshd = None,
        ["sshd", name, value] => {
            let value = text(value, 65_536)?;
            report.sshd.get_or_insert_default().insert((*name).to_owned(), value);
        }
        fields => read_account(report, fields)?,
    }
    Some(())
}

/// The lines about one account.
fn read_account(report: &mut Report, fields: &[&str]) -> Option<()> {
    match fields {
        ["absent", name] => drop(report.accounts.entry(name.parse().ok()?).or_default()),
        ["account", name, uid, gid, home, shell, locked, expire, ours] => {
            let entry = Entry {
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: text(home, 4096)?.into(),
                shell: text(shell, 4096)?,
                is_locked: flag(locked)?,
                expires_day: optional(expire)
                    .map(|day| day.parse().ok())
                    .map_or(Some(None), |day| day.map(Some))?,
                is_ours: flag(ours)?,
            };
            report.accounts.entry(name.parse().ok()?).or_default().entry = Some(entry);
        }
        ["keys", name, hash] => {
            report.accounts.entry(name.parse().ok()?).or_default().keys = match *hash {
                "-" => File::Absent,
                "odd" => File::Odd,
                hash => File::Present(sha256(hash)?),
            };
        }
        ["sudo", name, profile, hash] => {
            let seen = report.accounts.entry(name.parse().ok()?).or_default();
            seen.sudo.insert((*profile).to_owned(), sha256(hash)?);
        }
        ["home", name, content] => {
            report.accounts.entry(name.parse().ok()?).or_default().home = match *content {
                "-" => Home::Absent,
                "no-home" => Home::NoHome,
                "large" => Home::Big,
                "odd" | "unreadable" => Home::Odd,
                "empty" => Home::Present(Vec::new()),
                content => Home::Present(bytes(content, HOME_FILE_MAX)?),
            };
        }
        _ => return None,
    }
    Some(())
}

fn optional(field: &str) -> Option<&str> {
    (field != "-").then_some(field)
}

fn flag(field: &str) -> Option<bool> {
    match field {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn sha256(field: &str) -> Option<String> {
    let is_hex = field.len() == 64 && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| field.to_owned())
}

fn bytes(field: &str, max: usize) -> Option<Vec<u8>> {
    if field == "-" {
        return Some(Vec::new());
    }
    STANDARD.decode(field).ok().filter(|bytes| bytes.len() <= max)
}

fn text(field: &str, max: usize) -> Option<String> {
    String::from_utf8(bytes(field, max)?).ok()
}

/// How a step ended on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It was so already.
    Unchanged,
    /// It was changed.
    Changed,
    /// It failed, with one of the words of `remote.sh`.
    Failed(String),
}

/// Reads the results of `count` steps, in their order.
///
/// # Errors
/// [`BadReport`] if a line is not understood, or results are missing or too many.
pub fn results(lines: &[String], count: usize) -> Result<Vec<Done>, BadReport> {
    let bad = |line: &str| BadReport(line.chars().take(120).collect());
    let mut done = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        let (number, result) = match fields.as_slice() {
            ["step", number, "ok"] => (number, Done::Unchanged),
            ["step", number, "changed"] => (number, Done::Changed),
            ["step", number, "failed", word] if is_word(word) => (number, Done::Failed((*word).to_owned())),
            _ => return Err(bad(line)),
        };
        done.push(result);
        if number.parse() != Ok(done.len()) {
            return Err(bad(line));
        }
    }
    if done.len() == count { Ok(done) } else { Err(bad(&format!("{} results of {count}", done.len()))) }
}

fn is_word(text: &str) -> bool {
    text.len() <= 40
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_changes_nothing() {
        let good = "host 0123abcd - - -\nrevoked -\naccount dora 20001 20001 L2hvbWU= L2Jpbi9zaA== 0 - 1\nkeys dora -";
        let report = parse(&lines(good)).unwrap();
        assert_eq!(report.accounts.len(), 1);
        for bad in [
            "hello",
            "account dora -1 0 L2hvbWU= L2Jpbi9zaA== 0 - 1",
            "account dora 20001 20001 L2hvbWU= L2Jpbi9zaA== 2 - 1",
            "account do\u{7}ra 20001 20001 L2hvbWU= L2Jpbi9zaA== 0 - 1",
            "keys dora ABCDEF",
            "keys dora -  ",
            "home dora not-base64",
            "sudo dora ops 12",
        ] {
            assert!(parse(&lines(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_forged_number_of_a_state_is_damage_of_that_record_alone() {
        for forged in ["ab x 1", "ab 1 99999999999999999999999", "odd 0 0", "ab -1 1"] {
            let report = parse(&[format!("host 0123abcd {forged}")]).unwrap();
            assert!(report.is_state_damaged && report.generation.is_none(), "{forged}");
        }
        let highest = parse(&["host 0123abcd ab 999999999999999999 999999999999999999".to_owned()]).unwrap();
        assert!(!highest.is_state_damaged && highest.generation.is_some());
    }

    #[test]
    fn a_home_file_that_is_too_long_is_refused() {
        let long = STANDARD.encode(vec![b'x'; HOME_FILE_MAX + 1]);
        assert!(parse(&[format!("home dora {long}")]).is_err());
    }

    #[test]
    fn results_are_as_many_as_the_steps_and_in_their_order() {
        let good = lines("step 1 ok\nstep 2 failed uid-taken\nstep 3 changed");
        let done = [Done::Unchanged, Done::Failed("uid-taken".to_owned()), Done::Changed];
        assert_eq!(results(&good, 3).unwrap(), done);
        assert!(results(&good, 2).is_err() && results(&good, 4).is_err());
        for bad in ["step 2 ok", "step 1 perhaps", "step 1 failed \u{1b}[31m", "step 1 failed"] {
            assert!(results(&lines(bad), 1).is_err(), "{bad}");
        }
    }
}
