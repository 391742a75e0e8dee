//! What Keybase's servers know: users, teams, conversations. Pure: no sockets, no clock, no faults. The time
//! is an argument, and every refusal has the text that the real client shows.

pub(crate) mod ids;
pub(crate) mod refusal;

pub(crate) mod conversation;
pub(crate) mod find;
pub(crate) mod message;
pub(crate) mod people;
pub(crate) mod post;
pub(crate) mod rights;
pub(crate) mod team;
pub(crate) mod text;

use std::collections::BTreeMap;

use conversation::Conversation;
use people::User;
use refusal::Refusal;
use team::Team;

/// All data of the servers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chat {
    /// The users, by name.
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) teams: Vec<Team>,
    /// The conversations, by id.
    pub(crate) conversations: BTreeMap<String, Conversation>,
    /// The events that nobody has taken out of this list yet.
    pub(crate) news: Vec<News>,
}

/// An event that listeners may receive.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Message { conversation: String, id: u64 },
    Conversation(String),
}

impl Chat {
    pub(crate) fn user(&self, name: &str) -> Result<&User, Refusal> {
        self.users.get(name).filter(|user| !user.is_deleted).ok_or_else(|| refusal::no_user(name))
    }

    pub(crate) fn team(&self, name: &str) -> Result<&Team, Refusal> {
        self.teams.iter().find(|team| team.name == name).ok_or_else(|| refusal::no_team(name))
    }

    pub(crate) fn team_mut(&mut self, name: &str) -> Result<&mut Team, Refusal> {
        self.teams.iter_mut().find(|team| team.name == name).ok_or_else(|| refusal::no_team(name))
    }

    pub(crate) fn team_by_id(&self, id: &str) -> Option<&Team> {
        self.teams.iter().find(|team| team.id == id)
    }

    pub(crate) fn conversation(&self, id: &str) -> Result<&Conversation, Refusal> {
        self.conversations.get(id).ok_or_else(|| refusal::no_conversation(id))
    }

    pub(crate) fn conversation_mut(&mut self, id: &str) -> Result<&mut Conversation, Refusal> {
        self.conversations.get_mut(id).ok_or_else(|| refusal::no_conversation(id))
    }
}
