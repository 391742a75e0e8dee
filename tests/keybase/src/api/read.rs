//! The chat methods `read`, `get` and `mark`. They show a conversation as it is now, newest message first.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::options::{Options, Page};
use super::summary::{Moment, Summary, summary};
use super::{Context, Empty, Outcome, RateLimit, result, target};
use crate::model::Chat;
use crate::model::conversation::Conversation;
use crate::model::message::{Content, Message};
use crate::model::refusal::{Refusal, refuse};

/// Number of messages on a page if the client does not set it. The real client's number is not known.
const PAGE_DEFAULT: usize = 20;

#[derive(Serialize)]
struct Thread {
    messages: Vec<ListedMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<Pages>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    offline: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ratelimits: Vec<RateLimit>,
}

#[derive(Serialize)]
struct ListedMessage {
    msg: Summary,
}

#[derive(Serialize)]
struct Pages {
    next: String,
    previous: String,
    num: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    last: bool,
}

/// Returns a page of a conversation.
pub(crate) fn read(context: &mut Context<'_>, options: &Options) -> Outcome {
    target::check("read", options)?;
    let me = context.me()?.username;
    let (page, pages, id) = {
        let (chat, conversation) = opened(context, options)?;
        let read_up_to = conversation.read_up_to.get(&me).copied().unwrap_or_default();
        let is_wanted = |message: &&Message| !options.unread_only || message.id > read_up_to;
        let all: Vec<&Message> = visible(chat, conversation, &me).filter(is_wanted).collect();
        let (page, pages) = turn(&all, options.pagination.as_ref());
        let show = |message: &&Message| ListedMessage {
            msg: summary(chat, conversation, message, &me, Moment::Read),
        };
        (page.iter().map(show).collect(), pages, conversation.id.clone())
    };
    finish(
        context,
        &me,
        &id,
        options.peek,
        Thread { messages: page, pagination: Some(pages), offline: false, ratelimits: vec![] },
    )
}

/// Returns messages by their ids. Missing ones are left out.
pub(crate) fn get(context: &mut Context<'_>, options: &Options) -> Outcome {
    target::check("get", options)?;
    if options.message_ids.is_empty() {
        return Err(refuse("message_ids required"));
    }
    let me = context.me()?.username;
    let (messages, id) = {
        let (chat, conversation) = opened(context, options)?;
        let is_wanted = |message: &&Message| options.message_ids.contains(&message.id);
        let show = |message| ListedMessage { msg: summary(chat, conversation, message, &me, Moment::Read) };
        (visible(chat, conversation, &me).filter(is_wanted).map(show).collect(), conversation.id.clone())
    };
    finish(
        context,
        &me,
        &id,
        options.peek,
        Thread { messages, pagination: None, offline: false, ratelimits: vec![] },
    )
}

/// Marks all messages up to one as read.
pub(crate) fn mark(context: &mut Context<'_>, options: &Options) -> Outcome {
    target::check("mark", options)?;
    let me = context.online()?;
    let id = target::existing(context.chat, &me, options)?;
    let conversation = context.chat.conversation_mut(&id)?;
    let up_to = if options.message_id == 0 { conversation.last_id() } else { options.message_id };
    conversation.read_up_to.insert(me.username, up_to);
    result(&Empty { ratelimits: context.rate_limits() })
}

fn opened<'a>(
    context: &'a mut Context<'_>,
    options: &Options,
) -> Result<(&'a Chat, &'a Conversation), Refusal> {
    let me = context.me()?;
    target::object(context, &options.channel);
    let chat = context.readable(options.fail_offline)?;
    let id = target::existing(chat, &me, options)?;
    Ok((chat, chat.conversation(&id)?))
}

/// The messages that a user sees, newest first. Reactions, edits and deletions are messages of their own.
fn visible<'a>(
    chat: &'a Chat,
    conversation: &'a Conversation,
    user: &'a str,
) -> impl Iterator<Item = &'a Message> {
    let live = conversation.messages.iter().rev().filter(|message| !message.is_deleted);
    live.filter(|message| !matches!(message.content, Content::TlfName))
        .filter(move |message| chat.is_visible(conversation, message, user))
}

/// Returns one page of all messages. Its cursors are the ids before and after it.
fn turn<'a>(all: &[&'a Message], page: Option<&Page>) -> (Vec<&'a Message>, Pages) {
    let num = page.map(|page| page.num).filter(|num| *num > 0).unwrap_or(PAGE_DEFAULT);
    let before = page.and_then(|page| cursor(&page.next)).unwrap_or(u64::MAX);
    let after = page.and_then(|page| cursor(&page.previous)).unwrap_or(0);
    let mut within: Vec<&Message> =
        all.iter().copied().filter(|found| found.id < before && found.id > after).collect();
    if after > 0 {
        within.drain(..within.len().saturating_sub(num));
    }
    let last = within.len() <= num && after == 0;
    within.truncate(num);
    let encode = |message: Option<&&Message>| {
        message.map(|found| STANDARD.encode(found.id.to_string())).unwrap_or_default()
    };
    let pages =
        Pages { next: encode(within.last()), previous: encode(within.first()), num: within.len(), last };
    (within, pages)
}

fn cursor(text: &str) -> Option<u64> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()?.parse().ok()
}

fn finish(context: &mut Context<'_>, me: &str, id: &str, is_peek: bool, thread: Thread) -> Outcome {
    let offline = context.stale.is_some();
    if !is_peek && !offline {
        let conversation = context.chat.conversation_mut(id)?;
        let last = conversation.last_id();
        conversation.read_up_to.insert(me.to_owned(), last);
    }
    let ratelimits = if offline { Vec::new() } else { context.rate_limits() };
    result(&Thread { offline, ratelimits, ..thread })
}
