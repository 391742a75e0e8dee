//! The content of a message and the people whom it notifies, as in the API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::summary::Moment;
use crate::model::Chat;
use crate::model::conversation::Conversation;
use crate::model::ids;
use crate::model::message::{Content, Message};
use crate::model::text::mentions::{Wide, mentions};

/// The type of the content, and its fields under the name of the type.
pub(crate) fn content(
    chat: &Chat,
    conversation: &Conversation,
    message: &Message,
    moment: Moment,
) -> BTreeMap<&'static str, Value> {
    // The client forgets the content of an exploded message, and shows one without a type.
    if message.is_exploded {
        return BTreeMap::from([("type", Value::from("none"))]);
    }
    let kind = message.content.kind();
    let inner = match &message.content {
        Content::Text { body, reply_to } => {
            let latest = conversation.body(message).filter(|_| moment == Moment::Read).unwrap_or(body);
            Some(text(chat, conversation, latest, *reply_to))
        }
        Content::Reaction { target, body } => {
            let uid = author(conversation, *target).map(|name| ids::bytes(&ids::user(&name)));
            Some(json!({"m": target, "b": body, "t": uid.map(|uid| STANDARD.encode(uid)), "e": null}))
        }
        Content::Edit { target, body } => {
            let users = user_mentions(chat, body, None);
            Some(
                json!({"messageID": target, "body": body, "userMentions": users, "teamMentions": null, "emojis": null}),
            )
        }
        Content::Delete { targets } => Some(json!({"messageIDs": targets})),
        Content::Metadata { title } => Some(json!({"conversationTitle": title})),
        Content::System(system) => Some(system.clone()),
        Content::TlfName | Content::Join | Content::Leave => None,
    };
    let mut content = BTreeMap::from([("type", Value::from(kind))]);
    content.extend(inner.map(|inner| (kind, inner)));
    content
}

fn text(chat: &Chat, conversation: &Conversation, body: &str, reply_to: Option<u64>) -> Value {
    let replied = reply_to.and_then(|id| author(conversation, id));
    let users = user_mentions(chat, body, replied.as_deref());
    let mut text =
        json!({"body": body, "payments": null, "userMentions": users, "teamMentions": null, "emojis": null});
    if let (Value::Object(text), Some(id), Some(name)) = (&mut text, reply_to, replied) {
        text.insert("replyTo".into(), id.into());
        text.insert("replyToUID".into(), ids::user(&name).into());
    }
    text
}

/// The users named in a text. The author of a message that is replied to is in the list, too, with an empty
/// text.
fn user_mentions(chat: &Chat, body: &str, replied: Option<&str>) -> Value {
    let names = mentions(body).names.into_iter().filter(|name| chat.users.contains_key(name));
    let all =
        names.map(|name| (name.clone(), name)).chain(replied.map(|name| (String::new(), name.to_owned())));
    let list: Vec<Value> = all
        .map(|(text, name)| json!({"text": text, "uid": STANDARD.encode(ids::bytes(&ids::user(&name)))}))
        .collect();
    if list.is_empty() { Value::Null } else { list.into() }
}

/// The people who are notified: by name, because they wrote the message that is replied or reacted to, or by
/// a mention of everybody.
pub(crate) fn mentioned(
    chat: &Chat,
    conversation: &Conversation,
    message: &Message,
) -> (Vec<String>, &'static str) {
    let (names, channel) = match &message.content {
        Content::Text { body, reply_to } => {
            let found = mentions(body);
            let known = found.names.into_iter().filter(|name| chat.users.contains_key(name));
            (known.chain(reply_to.and_then(|id| author(conversation, id))).collect(), found.channel)
        }
        Content::Reaction { target, .. } => (author(conversation, *target).into_iter().collect(), None),
        Content::Edit { body, .. } => {
            let found = mentions(body);
            (found.names.into_iter().filter(|name| chat.users.contains_key(name)).collect(), found.channel)
        }
        _ => (Vec::new(), None),
    };
    let channel = match channel {
        None => "none",
        Some(Wide::Here) => "here",
        Some(Wide::All) => "all",
    };
    (names, channel)
}

fn author(conversation: &Conversation, id: u64) -> Option<String> {
    conversation
        .messages
        .iter()
        .find(|message| message.id == id)
        .map(|message| message.sender.username.clone())
}
