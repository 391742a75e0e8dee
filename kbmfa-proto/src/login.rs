//! Messages about one login: open it, wait for its decision, cancel it.
//!
//! `PUT /v1/logins/{id}` sends [`OpenLogin`]. Every method on that path is answered with [`LoginReply`].

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

use crate::account::{self, LocalCaller};
use crate::machine::Host;
use crate::names::{LoginId, UserName};
use crate::text::SafeText;

/// Longest time, in seconds, that the server holds one `GET /v1/logins/{id}?wait=N`.
pub const WAIT_S_MAX: u64 = 30;

/// Longest public key line, in bytes, that a machine reports. sshd accepts certificates of up to 256
/// principals: that leaves 180 bytes for each.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// What a machine reports when somebody wants to log in. Everything in it is displayed as reported and never
/// trusted. The credential identifies the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLogin {
    /// The PAM phase that asks.
    pub phase: Phase,
    /// The PAM service, such as `sshd` or `sudo`.
    pub service: SafeText,
    /// The Unix account to log in to, as the machine's name service spells it (`pw_name`). A module without
    /// `uid` sends it as typed.
    pub user: UserName,
    /// `PAM_USER`, as the person typed it, where that differs from `user`. Only displayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<UserName>,
    /// Whether that account exists on the machine.
    pub account: Account,
    /// Its uid. Absent if it does not exist, and from modules that do not resolve accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The account that the name service has for that uid, if it differs from `user`. The kernel does not
    /// distinguish the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid_user: Option<UserName>,
    /// The first day on which the account has expired, by the shadow file, in days since 1970-01-01 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_day: Option<i64>,
    /// The caller of the program, if the program is not sshd.
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
    /// The computer. Absent from an older module, or where there is no machine id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
}

impl OpenLogin {
    /// The same login with its account under the canonical name: uid 0 is always `root`. Idempotent.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        account::root_is_root(&mut self.user, &mut self.typed, self.uid);
        self
    }

    /// Every account that the login is about: the target account, under each of its names, and the callers.
    pub fn accounts(&self) -> impl Iterator<Item = &UserName> {
        let callers = self.caller.iter().flat_map(LocalCaller::accounts);
        [&self.user].into_iter().chain(&self.uid_user).chain(callers)
    }

    /// True if the account exists and the module does not report its uid.
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
    /// It exists.
    Known,
    /// It does not exist. Nobody is asked about it, and the login waits as long as any other.
    Missing,
}

/// The connection that a login belongs to; the same in every phase of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Opaque: boot id, pid and start time of the process that owns the connection, and its addresses.
    pub id: SafeText,
    /// The two ends from `SSH_CONNECTION`. Without them no decision is reused in a later phase, because a
    /// process without an ssh connection may serve many people.
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

/// The proof of a first factor, without which nobody is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum FirstFactor {
    /// sshd reported the key that was used: `algorithm base64`, at most [`KEY_BYTES_MAX`] bytes.
    Publickey {
        /// The public key line.
        key: String,
    },
    /// sshd authenticated the person before it called the module, and does not report how.
    Sshd,
    /// A module earlier in the PAM stack did, according to the configuration (`first_factor=stack`).
    Stack,
}

/// What the conversation of this login can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capabilities {
    /// It can show a text.
    pub text: bool,
    /// Reserved for a module that can ask a question and return the typed answer; no current module can.
    #[serde(default)]
    pub prompt: bool,
}

/// The server's reply about one login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginReply {
    /// The login that this is about. The module treats a reply about another login as a fault.
    pub id: LoginId,
    /// Its state.
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
    /// How long the server held the call before it looked this up, in milliseconds; absent from an older
    /// server. The reply is at most as old as the rest of the call's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
}

/// The state of a login. All but [`State::Pending`] are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has decided yet.
    Pending,
    /// Let the person in.
    Approved,
    /// Denied by a person or by policy.
    Denied,
    /// Nobody answered in time, or nobody collected the approval in time.
    Expired,
    /// The machine gave up waiting.
    Cancelled,
    /// A dry run has ended. Lets nobody in.
    Rehearsed,
    /// A state that this version does not know: a refusal.
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
