//! Requests and replies as types, and their JSON. Pure.

use kbmfa_proto::names::{MachineName, UserName};
use kbmfa_proto::text::SafeText;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

use super::Refusal;
use super::rows::StateName;
use crate::clock::Time;
use crate::provision::provisioner::PASS;

/// The version of the protocol: `"v"` in each request and reply.
const VERSION: u64 = 1;

/// One request. It does not say who asks: the kernel does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", deny_unknown_fields)]
pub enum Request {
    /// The database has changed.
    #[serde(rename = "notify")]
    Notify {},
    /// Read the configuration and the certificate again.
    #[serde(rename = "reload")]
    Reload {},
    /// List logins, newest first.
    #[serde(rename = "login.list")]
    List(ListQuery),
    /// Show one login.
    #[serde(rename = "login.show")]
    Show {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Return what has changed among the newest logins, and the notices since then.
    #[serde(rename = "login.watch")]
    Watch(WatchQuery),
    /// Approve a login.
    #[serde(rename = "login.approve")]
    Approve(Decision),
    /// Deny a login.
    #[serde(rename = "login.deny")]
    Deny(Decision),
    /// Send an invite to its person in the chat.
    #[serde(rename = "invite.send")]
    SendInvite(InviteMessage),
    /// Look at a machine: what it has, and what would be done about it.
    #[serde(rename = "provision.look")]
    ProvisionLook {
        /// Its name.
        machine: MachineName,
    },
    /// Give a machine now what it should have.
    #[serde(rename = "provision.run")]
    ProvisionRun {
        /// Its name.
        machine: MachineName,
        /// The number of accounts that may lose access.
        #[serde(default)]
        confirm_removals: Option<usize>,
    },
    /// Read the accounts and keys that others made on a machine.
    #[serde(rename = "machine.survey")]
    MachineSurvey {
        /// Its name.
        machine: MachineName,
    },
}

/// An invite that is open, and what its person types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteMessage {
    /// The invite's public id.
    pub id: String,
    /// Its secret.
    pub secret: Hidden,
    /// The command that its person types.
    pub command: String,
    /// Lines that download the program, one for each system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downloads: Vec<String>,
}

/// A secret text in a request. Its `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// What became of an invite that was to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteDelivery {
    /// This account has it, such as `keybase:alice`.
    Sent(String),
    /// Nobody knows, for this reason. The invite must not be used any more.
    Unknown(String),
}

/// Filter of logins; absent fields match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// In one of these states.
    #[serde(default)]
    pub states: Vec<StateName>,
    /// To this Unix account.
    #[serde(default)]
    pub user: Option<UserName>,
    /// On the machine with this name at that time.
    #[serde(default)]
    pub machine: Option<MachineName>,
    /// Opened at or after this moment, in microseconds since 1970.
    #[serde(default)]
    pub since: Option<Time>,
    /// Let in over a minute ago without opening a session.
    #[serde(default)]
    pub unopened: bool,
    /// Maximum number of rows.
    pub limit: i64,
}

/// What the client of `login.watch` already has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchQuery {
    /// The `head` of the last reply; absent in the first request.
    #[serde(default)]
    pub seen: Option<i64>,
    /// Only notices that came due after this moment are returned; in microseconds since 1970.
    pub noticed: Time,
}

/// Which login, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Its id, or the beginning of it.
    pub id: String,
    /// The reason, for the audit log.
    #[serde(default)]
    pub reason: Option<SafeText>,
}

/// Time for the work of a request. A reload may wait in a queue, and an answer may wait for the database.
const WORK_TIME: Duration = Duration::from_secs(15);

/// Time to send an invite: several calls to Keybase, each of which may be slow.
const SEND_TIME: Duration = Duration::from_secs(28);

impl Request {
    /// Longest time that the server works on it.
    pub(super) fn work_time(&self) -> Duration {
        match self {
            Self::ProvisionLook { .. } | Self::ProvisionRun { .. } | Self::MachineSurvey { .. } => {
                PASS + WORK_TIME
            }
            Self::SendInvite(_) => SEND_TIME,
            _ => WORK_TIME,
        }
    }

    /// The name of the request in JSON.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Notify {} => "notify",
            Self::Reload {} => "reload",
            Self::List(_) => "login.list",
            Self::Show { .. } => "login.show",
            Self::Watch(_) => "login.watch",
            Self::Approve(_) => "login.approve",
            Self::Deny(_) => "login.deny",
            Self::SendInvite(_) => "invite.send",
            Self::ProvisionLook { .. } => "provision.look",
            Self::ProvisionRun { .. } => "provision.run",
            Self::MachineSurvey { .. } => "machine.survey",
        }
    }

    /// Reads the text of a request.
    ///
    /// # Errors
    /// What is wrong with the text, for the sender.
    pub(super) fn read(text: &[u8]) -> Result<Self, Refusal> {
        let fields = versioned(text).map_err(|why| Refusal::new(format!("the request {why}")))?;
        serde_json::from_value(Value::Object(fields)).map_err(|error| {
            Refusal::new(format!("the request is not valid: {}", SafeText::new(&error.to_string())))
        })
    }

    /// The text of this request.
    pub(super) fn write(&self) -> Vec<u8> {
        with_version(serde_json::to_value(self))
    }
}

/// The text of a reply: `{"v":1,"done":..}` or `{"v":1,"refused":{..}}`.
pub(super) fn write_reply(outcome: &Result<Value, Refusal>) -> Vec<u8> {
    with_version(match outcome {
        Ok(done) => Ok(serde_json::json!({ "done": done })),
        Err(refusal) => {
            serde_json::to_value(refusal).map(|refusal| serde_json::json!({ "refused": refusal }))
        }
    })
}

/// Reads the text of a reply.
///
/// # Errors
/// Why the request was not done, or that the reply cannot be read.
pub(super) fn read_reply<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    let unreadable = |why: String| Refusal::new(format!("the server's reply {why}"));
    let mut fields = versioned(text).map_err(unreadable)?;
    let bad = |error: serde_json::Error| unreadable(format!("is not valid: {error}"));
    if let Some(refused) = fields.remove("refused") {
        return Err(serde_json::from_value(refused).unwrap_or_else(bad));
    }
    let done =
        fields.remove("done").ok_or_else(|| unreadable("contains neither done nor refused".to_owned()))?;
    serde_json::from_value(done).map_err(bad)
}

/// The fields of a JSON object of our version, without the field for the version.
fn versioned(text: &[u8]) -> Result<Map<String, Value>, String> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(text).map_err(|_| "is not a JSON object".to_owned())?;
    match fields.remove("v") {
        Some(version) if version.as_u64() == Some(VERSION) => Ok(fields),
        Some(version) => Err(format!(
            "has version {}, and this program supports version {VERSION}",
            SafeText::new(&version.to_string())
        )),
        None => Err("has no version".to_owned()),
    }
}

fn with_version(fields: serde_json::Result<Value>) -> Vec<u8> {
    // Only maps with keys that are not strings can fail, and we have none.
    let mut fields = fields.unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("v".to_owned(), VERSION.into());
    }
    fields.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Request::read(text.as_bytes()).unwrap_err().error
    }

    #[test]
    fn each_request_reads_back_as_it_was_written() {
        let decision = Decision { id: "3f9a2c1e".into(), reason: Some("on call".into()) };
        for request in [
            Request::Notify {},
            Request::Reload {},
            Request::List(ListQuery { limit: 50, since: Some(Time::from_micros(7)), ..ListQuery::default() }),
            Request::Show { id: "3f".into() },
            Request::Watch(WatchQuery { seen: Some(12), noticed: Time::from_micros(1) }),
            Request::Approve(decision.clone()),
            Request::Deny(decision),
            Request::SendInvite(InviteMessage {
                id: "i".into(),
                secret: Hidden("s".into()),
                command: "c".into(),
                downloads: vec!["d".into()],
            }),
            Request::ProvisionLook { machine: "web1".parse().unwrap() },
            Request::MachineSurvey { machine: "web1".parse().unwrap() },
            Request::ProvisionRun { machine: "web1".parse().unwrap(), confirm_removals: Some(7) },
        ] {
            let text = request.write();
            assert!(str::from_utf8(&text).unwrap().contains(&format!("\"verb\":{:?}", request.verb())));
            assert_eq!(Request::read(&text), Ok(request));
        }
    }

    #[test]
    fn an_unknown_version_verb_or_field_is_refused_by_name() {
        assert_eq!(refused("\n"), "the request is not a JSON object");
        assert_eq!(refused("[1]"), "the request is not a JSON object");
        assert_eq!(refused(r#"{"verb":"notify"}"#), "the request has no version");
        let other = refused(r#"{"v":2,"verb":"notify"}"#);
        assert_eq!(other, "the request has version 2, and this program supports version 1");
        assert!(refused(r#"{"v":1,"verb":"machine.remove"}"#).contains("unknown variant `machine.remove`"));
        assert!(refused(r#"{"v":1,"verb":"notify","at":1}"#).contains("unknown field `at`"));
        let list = refused(r#"{"v":1,"verb":"login.list","limit":1,"states":["let-in"]}"#);
        assert!(list.contains("let-in"), "{list}");
    }

    #[test]
    fn a_secret_in_a_request_does_not_print() {
        let message = InviteMessage {
            id: "i".into(),
            secret: Hidden("hunter2".into()),
            command: "c".into(),
            downloads: vec![],
        };
        assert!(!format!("{:?}", Request::SendInvite(message)).contains("hunter2"));
    }

    #[test]
    fn a_request_cannot_say_who_asks() {
        for field in ["actor", "person", "uid", "who", "claim"] {
            let text = format!(r#"{{"v":1,"verb":"login.approve","id":"3f9a2c1e","{field}":"root"}}"#);
            assert!(refused(&text).contains(&format!("unknown field `{field}`")), "{field}");
        }
    }

    #[test]
    fn a_reply_reads_back_and_so_does_a_refusal() {
        let done = write_reply(&Ok(serde_json::json!({ "note": null })));
        assert_eq!(read_reply::<Value>(&done), Ok(serde_json::json!({ "note": null })));
        let refusal = Refusal::new("there is no login 00").hint("look again");
        assert_eq!(read_reply::<Value>(&write_reply(&Err(refusal.clone()))), Err(refusal));
        let neither = read_reply::<Value>(br#"{"v":1}"#).unwrap_err();
        assert_eq!(neither.error, "the server's reply contains neither done nor refused");
    }
}
