//! The typed client with which tests control a cloud. All calls block; those that wait do so in the cloud.

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
    /// There is no cloud, or it is gone.
    #[error("no cloud at {0}: {1}")]
    Gone(PathBuf, io::Error),
    /// The cloud does not do that, or what was waited for did not come.
    #[error("{0}")]
    Refused(String),
    /// The reply is of another shape.
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

    /// Gives an order and returns the bare reply.
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

    /// Adds a team or subteam with its `#general`, whose id is returned.
    pub fn add_team(&self, team: &str, owner: &str) -> Result<String, Error> {
        self.get(Order::AddTeam { team: team.into(), owner: owner.into() })
    }

    /// Adds a channel, in which all members are, and returns its id.
    pub fn add_channel(&self, team: &str, channel: &str) -> Result<String, Error> {
        self.get(Order::AddChannel { team: team.into(), channel: channel.into() })
    }

    /// Adds a conversation of people such as `alice,bob`, and returns its id.
    pub fn add_private(&self, users: &str) -> Result<String, Error> {
        self.get(Order::AddPrivate { users: users.into() })
    }

    /// Makes somebody a member in good standing, or changes the role.
    pub fn set_member(&self, team: &str, user: &str, role: Role) -> Result<(), Error> {
        self.set_standing(team, user, role, 0, false)
    }

    /// The same, with a status (0 active, 1 reset, 2 deleted) and whether keys are still missing.
    pub fn set_standing(
        &self,
        team: &str,
        user: &str,
        role: Role,
        status: u8,
        needs_puk: bool,
    ) -> Result<(), Error> {
        self.get(Order::SetMember { team: team.into(), user: user.into(), role, status, needs_puk })
    }

    /// Takes somebody out of a team.
    pub fn remove_member(&self, team: &str, user: &str) -> Result<(), Error> {
        self.get(Order::RemoveMember { team: team.into(), user: user.into() })
    }

    /// Lets anybody join a team, or no longer.
    pub fn set_open(&self, team: &str, open: bool) -> Result<(), Error> {
        self.get(Order::SetOpen { team: team.into(), open })
    }

    /// Gives a team another name.
    pub fn rename_team(&self, team: &str, to: &str) -> Result<(), Error> {
        self.get(Order::RenameTeam { team: team.into(), to: to.into() })
    }

    /// Gives a channel another name; its id stays.
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

    /// The id of a conversation that is named.
    pub fn conversation(&self, conversation: &str) -> Result<String, Error> {
        self.get(Order::Conversation { conversation: conversation.into() })
    }

    /// Posts a text as somebody and returns its id. One like `+:+1:` reacts to the latest message.
    pub fn post(&self, user: &str, conversation: &str, text: &str) -> Result<u64, Error> {
        self.get(Order::Post {
            user: user.into(),
            conversation: conversation.into(),
            text: text.into(),
            reply_to: None,
        })
    }

    /// Reacts as somebody, and returns the reaction's id. The same again takes it away.
    pub fn react(&self, user: &str, conversation: &str, message: u64, reaction: &str) -> Result<u64, Error> {
        let (user, conversation, reaction) = (user.into(), conversation.into(), reaction.into());
        self.get(Order::React { user, conversation, message, reaction })
    }

    /// Takes back a reaction that stands.
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

    /// Reacts once, the moment somebody else posts a text that contains this, before they hear that it is posted.
    pub fn arm_reaction(&self, user: &str, contains: &str, reaction: &str) -> Result<(), Error> {
        self.get(Order::ArmReaction {
            user: user.into(),
            contains: contains.into(),
            reaction: reaction.into(),
        })
    }

    /// A conversation as its members see it, for golden texts: no ids, no times.
    pub fn view(&self, conversation: &str) -> Result<String, Error> {
        self.get(Order::View { conversation: conversation.into() })
    }

    /// The texts of a conversation, oldest first, deleted ones too.
    pub fn messages(&self, conversation: &str) -> Result<Vec<Message>, Error> {
        self.get(Order::Messages { conversation: conversation.into() })
    }

    /// Waits until a text stands that contains this, edits included, and returns its id.
    pub fn wait_message(&self, conversation: &str, contains: &str, limit: Duration) -> Result<u64, Error> {
        let limit_ms = milliseconds(limit);
        self.get(Order::WaitMessage {
            conversation: conversation.into(),
            contains: contains.into(),
            limit_ms,
        })
    }

    /// Waits until a reaction stands, and returns its id.
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

    /// Waits until exactly so many `api-listen` are subscribed.
    pub fn wait_listeners(&self, count: usize, limit: Duration) -> Result<(), Error> {
        self.get(Order::WaitListeners { count, limit_ms: milliseconds(limit) })
    }

    /// Waits until exactly so many services are logged in.
    pub fn wait_logins(&self, count: usize, limit: Duration) -> Result<(), Error> {
        self.get(Order::WaitLogins { count, limit_ms: milliseconds(limit) })
    }

    /// Waits until the listeners have written what they were told of a message, and at least one was told.
    pub fn wait_written(&self, conversation: &str, message: u64, limit: Duration) -> Result<(), Error> {
        let limit_ms = milliseconds(limit);
        self.get(Order::WaitWritten { conversation: conversation.into(), message, limit_ms })
    }

    /// Waits until at least so many requests of a method have come since the cloud started.
    pub fn wait_requests(&self, method: &str, count: u64, limit: Duration) -> Result<(), Error> {
        self.get(Order::WaitRequests { method: method.into(), count, limit_ms: milliseconds(limit) })
    }

    /// Makes something go wrong until it is cleared.
    pub fn fault(&self, kind: FaultKind) -> Result<(), Error> {
        self.get(Order::Fault { kind, only: None, times: None, text: None, delay_ms: 0 })
    }

    /// Makes something go wrong so many times, if wanted only for one method or one type of event.
    pub fn fault_times(&self, kind: FaultKind, only: Option<&str>, times: u32) -> Result<(), Error> {
        let only = only.map(Into::into);
        self.get(Order::Fault { kind, only, times: Some(times), text: None, delay_ms: 0 })
    }

    /// Makes something go wrong with one method, login or program, until it is cleared.
    pub fn fault_always(&self, kind: FaultKind, only: &str) -> Result<(), Error> {
        self.get(Order::Fault { kind, only: Some(only.into()), times: None, text: None, delay_ms: 0 })
    }

    /// Makes something slow ([`FaultKind::RequestSlow`], [`FaultKind::ReplySlow`], [`FaultKind::ListenerSlow`]) until it is
    /// cleared, if wanted only one method, login, program or type of event.
    pub fn slow(&self, kind: FaultKind, only: Option<&str>, delay: Duration) -> Result<(), Error> {
        let (only, delay_ms) = (only.map(Into::into), milliseconds(delay));
        self.get(Order::Fault { kind, only, times: None, text: None, delay_ms })
    }

    /// The same, so many times.
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

    /// Fails the next request of a method with these words.
    pub fn fault_error(&self, method: &str, text: &str) -> Result<(), Error> {
        let (only, text) = (Some(method.into()), Some(text.into()));
        self.get(Order::Fault { kind: FaultKind::UnknownError, only, times: Some(1), text, delay_ms: 0 })
    }

    /// Clears all faults, and lets held replies go.
    pub fn clear_faults(&self) -> Result<(), Error> {
        self.get(Order::ClearFaults)
    }

    /// Waits until a reply is held by [`FaultKind::ReplyHeld`].
    pub fn wait_held(&self, limit: Duration) -> Result<(), Error> {
        self.get(Order::WaitHeld { limit_ms: milliseconds(limit) })
    }

    /// Lets held replies go.
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

    /// The services that run.
    pub fn services(&self) -> Result<Vec<Service>, Error> {
        self.get(Order::Services)
    }

    /// What the clients did that they should not, a sentence each.
    pub fn complaints(&self) -> Result<Vec<String>, Error> {
        self.get(Order::Complaints)
    }

    /// Counts since the cloud started.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.get(Order::Stats)
    }

    /// When each event was posted, and written by its listener.
    pub fn trace(&self) -> Result<Vec<TraceLine>, Error> {
        self.get(Order::Trace)
    }
}

fn milliseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}
