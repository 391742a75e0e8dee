//! Orders that wait until a condition is true.

use serde_json::Value;
use std::time::Duration;

use super::world::{Shared, World};
use crate::control::order::Order;
use crate::model::conversation::Conversation;
use crate::model::message::Content;
use crate::model::refusal::{Refusal, refuse};

/// If this is an order to wait, waits and returns the result.
pub(crate) fn wait(shared: &Shared, order: &Order) -> Option<Result<Value, Refusal>> {
    let limit = Duration::from_millis(limit_ms(order)?);
    let found = shared.wait(Some(limit), |world| probe(world, order));
    Some(found.ok_or_else(|| refuse(format!("waited {limit:?} in vain for {order:?}"))))
}

fn limit_ms(order: &Order) -> Option<u64> {
    match order {
        Order::WaitMessage { limit_ms, .. }
        | Order::WaitReaction { limit_ms, .. }
        | Order::WaitGone { limit_ms, .. }
        | Order::WaitListeners { limit_ms, .. }
        | Order::WaitLogins { limit_ms, .. }
        | Order::WaitWritten { limit_ms, .. }
        | Order::WaitRequests { limit_ms, .. }
        | Order::WaitHeld { limit_ms } => Some(*limit_ms),
        _ => None,
    }
}

/// `Some` once the condition of the order is true: an id, or null.
fn probe(world: &World, order: &Order) -> Option<Value> {
    let now = |is_so: bool| is_so.then_some(Value::Null);
    match order {
        Order::WaitMessage { conversation, contains, .. } => {
            find_text(world.chat.find(conversation).ok()?, contains).map(Value::from)
        }
        Order::WaitReaction { conversation, message, reaction, .. } => {
            let mut reactions = world.chat.find(conversation).ok()?.reactions(*message);
            reactions.find(|(_, body)| body == reaction).map(|(found, _)| found.id.into())
        }
        Order::WaitGone { conversation, message, .. } => {
            now(is_gone(world.chat.find(conversation).ok()?, *message))
        }
        Order::WaitListeners { count, .. } => now(world.listeners.len() == *count),
        Order::WaitLogins { count, .. } => {
            now(world.sessions.values().filter(|session| session.login.is_some()).count() == *count)
        }
        Order::WaitWritten { conversation, message, .. } => {
            now(is_written(world, &world.chat.find(conversation).ok()?.id, *message))
        }
        Order::WaitRequests { method, count, .. } => {
            now(world.stats.requests.get(method).is_some_and(|found| found >= count))
        }
        Order::WaitHeld { .. } => now(world.faults.held > 0),
        _ => None,
    }
}

fn find_text(conversation: &Conversation, contains: &str) -> Option<u64> {
    let mut texts = conversation.live().filter(|message| matches!(message.content, Content::Text { .. }));
    texts
        .find(|message| conversation.body(message).is_some_and(|body| body.contains(contains)))
        .map(|message| message.id)
}

fn is_written(world: &World, conversation: &str, id: u64) -> bool {
    let mut lines =
        world.trace.iter().filter(|line| line.conversation == conversation && line.message == id).peekable();
    lines.peek().is_some() && lines.all(|line| line.written_us.is_some())
}

fn is_gone(conversation: &Conversation, id: u64) -> bool {
    conversation.messages.iter().any(|message| message.id == id && message.is_deleted)
}
