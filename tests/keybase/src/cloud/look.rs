//! Shows a conversation as its members see it.

use crate::control::seen::{Message, Reaction};
use crate::model::conversation::Conversation;
use crate::model::message::{self, Content};

/// The texts of a conversation, oldest first.
pub(crate) fn messages(conversation: &Conversation) -> Vec<Message> {
    let texts = conversation.messages.iter().filter_map(|message| {
        let Content::Text { body, .. } = &message.content else { return None };
        let edits = conversation
            .live()
            .filter(|other| matches!(other.content, Content::Edit { target, .. } if target == message.id));
        let reaction = |(found, body): (&message::Message, &str)| Reaction {
            id: found.id,
            user: found.sender.username.clone(),
            reaction: body.to_owned(),
        };
        Some(Message {
            id: message.id,
            author: message.sender.username.clone(),
            body: if message.is_exploded {
                String::new()
            } else {
                conversation.body(message).unwrap_or(body).to_owned()
            },
            lifetime_ms: message.lifetime_ms,
            edits: edits.count(),
            is_deleted: message.is_deleted,
            reactions: conversation.reactions(message.id).map(reaction).collect(),
        })
    });
    texts.collect()
}

/// A conversation as text for people, without ids and times.
pub(crate) fn view(conversation: &Conversation) -> String {
    messages(conversation).iter().map(paragraph).collect()
}

fn paragraph(message: &Message) -> String {
    if message.is_deleted {
        return format!("{}: (deleted)\n", message.author);
    }
    if message.lifetime_ms.is_some() && message.body.is_empty() {
        return format!("{}: (exploded)\n", message.author);
    }
    let edited = if message.edits > 0 { " (edited)" } else { "" };
    let mut text = format!("{}{edited}: {}\n", message.author, message.body.replace('\n', "\n  "));
    for reaction in &message.reactions {
        text.extend(["  [", &reaction.reaction, " ", &reaction.user, "]\n"]);
    }
    text
}
