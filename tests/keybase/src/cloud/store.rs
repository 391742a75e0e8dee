//! The store of a service that has lost its servers without noticing, so that the store is out of date.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::Chat;
use crate::model::conversation::Conversation;
use crate::model::message::Content;
use crate::wire::Request;

/// For each conversation, the message up to which the store is complete. The store also has every message
/// that the service itself posted.
#[derive(Debug)]
pub(crate) struct Store {
    whole: BTreeMap<String, u64>,
}

impl Store {
    /// A store that is complete up to now.
    pub(crate) fn of(chat: &Chat) -> Self {
        Self { whole: chat.conversations.values().map(|found| (found.id.clone(), found.last_id())).collect() }
    }

    /// The data from which the service answers this request. `None` if it asks its servers in any case.
    pub(crate) fn answers(&mut self, chat: &Chat, session: u64, request: &Request) -> Option<Chat> {
        match request.method.as_str() {
            "read" => self.fill_gaps(chat, session),
            "get" => {}
            _ => return None,
        }
        // A wanted message that the store lacks is fetched, but only that message.
        let wanted = request.options.as_ref().and_then(|options| options.get("message_ids"));
        let wanted: BTreeSet<u64> =
            wanted.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64).collect();
        let mut known = chat.clone();
        for conversation in known.conversations.values_mut() {
            let whole = self.whole.get(&conversation.id).copied().unwrap_or(u64::MAX);
            let fetched = if request.method == "get" { wanted.clone() } else { BTreeSet::new() };
            conversation.messages.retain(|found| {
                found.id <= whole || found.session == Some(session) || fetched.contains(&found.id)
            });
            undelete(conversation);
        }
        Some(known)
    }

    /// Completes the store up to the service's own last message: if that is above a gap, the service notices
    /// the gap and fetches the page from the servers.
    fn fill_gaps(&mut self, chat: &Chat, session: u64) {
        for conversation in chat.conversations.values() {
            let own = conversation.messages.iter().rev().find(|found| found.session == Some(session));
            if let (Some(own), Some(whole)) = (own, self.whole.get_mut(&conversation.id)) {
                *whole = own.id.max(*whole);
            }
        }
    }
}

/// Undoes deletions that the store does not know.
fn undelete(conversation: &mut Conversation) {
    let mut deleted = BTreeSet::new();
    for message in &conversation.messages {
        if let Content::Delete { targets } = &message.content {
            deleted.extend(targets.iter().copied());
        }
    }
    for message in &mut conversation.messages {
        message.is_deleted = deleted.contains(&message.id);
    }
}
