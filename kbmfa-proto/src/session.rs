//! Reports of a machine after a login: a session was opened, a session was closed, or somebody was let in
//! while no server could be reached.
//!
//! `POST /v1/sessions` sends one [`SessionReport`] at once. `POST /v1/reports` sends those that could not be
//! sent at once. Both are answered with [`Taken`]. Sending a report again has no effect.

use serde::{Deserialize, Serialize};

use crate::account;
use crate::login::Connection;
use crate::names::{ReportId, UserName};
use crate::text::SafeText;

/// Most reports in one `POST /v1/reports`.
pub const REPORTS_MAX: usize = 64;

/// Longest body of one `POST /v1/reports`, in bytes. A single report always fits into it.
pub const REPORTS_BYTES_MAX: usize = 15 * 1024;

/// Longest public key line, in bytes, of a report that is kept for `POST /v1/reports`. A longer one is
/// omitted.
pub const KEPT_KEY_BYTES_MAX: usize = 4096;

/// One event on a machine. It is displayed as reported and decides nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Id made by the module, by which the server recognises a repeated report.
    pub id: ReportId,
    /// What happened.
    pub event: SessionEvent,
    /// The PAM service, such as `sshd`.
    pub service: SafeText,
    /// The Unix account, as in [`OpenLogin`](crate::login::OpenLogin).
    pub user: UserName,
    /// As the person typed it, if that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<UserName>,
    /// The account's uid, from modules that resolve accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// `PAM_RHOST`, where it is set.
    pub rhost: Option<SafeText>,
    /// `PAM_TTY`, where it is set.
    pub tty: Option<SafeText>,
    /// The connection, which links a close to its open, and both to the login.
    pub connection: Connection,
    /// The public key line that sshd reported: at most [`KEY_BYTES_MAX`](crate::login::KEY_BYTES_MAX) bytes,
    /// and at most [`KEPT_KEY_BYTES_MAX`] in a batch.
    #[serde(default)]
    pub key: Option<String>,
    /// When it happened, by the machine's own clock, in microseconds since 1970 (UTC).
    pub at_us: i64,
    /// How many older reports the machine had to drop to keep this one.
    #[serde(default)]
    pub lost: u64,
    /// Version of the module. No server reads it; modules send it because older servers demand it.
    #[serde(default)]
    pub module_version: SafeText,
}

impl SessionReport {
    /// The same report with its account under the canonical name, as for logins: uid 0 is `root`.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        account::root_is_root(&mut self.user, &mut self.typed, self.uid);
        self
    }
}

/// The kind of a report. A server that does not know a kind refuses only that report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEvent {
    /// `pam_sm_open_session`.
    Opened,
    /// `pam_sm_close_session`.
    Closed,
    /// No server could be reached, and `on_unreachable = "allow"` let the person in. This raises an alarm.
    LetInUnreachable,
}

/// Reports that could not be sent when they were made, oldest first. `R` holds the JSON of one
/// [`SessionReport`], so that either side can pass on or refuse a report that it does not understand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports<R> {
    /// At most [`REPORTS_MAX`].
    pub reports: Vec<R>,
}

/// The result for the reports in one request. None of them has to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Number of recorded reports, including repeated ones.
    pub taken: u64,
    /// Number of reports that the server did not understand.
    #[serde(default)]
    pub refused: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::SAFE_TEXT_MAX;

    fn report(text: &str, key: usize) -> SessionReport {
        SessionReport {
            id: ReportId::from_random([1; 16]),
            event: SessionEvent::Opened,
            service: text.into(),
            user: "alice".parse().unwrap(),
            typed: None,
            uid: None,
            rhost: Some(text.into()),
            tty: Some(text.into()),
            connection: Connection { id: text.into(), ssh: None },
            key: Some("k".repeat(key)),
            at_us: 0,
            lost: 0,
            module_version: text.into(),
        }
    }

    #[test]
    fn the_wire_words_are_these() {
        let report = SessionReport { rhost: None, tty: None, key: None, ..report("x", 0) };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"id":"01010101010101010101010101010101","event":"opened","service":"x","user":"alice","rhost":null,"tty":null,"connection":{"id":"x","ssh":null},"key":null,"at_us":0,"lost":0,"module_version":"x"}"#
        );
        let word = serde_json::to_string(&SessionEvent::LetInUnreachable).unwrap();
        assert_eq!(word, "\"let-in-unreachable\"");
        assert!(serde_json::from_str::<SessionEvent>("\"renamed\"").is_err());
    }

    #[test]
    fn the_longest_report_fits_alone_into_a_batch() {
        for widest in ["\u{10348}", "\\", "\""] {
            let report = report(&widest.repeat(SAFE_TEXT_MAX), KEPT_KEY_BYTES_MAX);
            let user: UserName = "\"".repeat(256).parse().unwrap();
            let batch = Reports {
                reports: vec![SessionReport {
                    typed: Some(user.clone()),
                    uid: Some(u32::MAX),
                    user,
                    ..report
                }],
            };
            assert!(serde_json::to_vec(&batch).unwrap().len() <= REPORTS_BYTES_MAX, "{widest}");
        }
    }
}
