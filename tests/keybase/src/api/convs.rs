//! The chat methods `list` and `listconvsonname`.

use serde::Serialize;

use super::options::Options;
use super::summary::{Channel, channel};
use super::{Context, Outcome, RateLimit, result, target};
use crate::model::Chat;
use crate::model::conversation::{Conversation, Place};
use crate::model::find::GENERAL;
use crate::model::refusal::refuse;

#[derive(Serialize)]
struct List {
    conversations: Option<Vec<ConversationSummary>>,
    offline: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ratelimits: Vec<RateLimit>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ConversationSummary {
    id: String,
    channel: Channel,
    is_default_conv: bool,
    unread: bool,
    active_at: u64,
    active_at_ms: u64,
    member_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    creator_info: Option<Creator>,
}

#[derive(Debug, Serialize)]
struct Creator {
    ctime: u64,
    username: String,
}

/// The conversations of the user.
pub(crate) fn list(context: &mut Context<'_>, options: &Options) -> Outcome {
    let me = context.me()?.username;
    let chat = context.readable(options.fail_offline)?;
    let topic_type = if options.topic_type.is_empty() { "chat" } else { &options.topic_type };
    let is_wanted = |found: &&Conversation| {
        found.topic_type.eq_ignore_ascii_case(topic_type)
            && chat.part(found, &me).is_some()
            && !found.left.contains(&me)
            && (options.conversation_id.is_empty() || options.conversation_id == found.id)
            && (!options.unread_only || is_unread(found, &me))
    };
    let mut found: Vec<&Conversation> = chat.conversations.values().filter(is_wanted).collect();
    found.sort_by_key(|found| std::cmp::Reverse(found.active_ms()));
    let conversations = found.into_iter().map(|found| conversation(chat, found, &me)).collect();
    listed(context, conversations)
}

/// All channels of a team, or the conversation of these people.
pub(crate) fn list_on_name(context: &mut Context<'_>, options: &Options) -> Outcome {
    if options.name.is_empty() {
        return Err(refuse("name required"));
    }
    let me = context.online()?;
    let channel = super::options::Channel {
        name: options.name.clone(),
        members_type: options.members_type.clone(),
        topic_type: options.topic_type.clone(),
        ..Default::default()
    };
    target::object(context, &channel);
    let name = target::name(context.chat, &me, &channel)?;
    let is_same = |found: &&Conversation| match (&found.place, &name.place) {
        (Place::Channel { team_id, .. }, Place::Channel { team_id: wanted, .. }) => team_id == wanted,
        (place, wanted) => place == wanted,
    };
    let all = context
        .chat
        .conversations
        .values()
        .filter(is_same)
        .filter(|found| found.topic_type == name.topic_type);
    let conversations = all.map(|found| conversation(context.chat, found, &me.username)).collect();
    listed(context, conversations)
}

fn listed(context: &Context<'_>, conversations: Vec<ConversationSummary>) -> Outcome {
    let offline = context.stale.is_some();
    let conversations = (!conversations.is_empty()).then_some(conversations);
    let ratelimits = if offline { Vec::new() } else { context.rate_limits() };
    result(&List { conversations, offline, ratelimits })
}

fn is_unread(conversation: &Conversation, user: &str) -> bool {
    conversation.last_id() > conversation.read_up_to.get(user).copied().unwrap_or_default()
}

/// A conversation as a user sees it.
pub(crate) fn conversation(chat: &Chat, found: &Conversation, user: &str) -> ConversationSummary {
    ConversationSummary {
        id: found.id.clone(),
        channel: channel(chat, found, user),
        is_default_conv: matches!(&found.place, Place::Channel { name, .. } if name == GENERAL),
        unread: is_unread(found, user),
        active_at: found.active_ms() / 1000,
        active_at_ms: found.active_ms(),
        member_status: if found.left.contains(user) { "left" } else { "active" },
        creator_info: Some(Creator { ctime: found.created_ms, username: found.creator.clone() }),
    }
}
