//! Chats: where asks are posted, and answers are read. A chat knows messages and people, not logins: it is handed an opaque
//! ask and a text. Its events are only hints; logins are decided by the answers that are on the messages when they are read.

pub mod keybase;
pub mod quote;

use std::future::Future;
use std::time::Duration;

use crate::clock::Time;
use crate::policy::{Approver, Channel};

/// What is posted besides asks and verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Post {
    /// Logins that policy refused.
    pub refusals: bool,
    /// Sessions that were opened and closed.
    pub sessions: bool,
}

/// An ask for a relay to post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Opaque id. Its beginning goes into the message, so that a post whose reply was lost can be found again.
    pub id: String,
    /// Where in the relay: a channel, a person.
    pub destination: String,
    /// What the message says.
    pub text: String,
    /// When it came to be: no message about it is older.
    pub since: Time,
}

/// A message that a relay has posted, by the relay's own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(pub String);

/// Something to tell people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Opaque id.
    pub id: String,
    /// Where in the relay.
    pub destination: String,
    /// What it says.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<Message>,
}

/// What one person replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Let them in.
    Approve,
    /// Do not.
    Deny,
}

impl Answer {
    /// One word for the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// An answer that stands on a message at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveAnswer {
    /// Whose it is.
    pub person: Approver,
    /// What they say.
    pub answer: Answer,
    /// Why it does not count, as far as the relay knows.
    pub rejection: Option<String>,
}

/// All that the messages of an ask say at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// The answers on them.
    pub live: Vec<LiveAnswer>,
    /// People who may answer, and whose reaction looks like a yes and decides nothing.
    pub unclear: Vec<Approver>,
    /// All of them were deleted: nobody can answer any more.
    pub is_gone: bool,
}

impl Answers {
    /// True if nobody has said anything, and somebody still may.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where answers may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatEvent {
    /// On this message, if it is an ask.
    Changed(Message),
    /// On any: something may have been missed.
    Missed,
}

/// Whether a relay reaches people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is not known yet; what was known before still holds.
    Starting,
    /// It does.
    Up,
    /// It does not, for this reason.
    Down(String),
}

/// How long after the attempt began a post may still arrive of which nobody said in time whether it did.
pub const MAY_ARRIVE: Duration = Duration::from_secs(10);

/// Why a relay could not do what it was asked. The ask stays as it was, and is tried again.
#[derive(Debug, thiserror::Error)]
#[error("relay: {0}")]
pub struct Error(pub String);

/// A way to reach people.
pub trait Chat: Send + Sync + 'static {
    /// Which channel it is.
    fn channel(&self) -> Channel;

    /// Posts an ask. After an error nobody knows whether it was posted, and it may still be within [`MAY_ARRIVE`].
    fn post(&self, ask: &Ask) -> impl Future<Output = Result<Message, Error>> + Send;

    /// Puts on a message that has just been posted what people click to answer.
    fn add_buttons(&self, message: &Message) -> impl Future<Output = Result<(), Error>> + Send;

    /// Looks for the messages of an ask that may or may not have been posted, the newest first. An error if that cannot be
    /// told for sure.
    fn find(&self, ask: &Ask) -> impl Future<Output = Result<Vec<Message>, Error>> + Send;

    /// The beginning of the id of the ask that this message is about; none if it is no ask of ours.
    fn identify(&self, message: &Message) -> impl Future<Output = Result<Option<String>, Error>> + Send;

    /// Changes a message that is a second one about the same ask. One that is gone needs no change.
    fn edit_copy(
        &self,
        ask: &Ask,
        message: &Message,
        text: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Turns the message into the verdict. Doing it again is harmless.
    fn edit(
        &self,
        ask: &Ask,
        message: &Message,
        verdict: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Tells people something that needs no answer. Notice it twice is better than not at all.
    fn notify(&self, notice: &Notice) -> impl Future<Output = Result<(), Error>> + Send;

    /// The answers that stand on the messages of an ask, as far as is known here. Good for a denial; an approval has to be
    /// [confirmed](Chat::confirmed_answers).
    fn answers(&self, ask: &Ask, messages: &[Message])
    -> impl Future<Output = Result<Answers, Error>> + Send;

    /// The answers that stand on the messages of an ask that still waits, by the word of whoever keeps the messages, asked
    /// after this call began. An error if that word cannot be had.
    fn confirmed_answers(
        &self,
        ask: &Ask,
        messages: &[Message],
    ) -> impl Future<Output = Result<Answers, Error>> + Send;

    /// What a person does to answer, as the end of a sentence; it stands in each ask.
    fn how_to_answer(&self) -> &'static str;

    /// Waits for a hint that answers may have changed. The future may be dropped at any time, and must
    /// lose nothing by it. A relay that can miss a hint says [`ChatEvent::Missed`] every so often.
    fn next_event(&self) -> impl Future<Output = ChatEvent> + Send;

    /// A hint that is there already, if there is one.
    fn try_next_event(&self) -> Option<ChatEvent>;

    /// Whether it is this server that carries asks, as far as is known now. A relay need not be up elsewhere.
    fn set_leader(&self, is_mine: bool);

    /// How it is.
    fn state(&self) -> State;

    /// The members of its default destination, if they were listed again since this was last asked.
    fn members(&self) -> Option<Vec<Approver>>;
}

/// What the answers that stand on one message amount to: any Deny outweighs every Approve. The caller
/// has left out those that do not count.
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
