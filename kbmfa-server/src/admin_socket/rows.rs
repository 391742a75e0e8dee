//! Logins and sessions as they are printed. The rows are the same whether they come from the database or
//! through the socket.

use jiff::Timestamp;
use kbmfa_proto::account::LocalCaller;
use kbmfa_proto::names::{LoginId, MachineName, UserName};
use kbmfa_proto::text::SafeText;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

use crate::clock::Time;
use crate::logins::state::State;
use crate::logins::store::Login;
use crate::sessions::store::Session;

/// A time in a row. In JSON it is RFC 3339, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub Time);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(Time::from_micros(time.as_microsecond())))
    }
}

impl From<Time> for Moment {
    fn from(time: Time) -> Self {
        Self(time)
    }
}

/// The state of a login, by its name in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateName(pub State);

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for StateName {
    type Err = <State as FromStr>::Err;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for StateName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether the person is logged in, as the machine reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A session is open.
    Open,
    /// Every session is closed.
    Closed,
    /// No session was reported.
    None,
}

impl Presence {
    /// One word for a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::None => "none",
        }
    }
}

/// A login as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoginRow {
    /// Its id, made by the module.
    pub id: LoginId,
    /// The machine's name when it was opened.
    pub machine: MachineName,
    /// The Unix account.
    pub user: UserName,
    /// As the person typed it, where that differs.
    pub typed: Option<UserName>,
    /// The caller of su or sudo.
    pub caller: Option<LocalCaller>,
    /// The PAM service.
    pub service: SafeText,
    /// The ssh client's address, or what `PAM_RHOST` said.
    pub source: Option<String>,
    /// Fingerprint of the key that was used.
    pub key: Option<String>,
    /// What the key's certificate says.
    pub certificate: Option<SafeText>,
    /// Its state.
    pub state: StateName,
    /// The reason code of its end.
    pub reason: Option<String>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When it was opened.
    pub opened: Moment,
    /// End of the window.
    pub expires: Moment,
    /// When the machine collected the approval.
    pub collected: Option<Moment>,
    /// When the approval expired without being collected.
    pub lapsed: Option<Moment>,
    /// Null if it was not looked up.
    pub session: Option<Presence>,
}

impl From<Login> for LoginRow {
    fn from(login: Login) -> Self {
        Self {
            machine: login.machine.clone(),
            user: login.user().clone(),
            typed: login.opened.typed.clone(),
            caller: login.opened.caller.clone(),
            certificate: login.certificate().map(|certificate| certificate.to_string().into()),
            service: login.opened.service.clone(),
            state: StateName(login.life.state),
            opened: login.opened_at.into(),
            expires: login.life.expires_at.into(),
            collected: login.life.collected_at.map(Moment),
            lapsed: login.life.lapsed_at.map(Moment),
            id: login.id,
            source: login.source,
            key: login.key,
            reason: login.reason,
            decided_by: login.decided_by,
            session: None,
        }
    }
}

/// A session as it is printed, alone or with its login.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Opaque id.
    pub id: String,
    /// The machine's name at that time.
    pub machine: MachineName,
    /// The Unix account.
    pub user: UserName,
    /// As the person typed it, where that differs; not known of sessions before schema version 15.
    pub typed: Option<UserName>,
    /// The PAM service.
    pub service: SafeText,
    /// The ssh client's address, or what `PAM_RHOST` said.
    pub source: Option<String>,
    /// `PAM_TTY`.
    pub tty: Option<SafeText>,
    /// Fingerprint of the key that was used.
    pub key: Option<String>,
    /// The login that let the person in, if one did.
    pub login: Option<LoginId>,
    /// True unless the machine reported that it closed.
    pub open: bool,
    /// When the server received the report of the opening.
    pub opened: Option<Moment>,
    /// When it was opened, by the machine's clock.
    pub opened_reported: Option<Moment>,
    /// When the server received the report of the close.
    pub closed: Option<Moment>,
    /// When it was closed, by the machine's clock.
    pub closed_reported: Option<Moment>,
}

impl From<Session> for SessionRow {
    fn from(session: Session) -> Self {
        Self {
            open: session.is_open(),
            id: session.id,
            machine: session.machine,
            user: session.user,
            typed: session.typed,
            service: session.service,
            source: session.source,
            tty: session.tty,
            key: session.key,
            login: session.login,
            opened: session.opened.map(|(at, _)| Moment(at)),
            opened_reported: session.opened.map(|(_, reported_at)| Moment(reported_at)),
            closed: session.closed.map(|(at, _)| Moment(at)),
            closed_reported: session.closed.map(|(_, reported_at)| Moment(reported_at)),
        }
    }
}
