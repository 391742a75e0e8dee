//! The roster in the forms of other tools, so that nobody depends on this one: accounts and keys of each machine as
//! sshd and Ansible read them, and the machines as ssh does. Pure but for [`fleet`].
//!
//! Nothing that is free text, such as a person's name, is exported: Ansible evaluates templates in texts.

pub mod ansible;
pub mod fleet;
pub mod ssh_config;

use kbmfa_proto::names::{MachineName, PoolName, UserName};
use std::collections::BTreeMap;

use crate::machines::host_keys::Reach;
use crate::provision::desired::Account;

/// A machine, and who should have an account on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: MachineName,
    /// Its pools, by name.
    pub pools: Vec<PoolName>,
    /// How it is reached and recognised.
    pub reach: Reach,
    /// The accounts that have a key.
    pub accounts: BTreeMap<UserName, Account>,
    /// Accounts that are left out, because their records are damaged, each with why.
    pub faults: Vec<String>,
}

/// The file `authorized_keys` of an account.
pub fn authorized_keys(account: &Account) -> String {
    account.lines.iter().fold(String::new(), |text, line| text + line + "\n")
}
