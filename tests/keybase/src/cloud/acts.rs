//! What people do when a test orders it: post, react, edit or delete, each from their laptop.

use crate::clock::wall_ms;
use crate::control::order::Order;
use crate::model::Chat;
use crate::model::post::{Actor, Text};
use crate::model::refusal::{Refusal, refuse};

/// Executes the order, and returns the id of the new message.
pub(crate) fn act(chat: &mut Chat, order: &Order) -> Result<u64, Refusal> {
    let (user, conversation) = actor(order)?;
    let sender = chat.user(user)?.on_laptop();
    let id = chat.find(conversation)?.id.clone();
    let actor = Actor { conversation: &id, sender: &sender, session: None, now_ms: wall_ms() };
    match order {
        Order::Post { text, reply_to, .. } => {
            chat.post(&actor, &Text { body: text, reply_to: *reply_to, lifetime_ms: None })
        }
        Order::React { message, reaction, .. } => chat.react(&actor, *message, reaction),
        Order::Unreact { message, reaction, .. } => chat.unreact(&actor, *message, reaction),
        Order::Edit { message, text, .. } => chat.edit(&actor, *message, text),
        Order::Delete { message, .. } => chat.delete(&actor, *message),
        other => Err(refuse(format!("this is no act: {other:?}"))),
    }
}

fn actor(order: &Order) -> Result<(&str, &str), Refusal> {
    match order {
        Order::Post { user, conversation, .. }
        | Order::React { user, conversation, .. }
        | Order::Unreact { user, conversation, .. }
        | Order::Edit { user, conversation, .. }
        | Order::Delete { user, conversation, .. } => Ok((user, conversation)),
        other => Err(refuse(format!("this is no act: {other:?}"))),
    }
}
