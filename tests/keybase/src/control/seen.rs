//! Views of the cloud for tests.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A user.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub uid: String,
    /// With this a service logs in.
    pub paper_key: String,
    /// Grows when the account is reset.
    pub eldest_seqno: u64,
}

/// A text as it stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its id in the conversation.
    pub id: u64,
    /// The author's name.
    pub author: String,
    /// What it says since its last edit.
    pub body: String,
    /// How often it was edited.
    pub edits: usize,
    /// Whether it was deleted.
    pub is_deleted: bool,
    /// In the order in which they came.
    pub reactions: Vec<Reaction>,
}

/// A reaction that stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Reaction {
    /// Its own id.
    pub id: u64,
    /// Whose it is.
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
    /// Who is logged in.
    pub user: Option<String>,
}

/// Counts since the cloud started.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Programs started, by kind, such as `chat api`.
    pub programs: BTreeMap<String, u64>,
    /// Requests, by method.
    pub requests: BTreeMap<String, u64>,
    /// Lines sent to listeners.
    pub listener_lines: u64,
    /// Listeners subscribed now.
    pub listeners: usize,
}

/// One line that a listener has written to its stdout.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct TraceLine {
    /// Counts the lines to all listeners.
    pub number: u64,
    /// The conversation's id.
    pub conversation: String,
    /// The id of the message that it tells of.
    pub message: u64,
    /// `text`, `reaction` and so on.
    pub kind: String,
    /// When the cloud knew of it, in microseconds of `CLOCK_MONOTONIC`.
    pub posted_us: u64,
    /// When it was written; none until then.
    pub written_us: Option<u64>,
}
