//! One login between a machine and the server: open it, wait for it, cancel it.
//!
//! `PUT /v1/logins/{id}` carries [`OpenLogin`]; every method on that path answers with [`LoginReply`].

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

use crate::account::{self, LocalCaller};
use crate::machine::Host;
use crate::names::{LoginId, UserName};
use crate::text::SafeText;

/// Longest time, in seconds, that the server holds one `GET /v1/logins/{id}?wait=N`.
pub const WAIT_S_MAX: u64 = 30;

/// Longest public key line, in bytes, that a machine reports. A certificate of 256 principals, the most that sshd
/// takes, has room for 180 bytes in each.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// What a machine reports when somebody wants to log in. All of it is shown as reported and trusted
/// for nothing but that; who the machine is comes from its credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLogin {
    /// The PAM phase that asks.
    pub phase: Phase,
    /// The PAM service, such as `sshd` or `sudo`.
    pub service: SafeText,
    /// The Unix account to be entered, as the machine's name service spells it (`pw_name`). A module that reports no
    /// `uid` knows it only as it was typed.
    pub user: UserName,
    /// `PAM_USER`, as the person typed it, where that differs from `user`. Shown, and never judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<UserName>,
    /// Whether that account exists on the machine.
    pub account: Account,
    /// Its uid. Absent if it does not exist, and from modules that do not resolve accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The account to which that uid leads back, where that is another than `user`: both are the same to the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid_user: Option<UserName>,
    /// The first day on which the account has expired, by the shadow file, in days since 1970-01-01 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_day: Option<i64>,
    /// Who runs the program that asks, where it is not sshd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<LocalCaller>,
    /// `PAM_RHOST`, where it is set.
    pub rhost: Option<SafeText>,
    /// `PAM_TTY`, where it is set.
    pub tty: Option<SafeText>,
    /// The connection that the login belongs to.
    pub connection: Connection,
    /// What proves that a first factor was given.
    pub first_factor: FirstFactor,
    /// What the conversation can do. No server reads it; modules send it because older servers demand it.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// True for a dry run by `doctor`: it ends as [`State::Rehearsed`] and never lets anybody in.
    #[serde(default)]
    pub rehearsal: bool,
    /// Version of the module.
    pub module_version: SafeText,
    /// On which computer; none from an older module, or where there is no machine id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
}

impl OpenLogin {
    /// The same login with its account under the one name that is judged by: uid 0 is `root`, whatever it is called.
    /// Doing it twice changes nothing more.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        account::root_is_root(&mut self.user, &mut self.typed, self.uid);
        self
    }

    /// Every account that the login is about: the one to be entered, under each of its names, and those who ask.
    pub fn accounts(&self) -> impl Iterator<Item = &UserName> {
        let callers = self.caller.iter().flat_map(LocalCaller::accounts);
        [&self.user].into_iter().chain(&self.uid_user).chain(callers)
    }

    /// True if a module reports an account that exists, and does not say which it really is.
    pub fn is_unresolved(&self) -> bool {
        self.account == Account::Known && self.uid.is_none()
    }
}

/// The PAM phase in which the module was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `pam_sm_authenticate`.
    Auth,
    /// `pam_sm_acct_mgmt`.
    Account,
    /// `pam_sm_open_session`.
    Session,
}

/// Whether the account to be entered exists on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Account {
    /// It does.
    Known,
    /// It does not: nobody is asked about it, and it takes as long as any other.
    Missing,
}

/// The connection that a login belongs to; the same in every phase of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Opaque: boot id, pid and start time of the process that owns the connection, and its addresses.
    pub id: SafeText,
    /// The two ends, when `SSH_CONNECTION` told them. Only such a connection carries a decision from
    /// one phase to the next: a process that is not an ssh connection may serve many people.
    pub ssh: Option<SshConnection>,
}

/// The two ends of an ssh connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SshConnection {
    /// Address and port of the ssh client.
    pub client: SocketAddr,
    /// Address and port of sshd.
    pub server: SocketAddr,
}

/// What proves that the person has given a first factor before anybody is asked for the second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum FirstFactor {
    /// sshd told the key that was used: `algorithm base64`, at most [`KEY_BYTES_MAX`] bytes.
    Publickey {
        /// The public key line.
        key: String,
    },
    /// sshd authenticated the person before it called the module, and does not tell how.
    Sshd,
    /// A module earlier in the PAM stack did, says the configuration (`first_factor=stack`).
    Stack,
}

/// What the conversation of this login can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capabilities {
    /// It can show a text.
    pub text: bool,
    /// Reserved for a module that can put a question and hand back what was typed; no module of today can.
    #[serde(default)]
    pub prompt: bool,
}

/// The server's word on one login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginReply {
    /// The login that this is about; a reply about another one is a fault.
    pub id: LoginId,
    /// Where it stands.
    pub state: State,
    /// A stable code for why, such as `denied` or `too-many-pending`; see `docs/protocol.md`.
    #[serde(default)]
    pub reason: Option<SafeText>,
    /// A sentence for the person who logs in.
    #[serde(default)]
    pub say: Option<SafeText>,
    /// Milliseconds until a pending login expires.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
    /// Milliseconds for which the server held the call before it looked this up; none from an older server. The rest of
    /// the time that the call took is how old the reply is at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
}

/// Where a login stands. All but [`State::Pending`] are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has decided yet.
    Pending,
    /// Let the person in.
    Approved,
    /// Somebody, or policy, said no.
    Denied,
    /// Nobody answered in time, or nobody collected the approval in time.
    Expired,
    /// The machine gave up waiting.
    Cancelled,
    /// A dry run has ended. Lets nobody in.
    Rehearsed,
    /// A word that this version does not know: a refusal.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_state_is_not_an_approval() {
        let reply = format!(r#"{{"id":"{}","state":"approved-ish","extra":1}}"#, "a".repeat(32));
        assert_eq!(serde_json::from_str::<LoginReply>(&reply).unwrap().state, State::Unknown);
    }

    #[test]
    fn the_wire_words_are_these() {
        let reply = LoginReply {
            id: LoginId::from_random([1; 16]),
            state: State::Pending,
            reason: None,
            say: Some(SafeText::new("wait")),
            expires_in_ms: Some(60_000),
            held_ms: None,
        };
        assert_eq!(
            serde_json::to_string(&reply).unwrap(),
            r#"{"id":"01010101010101010101010101010101","state":"pending","reason":null,"say":"wait","expires_in_ms":60000}"#
        );
        let factor = FirstFactor::Publickey { key: "ssh-ed25519 AAAA".into() };
        assert_eq!(
            serde_json::to_string(&factor).unwrap(),
            r#"{"kind":"publickey","key":"ssh-ed25519 AAAA"}"#
        );
    }

    #[test]
    fn an_unknown_phase_or_factor_is_an_error() {
        assert!(serde_json::from_str::<Phase>("\"password\"").is_err());
        assert!(serde_json::from_str::<FirstFactor>(r#"{"kind":"hope"}"#).is_err());
    }
}
