//! A conversation and the current state of its messages: edited, deleted, with reactions.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Content, Message};

/// The participants: a channel of a team, or some people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Channel {
        team_id: String,
        name: String,
    },
    /// The people's names, sorted.
    People(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) place: Place,
    /// `chat` or `dev`.
    pub(crate) topic_type: String,
    pub(crate) creator: String,
    pub(crate) created_ms: u64,
    /// The messages. Their ids are 1, 2, 3 and so on.
    pub(crate) messages: Vec<Message>,
    /// Members of the team who have left this channel.
    pub(crate) left: BTreeSet<String>,
    /// For each user, the last message that is marked as read.
    pub(crate) read_up_to: BTreeMap<String, u64>,
}

impl Conversation {
    pub(crate) fn last_id(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(crate) fn active_ms(&self) -> u64 {
        self.messages.last().map_or(self.created_ms, |message| message.sent_ms)
    }

    /// The message with this id, if it was not deleted.
    pub(crate) fn message(&self, id: u64) -> Option<&Message> {
        self.messages.iter().find(|message| message.id == id && !message.is_deleted)
    }

    /// The text of a message after its last edit.
    pub(crate) fn body<'a>(&'a self, message: &'a Message) -> Option<&'a str> {
        let Content::Text { body, .. } = &message.content else { return None };
        if message.is_exploded {
            return None;
        }
        let edits = self.live().filter_map(|other| match &other.content {
            Content::Edit { target, body } if *target == message.id => Some(body.as_str()),
            _ => None,
        });
        Some(edits.last().unwrap_or(body))
    }

    /// The reactions to a message: each as a message, and its text.
    pub(crate) fn reactions(&self, target: u64) -> impl Iterator<Item = (&Message, &str)> {
        self.live().filter_map(move |message| match &message.content {
            Content::Reaction { target: found, body } if *found == target => Some((message, body.as_str())),
            _ => None,
        })
    }

    /// The id of the reaction that this user has already given, if it is the same.
    pub(crate) fn live_reaction(&self, target: u64, user: &str, reaction: &str) -> Option<u64> {
        let mut same = self.reactions(target);
        same.find(|(message, body)| message.sender.username == user && *body == reaction)
            .map(|(message, _)| message.id)
    }

    /// The ids that are deleted together with a message: itself, its reactions and its edits.
    pub(crate) fn with_dependants(&self, id: u64) -> Vec<u64> {
        let edits =
            self.live().filter(|other| matches!(other.content, Content::Edit { target, .. } if target == id));
        let reactions = self.reactions(id).map(|(message, _)| message.id);
        std::iter::once(id).chain(reactions).chain(edits.map(|edit| edit.id)).collect()
    }

    /// The newest message that people see as a message.
    pub(crate) fn latest_visible(&self) -> Option<u64> {
        let mut texts = self.messages.iter().rev().filter(|message| !message.is_deleted);
        texts.find(|message| matches!(message.content, Content::Text { .. })).map(|message| message.id)
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| !message.is_deleted)
    }
}
