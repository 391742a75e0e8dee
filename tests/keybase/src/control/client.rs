//! The typed client with which tests control a cloud. All calls block. Those that wait for a condition do so
//! in the cloud.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::order::{FaultKind, Order};
use super::seen::{Message, Service, Stats, TraceLine, User};
use crate::link::Link;
use crate::model::team::Role;
use crate::wire::ToCloud;

/// Why an order failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cloud, or it has ended.
    #[error("no cloud at {0}: {1}")]
    Gone(PathBuf, io::Error),
    /// The cloud refused the order, or the condition did not become true in time.
    #[error("{0}")]
    Refused(String),
    /// The reply cannot be parsed.
    #[error("the cloud replied strangely: {0}")]
    Strange(serde_json::Error),
}

/// A cloud, by its socket. Cheap to copy; each order is its own connection.
#[derive(Clone, Debug)]
pub struct Cloud {
    socket: PathBuf,
}

impl Cloud {
    /// The cloud with this socket, usually `cloud.sock` beside the program.
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Gives an order, and returns the reply as JSON.
    pub fn order(&self, order: Order) -> Result<Value, Error> {
        let gone = |error| Error::Gone(self.socket.clone(), error);
        let mut link = Link::dial(&self.socket).map_err(gone)?;
        let reply: Result<Value, String> = link.exchange(&ToCloud::Order(order)).map_err(gone)?;
        reply.map_err(Error::Refused)
    }

    fn get<T: DeserializeOwned>(&self, order: Order) -> Result<T, Error> {
        serde_json::from_value(self.order(order)?).map_err(Error::Strange)
    }

    /// Adds a user. Names, ids and paper keys are the same in every run.
    pub fn add_user(&self, user: &str) -> Result<User, Error> {
        self.get(Order::AddUser { user: user.into(), full_name: None })
    }

    /// Adds a team or subteam with its `#general`. Returns the id of `#general`.
    pub fn add_team(&self, team: &str, owner: &str) -> Result<String, Error> {
        self.get(Order::AddTeam { team: team.into(), owner: owner.into() })
    }

    /// Adds a channel with all members of the team, and returns its id.
    pub fn add_channel(&self, team: &str, channel: &str) -> Result<String, Error> {
        self.get(Order::AddChannel { team: team.into(), channel: channel.into() })
    }

    /// Adds a private conversation of people such as `alice,bob`, and returns its id.
    pub fn add_private(&self, users: &str) -> Result<String, Error> {
        self.get(Order::AddPrivate { users: users.into() })
    }

    /// Makes somebody an active member, or changes the role.
    pub fn set_member(&self, team: &str, user: &str, role: Role) -> Result<(), Error> {
        self.set_member_status(team, user, role, 0, false)
    }

    /// As [`Self::set_member`], but with a status (0 active, 1 reset, 2 deleted), and whether the member has
    /// no keys yet.
    pub fn set_member_status(
        &self,
        team: &str,
        user: &str,
        role: Role,
        status: u8,
        needs_puk: bool,
    ) -> Result<(), Error> {
        self.get(Order::SetMember { team: team.into(), user: user.into(), role, status, needs_puk })
    }

    /// Removes somebody from a team.
    pub fn remove_member(&self, team: &str, user: &str) -> Result<(), Error> {
        self.get(Order::RemoveMember { team: team.into(), user: user.into() })
    }

    /// Sets whether anybody may join a team.
    pub fn set_open(&self, team: &str, open: bool) -> Result<(), Error> {
        self.get(Order::SetOpen { team: team.into(), open })
    }

    /// Renames a team.
    pub fn rename_team(&self, team: &str, to: &str) -> Result<(), Error> {
        self.get(Order::RenameTeam { team: team.into(), to: to.into() })
    }

    /// Lets the exploding messages of a conversation explode now.
    pub fn explode(&self, conversation: &str) -> Result<(), Error> {
        self.get(Order::Explode { conversation: conversation.into() })
    }

    /// Renames a channel. Its id stays the same.
    pub fn rename_channel(&self, conversation: &str, to: &str) -> Result<(), Error> {
        self.get(Order::RenameChannel { conversation: conversation.into(), to: to.into() })
    }

    /// Makes a member leave a channel but not the team.
    pub fn leave_channel(&self, user: &str, conversation: &str) -> Result<(), Error> {
        self.get(Order::LeaveChannel { user: user.into(), conversation: conversation.into() })
    }

    /// Deletes an account.
    pub fn delete_user(&self, user: &str) -> Result<(), Error> {
        self.get(Order::DeleteUser { user: user.into() })
    }

    /// Resets an account.
    pub fn reset_user(&self, user: &str) -> Result<(), Error> {
        self.get(Order::ResetUser { user: user.into() })
    }

    /// The id of the conversation with this name.
    pub fn conversation(&self, conversation: &str) -> Result<String, Error> {
        self.get(Order::Conversation { conversation: conversation.into() })
    }

    /// Posts a text as this user, and returns its id. A text such as `+:+1:` becomes a reaction to the latest
    /// message.
    pub fn post(&self, user: &str, conversation: &str, text: &str) -> Result<u64, Error> {
        self.get(Order::Post {
            user: user.into(),
            conversation: conversation.into(),
            text: text.into(),
            reply_to: None,
        })
    }

    /// Reacts as this user, and returns the id of the reaction. The same reaction again removes it.
    pub fn react(&self, user: &str, conversation: &str, message: u64, reaction: &str) -> Result<u64, Error> {
        let (user, conversation, reaction) = (user.into(), conversation.into(), reaction.into());
        self.get(Order::React { user, conversation, message, reaction })
    }

    /// Removes a reaction that this user has given.
    pub fn unreact(
        &self,
        user: &str,
        conversation: &str,
        message: u64,
        reaction: &str,
    ) -> Result<u64, Error> {
        let (user, conversation, reaction) = (user.into(), conversation.into(), reaction.into());
        self.get(Order::Unreact { user, conversation, message, reaction })
    }

    /// Edits a text as its author.
    pub fn edit(&self, user: &str, conversation: &str, message: u64, text: &str) -> Result<u64, Error> {
        self.get(Order::Edit {
            user: user.into(),
            conversation: conversation.into(),
            message,
            text: text.into(),
        })
    }

    /// Deletes a message, reaction or edit as its author or an admin.
    pub fn delete(&self, user: &str, conversation: &str, message: u64) -> Result<u64, Error> {
        self.get(Order::Delete { user: user.into(), conversation: conversation.into(), message })
    }

    /// Orders a reaction to the next text of somebody else that contains this. It is posted before the author
    /// learns that the text was posted.
    pub fn arm_reaction(&self, user: &str, contains: &str, reaction: &str) -> Result<(), Error> {
        self.get(Order::ArmReaction {
            user: user.into(),
            contains: contains.into(),
            reaction: reaction.into(),
        })
    }

    /// A conversation as its members see it, without ids and times, for comparison with expected texts.
    pub fn view(&self, conversation: &str) -> Result<String, Error> {
        self.get(Order::View { conversation: conversation.into() })
    }

    /// The texts of a conversation, oldest first, including deleted ones.
    pub fn messages(&self, conversation: &str) -> Result<Vec<Message>, Error> {
        self.get(Order::Messages { conversation: conversation.into() })
    }

    /// Waits until there is a text that contains this, perhaps after an edit, and returns its id.
    pub fn wait_message(&self, conversation: &str, contains: &str, limit: Duration) -> Result<u64, Error> {
        let limit_ms = milliseconds(limit);
        self.get(Order::WaitMessage {
            conversation: conversation.into(),
            contains: contains.into(),
            limit_ms,
        })
    }

    /// Waits until a message has this reaction, and returns its id.
    pub fn wait_reaction(
        &self,
        conversation: &str,
        message: u64,
        reaction: &str,
        limit: Duration,
    ) -> Result<u64, Error> {
        let (conversation, reaction, limit_ms) = (conversation.into(), reaction.into(), milliseconds(limit));
        self.get(Order::WaitReaction { conversation, message, reaction, limit_ms })
    }

    /// Waits until a message is deleted.
    pub fn wait_gone(&self, conversation: &str, message: u64, limit: Duration) -> Result<(), Error> {
        let limit_ms = milliseconds(limit);
        self.get(Order::WaitGone { conversation: conversation.into(), message, limit_ms })
    }

    /// Waits until exactly this many `api-listen` are subscribed.
    pub fn wait_listeners(&self, count: usize, limit: Duration) -> Result<(), Error> {
        self.get(Order::WaitListeners { count, limit_ms: milliseconds(limit) })
    }

    /// Waits until exactly this many services are logged in.
    pub fn wait_logins(&self, count: usize, limit: Duration) -> Result<(), Error> {
        self.get(Order::WaitLogins { count, limit_ms: milliseconds(limit) })
    }

    /// Waits until the listeners have written every line about a message, and at least one listener got one.
    pub fn wait_written(&self, conversation: &str, message: u64, limit: Duration) -> Result<(), Error> {
        let limit_ms = milliseconds(limit);
        self.get(Order::WaitWritten { conversation: conversation.into(), message, limit_ms })
    }

    /// Waits until there were at least this many requests of a method since the cloud started.
    pub fn wait_requests(&self, method: &str, count: u64, limit: Duration) -> Result<(), Error> {
        self.get(Order::WaitRequests { method: method.into(), count, limit_ms: milliseconds(limit) })
    }

    /// Orders a fault until it is cleared.
    pub fn fault(&self, kind: FaultKind) -> Result<(), Error> {
        self.get(Order::Fault { kind, only: None, times: None, text: None, delay_ms: 0 })
    }

    /// Orders a fault for this many times. `only` limits it to one method or one type of event.
    pub fn fault_times(&self, kind: FaultKind, only: Option<&str>, times: u32) -> Result<(), Error> {
        let only = only.map(Into::into);
        self.get(Order::Fault { kind, only, times: Some(times), text: None, delay_ms: 0 })
    }

    /// Orders a fault of one method, login or program, until it is cleared.
    pub fn fault_always(&self, kind: FaultKind, only: &str) -> Result<(), Error> {
        self.get(Order::Fault { kind, only: Some(only.into()), times: None, text: None, delay_ms: 0 })
    }

    /// Orders a delay ([`FaultKind::RequestSlow`], [`FaultKind::ReplySlow`], [`FaultKind::ListenerSlow`])
    /// until it is cleared. `only` limits it to one method, login, program or type of event.
    pub fn slow(&self, kind: FaultKind, only: Option<&str>, delay: Duration) -> Result<(), Error> {
        let (only, delay_ms) = (only.map(Into::into), milliseconds(delay));
        self.get(Order::Fault { kind, only, times: None, text: None, delay_ms })
    }

    /// As [`Self::slow`], for this many times.
    pub fn slow_times(
        &self,
        kind: FaultKind,
        only: Option<&str>,
        times: u32,
        delay: Duration,
    ) -> Result<(), Error> {
        let (only, delay_ms) = (only.map(Into::into), milliseconds(delay));
        self.get(Order::Fault { kind, only, times: Some(times), text: None, delay_ms })
    }

    /// Makes the next request of a method fail with this text.
    pub fn fault_error(&self, method: &str, text: &str) -> Result<(), Error> {
        let (only, text) = (Some(method.into()), Some(text.into()));
        self.get(Order::Fault { kind: FaultKind::UnknownError, only, times: Some(1), text, delay_ms: 0 })
    }

    /// Clears all faults, and releases held replies.
    pub fn clear_faults(&self) -> Result<(), Error> {
        self.get(Order::ClearFaults)
    }

    /// Waits until a reply is held by [`FaultKind::ReplyHeld`].
    pub fn wait_held(&self, limit: Duration) -> Result<(), Error> {
        self.get(Order::WaitHeld { limit_ms: milliseconds(limit) })
    }

    /// Releases held replies.
    pub fn release(&self) -> Result<(), Error> {
        self.get(Order::Release)
    }

    /// Logs all services out.
    pub fn log_out(&self) -> Result<(), Error> {
        self.get(Order::LogOut)
    }

    /// Makes all services crash.
    pub fn crash(&self) -> Result<(), Error> {
        self.get(Order::Crash)
    }

    /// The services that run now.
    pub fn services(&self) -> Result<Vec<Service>, Error> {
        self.get(Order::Services)
    }

    /// What clients did that they should not have done, one sentence each.
    pub fn complaints(&self) -> Result<Vec<String>, Error> {
        self.get(Order::Complaints)
    }

    /// Counts since the cloud started.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.get(Order::Stats)
    }

    /// For each event, when it was posted and when its listener wrote it.
    pub fn trace(&self) -> Result<Vec<TraceLine>, Error> {
        self.get(Order::Trace)
    }
}

fn milliseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}
