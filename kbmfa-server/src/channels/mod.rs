//! Chats, in which asks are posted and answers are read. A chat knows messages and people, but no logins: it
//! receives an opaque ask and a text. Its events are only hints. The outbox decides a login by the answers
//! that it reads from the messages.

pub mod keybase;
pub mod quote;

use std::future::Future;
use std::time::Duration;

use crate::clock::Time;
use crate::policy::{Approver, Channel};

/// Which notices are posted besides asks and decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Post {
    /// Logins that policy refused.
    pub refusals: bool,
    /// Sessions that were opened and closed.
    pub sessions: bool,
}

/// An ask to post in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Opaque id. The message contains its first digits, so that a post can be found again if its reply was
    /// lost.
    pub id: String,
    /// The conversation, in the chat's own notation: a channel, or a person.
    pub destination: String,
    /// The text of the message.
    pub text: String,
    /// When the ask was created. No message of this ask is older.
    pub since: Time,
}

/// A posted message, by the chat's own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(pub String);

/// A message to people that needs no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Opaque id.
    pub id: String,
    /// The conversation, in the chat's own notation.
    pub destination: String,
    /// The text of the message.
    pub text: String,
    /// The message to which this one is a reply.
    pub reply_to: Option<Message>,
}

/// One person's answer to an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Let the person in.
    Approve,
    /// Refuse the login.
    Deny,
}

impl Answer {
    /// The word in the audit log and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// An answer that is on a message now. An answer that was taken back is not live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveAnswer {
    /// The person who answered.
    pub person: Approver,
    /// Their answer.
    pub answer: Answer,
    /// Why the chat rejects the answer; `None` if the chat has no objection. Policy may still reject it.
    pub rejection: Option<String>,
}

/// The answers on all messages of an ask now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// Every answer, including rejected ones.
    pub live: Vec<LiveAnswer>,
    /// People who may answer, but whose reaction only resembles an approval. It does not count.
    pub unclear: Vec<Approver>,
    /// All messages of the ask were deleted, so nobody can answer.
    pub is_gone: bool,
}

impl Answers {
    /// True if nobody has reacted, and the ask can still be answered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A hint that answers may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatEvent {
    /// The answers on this message. It need not be an ask.
    Changed(Message),
    /// The answers on any message: events may have been missed.
    Missed,
}

/// Whether people can be reached through a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not known yet. The state that was published before remains valid.
    Starting,
    /// The chat reaches people.
    Up,
    /// The chat does not reach people, for this reason.
    Down(String),
}

/// If a post was not confirmed, it may still appear for this long after the attempt began.
pub const MAY_ARRIVE: Duration = Duration::from_secs(10);

/// Why a call to a chat failed. The ask keeps its state, and the outbox tries again.
#[derive(Debug, thiserror::Error)]
#[error("chat: {0}")]
pub struct Error(pub String);

/// A channel in which messages are posted.
pub trait Chat: Send + Sync + 'static {
    /// The channel in which people answer.
    fn channel(&self) -> Channel;

    /// Posts an ask. After an error it is unknown whether the ask was posted; it may still appear within
    /// [`MAY_ARRIVE`].
    fn post(&self, ask: &Ask) -> impl Future<Output = Result<Message, Error>> + Send;

    /// Adds the buttons to a message that was just posted. People click them to answer.
    fn add_buttons(&self, message: &Message) -> impl Future<Output = Result<(), Error>> + Send;

    /// Finds the messages of an ask whose post was not confirmed, the newest first. Returns an error unless
    /// the search was complete.
    fn find(&self, ask: &Ask) -> impl Future<Output = Result<Vec<Message>, Error>> + Send;

    /// The first digits of the id for which this message was posted; `None` if this bot did not post it.
    fn identify(&self, message: &Message) -> impl Future<Output = Result<Option<String>, Error>> + Send;

    /// Edits a second message of the same ask. Succeeds if that message was deleted.
    fn edit_copy(
        &self,
        ask: &Ask,
        message: &Message,
        text: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Replaces the text of the message by the decision. Idempotent.
    fn edit(
        &self,
        ask: &Ask,
        message: &Message,
        decision: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Posts a notice. A notice may be posted twice, but is never lost.
    fn notify(&self, notice: &Notice) -> impl Future<Output = Result<(), Error>> + Send;

    /// The answers on the messages of an ask, from a local store that may be out of date. Enough for a
    /// denial; an approval must be [confirmed](Chat::confirmed_answers).
    fn answers(&self, ask: &Ask, messages: &[Message])
    -> impl Future<Output = Result<Answers, Error>> + Send;

    /// The answers on the messages of an ask that still waits, as the chat's own server has them after this
    /// call began. Returns an error if that server does not confirm them.
    fn confirmed_answers(
        &self,
        ask: &Ask,
        messages: &[Message],
    ) -> impl Future<Output = Result<Answers, Error>> + Send;

    /// What a person does to answer, as the end of a sentence. Each ask contains it.
    fn how_to_answer(&self) -> &'static str;

    /// Waits for a hint that answers may have changed. Cancel safe: no event is lost if the future is
    /// dropped. A chat that can miss events returns [`ChatEvent::Missed`] at intervals.
    fn next_event(&self) -> impl Future<Output = ChatEvent> + Send;

    /// The next hint, if one is queued.
    fn try_next_event(&self) -> Option<ChatEvent>;

    /// Sets whether this server holds the lease on the chat. Only that server needs a connection to the chat.
    fn set_leader(&self, is_mine: bool);

    /// Whether the chat reaches people now.
    fn state(&self) -> State;

    /// The members of the default destination, if the chat listed them again since the last call.
    fn members(&self) -> Option<Vec<Approver>>;
}

/// The answer that decides: any Deny outweighs every Approve. The caller passes only answers that count.
pub fn tally(live: &[LiveAnswer]) -> Option<&LiveAnswer> {
    let first = |answer| live.iter().find(|live| live.answer == answer);
    first(Answer::Deny).or_else(|| first(Answer::Approve))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_deny_outweighs_every_approve() {
        let live = |name: &str, answer| LiveAnswer { person: name.parse().unwrap(), answer, rejection: None };
        let yes = live("keybase:alice", Answer::Approve);
        let no = live("keybase:bob", Answer::Deny);
        assert_eq!(tally(&[]), None);
        assert_eq!(tally(std::slice::from_ref(&yes)), Some(&yes));
        assert_eq!(tally(&[yes.clone(), no.clone()]), Some(&no));
        assert_eq!(tally(&[no.clone(), yes.clone(), yes]), Some(&no));
    }
}
