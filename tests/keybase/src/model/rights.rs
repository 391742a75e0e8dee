//! Who may do and see what in teams and conversations.

use super::Chat;
use super::conversation::{Conversation, Place};
use super::message::{Content, Message};
use super::team::{Role, Team};
use super::text::mentions::mentions;

impl Chat {
    /// True for admins and owners of the team itself, or of a team above it.
    pub(crate) fn is_admin(&self, team: &Team, user: &str) -> bool {
        let is_above =
            |other: &Team| team.name == other.name || team.name.starts_with(&format!("{}.", other.name));
        let mut above = self.teams.iter().filter(|other| is_above(other));
        above.any(|other| other.role(user).is_some_and(Role::is_admin))
    }

    /// The role in which a user takes part in a conversation. In a private one everybody is an owner.
    pub(crate) fn part(&self, conversation: &Conversation, user: &str) -> Option<Role> {
        match &conversation.place {
            Place::People(names) => names.iter().any(|name| name == user).then_some(Role::Owner),
            Place::Channel { team_id, .. } => self.team_by_id(team_id)?.role(user),
        }
    }

    pub(crate) fn may_delete(&self, conversation: &Conversation, message: &Message, user: &str) -> bool {
        let is_admin = || match &conversation.place {
            Place::People(_) => false,
            Place::Channel { team_id, .. } => {
                self.team_by_id(team_id).is_some_and(|team| self.is_admin(team, user))
            }
        };
        message.sender.username == user || is_admin()
    }

    /// True if the user may see the message. A restricted bot sees only messages that are addressed to it.
    pub(crate) fn is_visible(&self, conversation: &Conversation, message: &Message, user: &str) -> bool {
        match self.part(conversation, user) {
            None => false,
            Some(Role::RestrictedBot) => {
                message.sender.username == user || is_meant_for(conversation, message, user)
            }
            Some(_) => true,
        }
    }
}

fn is_meant_for(conversation: &Conversation, message: &Message, user: &str) -> bool {
    let is_own =
        |id: &u64| conversation.messages.iter().any(|other| other.id == *id && other.sender.username == user);
    match &message.content {
        Content::Text { body, reply_to } => {
            reply_to.as_ref().is_some_and(is_own)
                || body.starts_with('!')
                || mentions(body).names.iter().any(|name| name == user)
        }
        Content::Reaction { target, .. } | Content::Edit { target, .. } => is_own(target),
        Content::Delete { targets } => targets.iter().any(|target| {
            let gone = conversation.messages.iter().find(|other| other.id == *target);
            gone.is_some_and(|gone| gone.sender.username == user || is_meant_for(conversation, gone, user))
        }),
        _ => false,
    }
}
