//! Requests of a machine about itself: joining, and reading its own name.

use serde::{Deserialize, Serialize};

use crate::names::{HostHash, MachineName, PoolName};
use crate::pin::Pin;
use crate::text::SafeText;

/// Most pins that a machine may report.
pub const PINS_MAX: usize = 16;

/// Most host keys that a machine may have, and report. sshd has one for each algorithm.
pub const HOST_KEYS_MAX: usize = 8;

/// `POST /v1/machines/join`. It can be repeated until the token expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The one-time token, as `kbmfa-server machine join-token` printed it.
    pub token: String,
    /// SHA-256 of the credential that the machine has made, in lower-case hex. The credential itself only
    /// leaves the machine in the header of its requests.
    pub credential_sha256: String,
    /// Version of the module.
    pub module_version: SafeText,
}

/// The caller's identity at the server: the answer to [`Join`] and to `GET /v1/machines/self`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The machine's name at the server.
    pub name: MachineName,
    /// The pools that it is in.
    pub pools: Vec<PoolName>,
    /// The server's clock, in microseconds since 1970 (UTC).
    pub server_time_us: i64,
    /// How long the server waits for an answer, in seconds; the module's deadline must be longer.
    pub window_s: u64,
    /// How long a machine may be silent, in seconds; longer than 5 s for each server.
    pub poll_grace_s: u64,
}

/// The computer on which a credential is used. Two computers with one credential are a machine and its clone.
///
/// Both are keyed hashes of our own, as systemd asks for: `/etc/machine-id` itself never leaves the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// Hash of `/etc/machine-id`. It stays the same as long as the system is installed.
    pub machine: HostHash,
    /// Hash of the boot id. It changes at each boot.
    pub boot: HostHash,
}

/// `POST /v1/machines/self/trust`: the machine reports which CAs it trusts, and receives those that it should
/// trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Pins of the CAs in its file.
    pub pins: Vec<Pin>,
    /// The computer. Absent from an older program, or where there is no machine id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// The public keys by which its sshd proves that it is this machine: lines `algorithm base64`, at most
    /// [`HOST_KEYS_MAX`]. Empty from an older program, or where they cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

/// The CAs that the server vouches for: the answer to [`Trust`]. Empty if the server uses a certificate of
/// the operator's own, whose CA it does not manage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorities {
    /// Each CA as PEM.
    pub cas: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_host_keys_is_what_an_older_program_sends_and_an_older_server_reads() {
        let older = r#"{"pins":[]}"#;
        let report: Trust = serde_json::from_str(older).unwrap();
        assert_eq!(report, Trust { pins: Vec::new(), host: None, host_keys: Vec::new() });
        assert_eq!(serde_json::to_string(&report).unwrap(), older);
        let report = Trust { host_keys: vec!["ssh-ed25519 AAAA".to_owned()], ..report };
        let newer = r#"{"pins":[],"host_keys":["ssh-ed25519 AAAA"]}"#;
        assert_eq!(serde_json::to_string(&report).unwrap(), newer);
    }
}
