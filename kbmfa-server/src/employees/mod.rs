//! Employees: the person who owns a Unix account, the names under which they answer asks, and whether they
//! may log in.

pub mod account;
pub mod ledger;
pub mod password;
pub mod service;
pub mod store;

use kbmfa_proto::text::is_invisible;
use std::fmt;
use std::str::FromStr;

use crate::db;

/// Why an action on an employee failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
    /// There is no such employee. Addresses that are similar follow.
    #[error("there is no employee {0}{1}")]
    NoSuchEmployee(String, String),
    /// The address, the account or the Keybase name belongs to another employee.
    #[error("that address, account or Keybase name belongs to {0} already")]
    EmployeeExists(String),
    /// The employee is in this state already.
    #[error("{0} is {1} already")]
    SameState(String, &'static str),
    /// The employee may not do this while they are suspended.
    #[error("{0} is suspended and cannot enrol a key; `kbmfa-server employee resume` first")]
    Suspended(String),
    /// The Unix name or the uid is not one for a person.
    #[error(transparent)]
    BadAccount(#[from] account::BadAccount),
    /// Another person has had the Unix name.
    #[error(
        "{0} is or was the account of {1}, and is never given to another person; choose another name. If {1} was removed \
         and the same person comes back, add them as {1}; `employee set {1} --email NEW` then changes the address"
    )]
    NameTaken(String, String),
    /// Another person has had the uid.
    #[error("uid {0} is or was that of {1}, and is never given to another person; choose another one")]
    UidTaken(u32, String),
    /// The person has another uid.
    #[error("{0} has uid {1}, which never changes")]
    HasUid(String, u32),
    /// The person has another uid, and has it on machines.
    #[error("{0} has uid {1} on the machines, so it does not change any more")]
    UidInUse(String, u32),
    /// No uid is left.
    #[error(transparent)]
    UidsUsedUp(#[from] ledger::UsedUp),
    /// An account password cannot be stored.
    #[error(transparent)]
    Password(#[from] password::Error),
    /// Nothing would change.
    #[error("that is how {0} is recorded already")]
    NothingNew(String),
}

/// An e-mail address, loosely checked: one `@`, no blanks, no invisible characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

/// A text that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// It is not an e-mail address.
    #[error("not an e-mail address: write name@domain, at most 254 bytes")]
    Email,
    /// It is not a state.
    #[error("not a state of an employee: write active, suspended or removed")]
    State,
}

impl Email {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Email {
    type Error = BadText;
    fn try_from(text: String) -> Result<Self, BadText> {
        text.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl FromStr for Email {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let (name, domain) = text.split_once('@').ok_or(BadText::Email)?;
        let plain = |c: char| !c.is_whitespace() && !is_invisible(c) && c != '@';
        let fits = !name.is_empty() && !domain.is_empty() && text.len() <= 254;
        if fits && name.chars().chain(domain.chars()).all(plain) {
            Ok(Self(text.to_lowercase()))
        } else {
            Err(BadText::Email)
        }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether somebody may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// They may log in, with an approval.
    Active,
    /// They may not log in until they are resumed.
    Suspended,
    /// They may no longer log in.
    Removed,
}

impl State {
    /// One word for the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
        }
    }
}

impl FromStr for State {
    type Err = BadText;
    fn from_str(text: &str) -> Result<Self, BadText> {
        let all = [Self::Active, Self::Suspended, Self::Removed];
        all.into_iter().find(|state| state.as_str() == text).ok_or(BadText::State)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses_and_names_are_checked() {
        for text in ["alice@example.com", "Alice+x@example.com"] {
            assert_eq!(text.parse::<Email>().unwrap().as_str(), text.to_lowercase());
        }
        for text in
            ["", "alice", "@x", "a@", "a@b@c", "a b@c", "a@b\u{202e}", &format!("{}@x", "a".repeat(253))]
        {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
    }
}
