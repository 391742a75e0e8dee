//! What a machine reports of its accounts and their keys, read from the lines that `remote.sh` prints for `survey`. A
//! machine may be hostile, and so may the owners of the files: every number and length has a limit, each line of a file
//! is judged by itself, and a key is written anew from what it decodes to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kbmfa_proto::key::PublicKey;
use kbmfa_proto::names::UserName;
use kbmfa_proto::text::SafeText;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest number of accounts, as in `remote.sh`.
const ACCOUNTS_MAX: usize = 2000;

/// Largest `authorized_keys` that is read, in bytes, as in `remote.sh`.
const FILE_MAX: usize = 262_144;

/// Longest line that is read as a key, in bytes; sshd accepts a little more.
const LINE_MAX: usize = 8192;

/// Most bytes of keys in one reply of the admin socket: below what that can hold.
const KEYS_MAX: usize = 600_000;

/// A report that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the machine's report of its accounts cannot be read: {0:?}")]
pub struct BadSurvey(String);

/// What a machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Accounts with a login shell, from uid 1000 on, and root.
    pub accounts: Vec<Found>,
    /// Accounts whose names this program accepts from nobody, with their uids.
    pub others: Vec<(SafeText, u32)>,
    /// True if there are more accounts.
    pub is_cut: bool,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its name.
    pub name: UserName,
    /// Its uid.
    pub uid: u32,
    /// Its shell, as the machine tells it.
    pub shell: SafeText,
    /// True if it is in the group by which we mark accounts.
    pub is_ours: bool,
    /// What sudoers says of it.
    pub sudo: Sudo,
    /// Its `~/.ssh/authorized_keys`.
    pub file: File,
    /// The lines of that file that are keys, or try to be.
    pub keys: Vec<FoundKey>,
    /// Number of lines that are not in `keys`, because there are too many.
    pub untold: usize,
}

/// Whether sudoers names an account, its uid, or one of its groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sudo {
    /// No.
    Unknown,
    /// Yes.
    Known,
    /// Yes, and the machine's own policy allows to take the account over.
    Allowed,
}

/// A file with keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum File {
    /// It was read.
    Read,
    /// There is none.
    Absent,
    /// There is no home directory.
    NoHome,
    /// A link, a directory or a device is in its place.
    Odd,
    /// It is larger than 256 KiB.
    Large,
    /// It could not be read, or not in time.
    Unread,
}

impl File {
    /// For people; empty if there is nothing to say.
    pub fn words(self) -> &'static str {
        match self {
            Self::Read | Self::Absent => "",
            Self::NoHome => "there is no home",
            Self::Odd => "authorized_keys is a link or no file",
            Self::Large => "authorized_keys is larger than 256 KiB",
            Self::Unread => "authorized_keys cannot be read",
        }
    }
}

/// A line of `authorized_keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundKey {
    /// `algorithm base64`, encoded anew; `None` if it is refused.
    pub line: Option<String>,
    /// Its fingerprint; `None` if it is refused.
    pub fingerprint: Option<String>,
    /// What follows the key, without control characters.
    pub comment: SafeText,
    /// True if there are options before it, such as `command=`.
    pub has_options: bool,
    /// Why it is refused as an employee's key.
    pub refused: Option<String>,
}

/// Reads the lines of a report.
///
/// # Errors
/// [`BadSurvey`] with the line.
pub fn parse(lines: &[String]) -> Result<Survey, BadSurvey> {
    let mut accounts: BTreeMap<UserName, Found> = BTreeMap::new();
    let (mut survey, mut told) = (Survey::default(), 0);
    for line in lines {
        let bad = || BadSurvey(line.chars().take(120).collect());
        let fields: Vec<&str> = line.split(' ').collect();
        match fields.as_slice() {
            ["found", rest @ ..] => {
                let found = found(rest).ok_or_else(bad)?;
                accounts.entry(found.name.clone()).or_insert(found);
            }
            ["home", name, content] => {
                let account = name.parse().ok().and_then(|name: UserName| accounts.get_mut(&name));
                read_file(account.ok_or_else(bad)?, content, &mut told).ok_or_else(bad)?;
            }
            ["other", name, uid] => {
                let name = String::from_utf8_lossy(&bytes(name, 256).ok_or_else(bad)?).as_ref().into();
                survey.others.push((name, uid.parse().map_err(|_| bad())?));
            }
            ["more"] => survey.is_cut = true,
            _ => return Err(bad()),
        }
        if accounts.len() + survey.others.len() > ACCOUNTS_MAX {
            return Err(bad());
        }
    }
    survey.accounts = accounts.into_values().collect();
    Ok(survey)
}

fn found(fields: &[&str]) -> Option<Found> {
    let [name, uid, shell, ours, sudo] = fields else { return None };
    Some(Found {
        name: name.parse().ok()?,
        uid: uid.parse().ok()?,
        shell: String::from_utf8_lossy(&bytes(shell, 4096)?).as_ref().into(),
        is_ours: match *ours {
            "0" => false,
            "1" => true,
            _ => return None,
        },
        sudo: match *sudo {
            "0" => Sudo::Unknown,
            "1" => Sudo::Known,
            "2" => Sudo::Allowed,
            _ => return None,
        },
        file: File::Unread,
        keys: Vec::new(),
        untold: 0,
    })
}

fn read_file(account: &mut Found, content: &str, told: &mut usize) -> Option<()> {
    account.file = match content {
        "-" => File::Absent,
        "no-home" => File::NoHome,
        "odd" => File::Odd,
        "large" => File::Large,
        "unreadable" => File::Unread,
        _ => File::Read,
    };
    if account.file != File::Read || content == "empty" {
        return Some(());
    }
    for line in bytes(content, FILE_MAX)?.split(|byte| *byte == b'\n') {
        let Some(key) = key_of(line) else { continue };
        *told += 200 + key.line.as_ref().map_or(0, String::len);
        if *told > KEYS_MAX {
            account.untold += 1;
        } else {
            account.keys.push(key);
        }
    }
    Some(())
}

/// The key in a line; `None` for an empty one and a comment.
fn key_of(line: &[u8]) -> Option<FoundKey> {
    let refused = |why: &str| FoundKey {
        line: None,
        fingerprint: None,
        comment: SafeText::new(""),
        has_options: false,
        refused: Some(why.to_owned()),
    };
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    if text.len() > LINE_MAX {
        return Some(refused("the line is too long for a key"));
    }
    let (has_options, key) = match after_options(text) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut words = key.split_ascii_whitespace();
    let (algorithm, encoded) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let comment: String = words.collect::<Vec<_>>().join(" ").chars().take(64).collect();
    Some(match PublicKey::parse(&format!("{algorithm} {encoded}")) {
        Ok(key) => FoundKey {
            line: Some(key.line().to_owned()),
            fingerprint: Some(key.fingerprint().to_owned()),
            comment: SafeText::new(&comment),
            has_options,
            refused: None,
        },
        Err(error) => {
            FoundKey { comment: SafeText::new(&comment), has_options, ..refused(&error.to_string()) }
        }
    })
}

/// What follows the options of a line; `None` if it begins with a key. As sshd reads it: options end at the first blank
/// that is not in quotes.
fn after_options(text: &str) -> Option<&str> {
    let first = text.split_ascii_whitespace().next().unwrap_or_default();
    let is_algorithm = ["ssh-", "ecdsa-", "sk-"].iter().any(|begin| first.starts_with(begin))
        && !first.contains(['=', '"', ',']);
    if is_algorithm {
        return None;
    }
    let (mut quoted, mut escaped) = (false, false);
    let end = text.char_indices().find_map(|(at, c)| {
        let is_end = !quoted && c.is_ascii_whitespace();
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end.then_some(at)
    });
    end.and_then(|at| text.get(at..)).map(str::trim_start)
}

fn bytes(field: &str, max: usize) -> Option<Vec<u8>> {
    if field == "-" {
        return Some(Vec::new());
    }
    STANDARD.decode(field).ok().filter(|bytes| bytes.len() <= max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn with_file(file: &str) -> Found {
        let shell = STANDARD.encode("/bin/bash");
        let report = format!("found dora 1001 {shell} 0 0\nhome dora {}", STANDARD.encode(file));
        parse(&lines(&report)).unwrap().accounts.remove(0)
    }

    #[test]
    fn each_line_is_judged_by_itself_and_a_key_is_written_anew() {
        let long = "x".repeat(50_000);
        let text = format!(
            "# a comment\n\n{KEY} dora@laptop\nfrom=\"10.0.0.1\",command=\"a b\" {KEY} job\nssh-dss AAAA\n{long}\nno key\n  {KEY}"
        );
        let found = with_file(&text);
        let summary: Vec<_> = found
            .keys
            .iter()
            .map(|key| {
                (
                    key.line.as_deref() == Some(KEY),
                    key.has_options,
                    key.comment.as_str(),
                    key.refused.is_some(),
                )
            })
            .collect();
        assert_eq!(
            summary,
            [
                (true, false, "dora@laptop", false),
                (true, true, "job", false),
                (false, false, "", true),
                (false, false, "", true),
                (false, true, "", true),
                (true, false, "", false),
            ]
        );
    }

    #[test]
    fn a_report_that_is_not_understood_is_refused() {
        for bad in [
            "found dora 1001 L2Jpbi9zaA== 0",
            "found dora -1 L2Jpbi9zaA== 0 0",
            "found dora 1001 L2Jpbi9zaA== 2 0",
            "found dora 1001 L2Jpbi9zaA== 0 3",
            "home emil -",
            "found dora 1001 L2Jpbi9zaA== 0 0\nhome dora not-base64",
            "hello",
        ] {
            assert!(parse(&lines(bad)).is_err(), "{bad}");
        }
        let long = STANDARD.encode(vec![b'x'; FILE_MAX + 1]);
        assert!(parse(&lines(&format!("found dora 1001 L2Jpbi9zaA== 0 0\nhome dora {long}"))).is_err());
    }

    #[test]
    fn the_same_account_twice_is_one_account_and_too_many_keys_are_counted() {
        let report = "found dora 1001 L2Jpbi9zaA== 0 0\nfound dora 0 L2Jpbi9zaA== 1 0";
        let survey = parse(&lines(report)).unwrap();
        assert_eq!((survey.accounts.len(), survey.accounts[0].uid), (1, 1001));
        let found = with_file(&format!("{KEY}\n").repeat(3000));
        assert!(found.keys.len() < 3000 && found.keys.len() + found.untold == 3000);
        assert!(serde_json::to_string(&found).unwrap().len() < 1_000_000);
    }

    proptest! {
        #[test]
        fn no_file_upsets_the_reader_and_no_line_gets_out_as_it_was(file in "(ssh-ed25519 |AAAA|\"|\\\\|,|=| |\n|\\PC){0,60}") {
            for key in with_file(&file).keys {
                prop_assert!(key.line.is_none() != key.refused.is_none());
                prop_assert!(!key.comment.as_str().chars().any(char::is_control));
            }
        }
    }
}
