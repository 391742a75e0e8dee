//! A message as the API shows it, in results and in events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::content::{content, mentioned};
use crate::model::Chat;
use crate::model::conversation::{Conversation, Place};
use crate::model::ids;
use crate::model::message::Message;
use crate::model::team::Role;

#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    id: u64,
    conversation_id: String,
    channel: Channel,
    sender: Sender,
    sent_at: u64,
    sent_at_ms: u64,
    content: BTreeMap<&'static str, Value>,
    prev: Option<Vec<Previous>>,
    unread: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reactions: Option<Reactions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    at_mention_usernames: Vec<String>,
    channel_mention: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_ephemeral: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e_time: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_ephemeral_expired: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) members_type: &'static str,
    pub(crate) topic_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic_name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Sender {
    uid: String,
    username: String,
    device_id: String,
    device_name: String,
}

#[derive(Debug, Serialize)]
struct Previous {
    id: u64,
    hash: String,
}

#[derive(Debug, Default, Serialize)]
struct Reactions {
    reactions: BTreeMap<String, Decorated>,
}

#[derive(Debug, Default, Serialize)]
struct Decorated {
    decorated: &'static str,
    users: BTreeMap<String, Reacted>,
}

#[derive(Debug, Serialize)]
struct Reacted {
    ctime: u64,
    #[serde(rename = "reactionMsgID")]
    message: u64,
}

/// Where a message is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// In a result: with its edits and reactions, and whether it was read.
    Read,
    /// In an event: as it was posted.
    Event,
}

/// A message as a user sees it.
pub(crate) fn summary(
    chat: &Chat,
    conversation: &Conversation,
    message: &Message,
    user: &str,
    moment: Moment,
) -> Summary {
    let is_read = moment == Moment::Read;
    let read_up_to = conversation.read_up_to.get(user).copied().unwrap_or_default();
    let (at_mention_usernames, channel_mention) = mentioned(chat, conversation, message);
    Summary {
        id: message.id,
        conversation_id: conversation.id.clone(),
        channel: channel(chat, conversation, user),
        sender: sender(message),
        sent_at: message.sent_ms / 1000,
        sent_at_ms: message.sent_ms,
        content: content(chat, conversation, message, moment),
        prev: is_read.then(|| previous(message)),
        unread: is_read && message.id > read_up_to,
        reactions: Some(if is_read { reactions(conversation, message) } else { Reactions::default() }),
        at_mention_usernames,
        channel_mention,
        is_ephemeral: message.lifetime_ms.map(|_| true),
        e_time: message.lifetime_ms.map(|lifetime| message.sent_ms + lifetime),
        is_ephemeral_expired: message.is_exploded,
    }
}

/// A conversation's channel as a user sees it. A restricted bot does not see the name.
pub(crate) fn channel(chat: &Chat, conversation: &Conversation, user: &str) -> Channel {
    let is_restricted = chat.part(conversation, user) == Some(Role::RestrictedBot);
    let (members_type, topic_name) = match &conversation.place {
        Place::Channel { name, .. } => ("team", Some(name.clone())),
        Place::People(_) => ("impteamnative", None),
    };
    Channel {
        name: if is_restricted { String::new() } else { chat.tlf_name(conversation) },
        members_type,
        topic_type: conversation.topic_type.clone(),
        topic_name,
    }
}

fn sender(message: &Message) -> Sender {
    let sender = message.sender.clone();
    Sender {
        uid: sender.uid,
        username: sender.username,
        device_id: sender.device_id,
        device_name: sender.device_name,
    }
}

fn previous(message: &Message) -> Vec<Previous> {
    let id = message.id.saturating_sub(1);
    let hash = STANDARD.encode(ids::bytes(&ids::digits(&format!("hash {id}"), 64)));
    if id == 0 { Vec::new() } else { vec![Previous { id, hash }] }
}

fn reactions(conversation: &Conversation, message: &Message) -> Reactions {
    let mut found = Reactions::default();
    for (reaction, body) in conversation.reactions(message.id) {
        let users = &mut found.reactions.entry(body.to_owned()).or_default().users;
        users.insert(
            reaction.sender.username.clone(),
            Reacted { ctime: reaction.sent_ms, message: reaction.id },
        );
    }
    found
}
