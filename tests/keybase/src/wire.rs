//! The messages between clients, services and the cloud. `link.rs` sends them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::control::order::Order;

/// A line to the cloud.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum ToCloud {
    /// A program has started. The reply is its [`Fate`].
    Note(Note),
    /// A service has started. The reply is the number of its session; then [`Command`]s follow.
    Serve { home: String, pid: u32 },
    /// A client's call through the service with this session.
    Call { session: u64, call: Call },
    /// A test gives an order.
    Order(Order),
}

/// How a program was started.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Note {
    /// `chat api`, `service` and so on.
    pub(crate) kind: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) auto_fork: bool,
    /// What is wrong with the way it was started.
    pub(crate) objections: Vec<String>,
}

/// The fault that was ordered for a program.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Fate {
    /// None.
    #[default]
    Go,
    /// It ends before it does anything.
    Die,
    /// It does its work, and reports that later.
    SlowAfter { delay_ms: u64 },
    /// It does its work, reports nothing, and hangs.
    HangAfter,
    /// It does its work, reports nothing, and fails.
    DieAfter,
}

/// A client's line to its service.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Call {
    /// The service answers with [`ServiceFacts`].
    Ping,
    /// The service ends. It sends no reply.
    Stop,
    /// The reply is an optional [`Identity`].
    Who,
    /// The reply is `Result<(), String>`.
    Login {
        username: String,
        paper_key: String,
    },
    Logout,
    /// The reply is an [`Answer`].
    Api(Request),
    /// The reply is [`Subscribed`]. Then the service sends [`Delivery`] lines, and the client sends
    /// [`Written`] lines.
    Listen(Subscription),
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ServiceFacts {
    pub(crate) pid: u32,
}

/// The user as whom a service is logged in.
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
    /// What is wrong with the envelope of the request.
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

/// What the client does after an answer.
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

/// The ids of the conversations that pass the filters, or why a filter was refused.
pub(crate) type Subscribed = Result<Vec<String>, String>;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Delivery {
    /// Print this line, and confirm its number with the time.
    Line { number: u64, text: String },
    /// End with an error.
    Die,
}

/// A confirmation that a line was written to stdout.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Written {
    pub(crate) number: u64,
    pub(crate) at_us: u64,
}

/// A command from the cloud to a service.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Command {
    Crash,
}
