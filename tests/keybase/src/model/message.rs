//! One message. Reactions, edits and deletions are messages, too, with ids of their own.

use serde_json::Value;

use super::people::Sender;

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) sender: Sender,
    /// The session of the service that posted it; `None` for people's messages.
    pub(crate) session: Option<u64>,
    pub(crate) sent_ms: u64,
    pub(crate) content: Content,
    pub(crate) is_deleted: bool,
    /// Its lifetime, if it is an exploding message.
    pub(crate) lifetime_ms: Option<u64>,
    /// Its lifetime is over: nobody can read it any more.
    pub(crate) is_exploded: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// The hidden first message of a conversation.
    TlfName,
    Text {
        body: String,
        reply_to: Option<u64>,
    },
    Reaction {
        target: u64,
        body: String,
    },
    Edit {
        target: u64,
        body: String,
    },
    Delete {
        targets: Vec<u64>,
    },
    /// Renames a channel.
    Metadata {
        title: String,
    },
    Join,
    Leave,
    System(Value),
}

impl Content {
    /// Its name in the API.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::TlfName => "tlfname",
            Self::Text { .. } => "text",
            Self::Reaction { .. } => "reaction",
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::Metadata { .. } => "metadata",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::System(_) => "system",
        }
    }
}
