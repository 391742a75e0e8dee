//! The state of the cloud as tests see it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A user.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub uid: String,
    /// The paper key with which a service can log in as this user.
    pub paper_key: String,
    /// Increases when the account is reset.
    pub eldest_seqno: u64,
}

/// A text with its edits and reactions.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its id in the conversation.
    pub id: u64,
    /// The author's name.
    pub author: String,
    /// The text after its last edit.
    pub body: String,
    /// After how long it explodes, if it does.
    pub lifetime_ms: Option<u64>,
    /// How often it was edited.
    pub edits: usize,
    /// Whether it was deleted.
    pub is_deleted: bool,
    /// Its reactions, in the order in which they were given.
    pub reactions: Vec<Reaction>,
}

/// A reaction that was not removed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Reaction {
    /// Its own id.
    pub id: u64,
    /// The name of the user who gave it.
    pub user: String,
    /// Such as `:+1:`.
    pub reaction: String,
}

/// A service that runs.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its home.
    pub home: String,
    /// Its process.
    pub pid: u32,
    /// The name of the user who is logged in, if one is.
    pub user: Option<String>,
}

/// Counts since the cloud started.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Number of programs started, by kind, such as `chat api`.
    pub programs: BTreeMap<String, u64>,
    /// Number of requests, by method.
    pub requests: BTreeMap<String, u64>,
    /// Number of lines sent to listeners.
    pub listener_lines: u64,
    /// Number of listeners that are subscribed now.
    pub listeners: usize,
}

/// One line that a listener has written to its stdout.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct TraceLine {
    /// Number of the line, counted over all listeners.
    pub number: u64,
    /// The conversation's id.
    pub conversation: String,
    /// The id of the message that it is about.
    pub message: u64,
    /// The type of the event: `text`, `reaction` and so on.
    pub kind: String,
    /// When the cloud posted it, in microseconds of `CLOCK_MONOTONIC`.
    pub posted_us: u64,
    /// When the listener wrote it; `None` until then.
    pub written_us: Option<u64>,
}
