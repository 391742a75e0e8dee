//! A conversation, with the current state of its messages: deleted, edited, reacted to.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Content, Message};

/// Where people talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Channel {
        team_id: String,
        name: String,
    },
    /// Sorted names.
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
    /// Their ids are 1, 2, 3...
    pub(crate) messages: Vec<Message>,
    /// Members of the team who have left this channel.
    pub(crate) left: BTreeSet<String>,
    /// Up to where somebody has read.
    pub(crate) read_up_to: BTreeMap<String, u64>,
}

impl Conversation {
    pub(crate) fn last_id(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(crate) fn active_ms(&self) -> u64 {
        self.messages.last().map_or(self.created_ms, |message| message.sent_ms)
    }

    /// A message that is still there.
    pub(crate) fn message(&self, id: u64) -> Option<&Message> {
        self.messages.iter().find(|message| message.id == id && !message.is_deleted)
    }

    /// What a message says since its last edit.
    pub(crate) fn body<'a>(&'a self, message: &'a Message) -> Option<&'a str> {
        let Content::Text { body, .. } = &message.content else { return None };
        let edits = self.live().filter_map(|other| match &other.content {
            Content::Edit { target, body } if *target == message.id => Some(body.as_str()),
            _ => None,
        });
        Some(edits.last().unwrap_or(body))
    }

    /// Reactions to a message: the messages that they are, and their texts.
    pub(crate) fn reactions(&self, target: u64) -> impl Iterator<Item = (&Message, &str)> {
        self.live().filter_map(move |message| match &message.content {
            Content::Reaction { target: found, body } if *found == target => Some((message, body.as_str())),
            _ => None,
        })
    }

    /// The reaction message with which this user has reacted so already.
    pub(crate) fn standing_reaction(&self, target: u64, user: &str, reaction: &str) -> Option<u64> {
        let mut same = self.reactions(target);
        same.find(|(message, body)| message.sender.username == user && *body == reaction)
            .map(|(message, _)| message.id)
    }

    /// What goes away with a message: itself, its reactions, its edits.
    pub(crate) fn with_dependants(&self, id: u64) -> Vec<u64> {
        let edits =
            self.live().filter(|other| matches!(other.content, Content::Edit { target, .. } if target == id));
        let reactions = self.reactions(id).map(|(message, _)| message.id);
        std::iter::once(id).chain(reactions).chain(edits.map(|edit| edit.id)).collect()
    }

    /// The newest message that people see as one.
    pub(crate) fn latest_visible(&self) -> Option<u64> {
        let mut texts = self.messages.iter().rev().filter(|message| !message.is_deleted);
        texts.find(|message| matches!(message.content, Content::Text { .. })).map(|message| message.id)
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| !message.is_deleted)
    }
}
