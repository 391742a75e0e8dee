//! The messages between clients, services and the cloud. `link.rs` transports them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::control::order::Order;

/// A line to the cloud.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum ToCloud {
    /// A program has started; the reply is its [`Fate`].
    Note(Note),
    /// A service has started; the reply is its session, then commands follow.
    Serve { home: String, pid: u32 },
    /// A client's call through the service with this session.
    Call { session: u64, call: Call },
    /// Somebody steers the cloud.
    Order(Order),
}

/// How a program was started.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Note {
    /// `chat api`, `service` and so on.
    pub(crate) kind: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) auto_fork: bool,
    /// What the program itself found wrong.
    pub(crate) objections: Vec<String>,
}

/// What becomes of a program besides what it does.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Fate {
    /// Nothing.
    #[default]
    Go,
    /// It ends before it does anything.
    Die,
    /// It does what it is for, and says so later.
    SlowAfter { delay_ms: u64 },
    /// It does what it is for, says nothing, and hangs.
    HangAfter,
    /// It does what it is for, says nothing, and ends badly.
    DieAfter,
}

/// A client's line to its service.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Call {
    /// Answered by the service: [`ServiceFacts`].
    Ping,
    /// Answered by the service, which then ends.
    Stop,
    /// Replied to by an optional [`Identity`].
    Who,
    /// Replied to by `Result<(), String>`.
    Login {
        username: String,
        paper_key: String,
    },
    Logout,
    /// Replied to by an [`Answer`].
    Api(Request),
    /// Replied to by [`Subscribed`], then by [`Delivery`] lines; the client sends [`Written`] lines.
    Listen(Subscription),
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ServiceFacts {
    pub(crate) pid: u32,
}

/// Who a service is logged in as.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Identity {
    pub(crate) username: String,
    pub(crate) uid: String,
    pub(crate) device_id: String,
    pub(crate) device_name: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Family {
    Chat,
    Team,
}

/// One request of an API stream.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Request {
    pub(crate) family: Family,
    pub(crate) method: String,
    pub(crate) options: Option<Value>,
    /// What is wrong with the envelope.
    pub(crate) objections: Vec<String>,
}

/// The outcome of a [`Request`].
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    pub(crate) outcome: Result<Box<RawValue>, ApiError>,
    pub(crate) act: Act,
}

/// An error as the API prints it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ApiError {
    pub(crate) code: i64,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
}

/// What the client does with an answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Act {
    Reply,
    Hang,
    Die,
    Garbage,
    WrongId,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the real command")]
pub(crate) struct Subscription {
    pub(crate) show_local: bool,
    pub(crate) show_new_conversations: bool,
    pub(crate) hide_exploding: bool,
    pub(crate) dev: bool,
    pub(crate) filters: Vec<Value>,
}

/// The ids of the filtered conversations, or why a filter is refused.
pub(crate) type Subscribed = Result<Vec<String>, String>;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Delivery {
    /// Print this, and tell with the number when it was done.
    Line { number: u64, text: String },
    /// End with an error.
    Die,
}

/// When a line was written to stdout.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Written {
    pub(crate) number: u64,
    pub(crate) at_us: u64,
}

/// What the cloud tells a service to do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Command {
    Crash,
}
