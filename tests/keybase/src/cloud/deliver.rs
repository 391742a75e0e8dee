//! Delivers events to listeners: decides who receives which, and applies faults.

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::mem;

use super::faults::{Fault, Pause, Scope};
use super::listeners::Listener;
use super::requests::HUGE;
use super::session::Session;
use super::world::World;
use crate::api::convs::{ConversationSummary, conversation};
use crate::api::summary::{Moment, Summary, summary};
use crate::clock::monotonic_us;
use crate::control::order::FaultKind;
use crate::control::seen::TraceLine;
use crate::model::conversation::Conversation;
use crate::model::message::Message;
use crate::model::{Chat, News};
use crate::wire::Delivery;

#[derive(Serialize)]
struct Event {
    r#type: &'static str,
    source: &'static str,
    msg: Summary,
    pagination: Value,
}

#[derive(Serialize)]
struct ConversationEvent {
    r#type: &'static str,
    conv: ConversationSummary,
}

impl World {
    /// Sends new events to the listeners. An event that a listener does not receive now is lost to it.
    pub(crate) fn deliver(&mut self) {
        let news = mem::take(&mut self.chat.news);
        if self.faults.is_cut() {
            return;
        }
        for news in news {
            match news {
                News::Message { conversation, id } => self.deliver_message(&conversation, id),
                News::Conversation(id) => self.deliver_conversation(&id),
            }
        }
    }

    fn deliver_message(&mut self, conversation: &str, id: u64) {
        let Self { chat, sessions, listeners, faults, stats, trace, .. } = self;
        let Some(found) = chat.conversations.get(conversation) else { return };
        let Some(message) = found.messages.iter().find(|message| message.id == id) else { return };
        let posted_us = monotonic_us();
        for listener in listeners {
            let Some(me) = login(sessions, listener.session) else { continue };
            if !listener.hears(chat, found, message, me) {
                continue;
            }
            let text = event(chat, found, message, me, listener.session);
            let kind = message.content.kind();
            let fault = faults.take(Scope::Event, kind);
            let slow = fault.as_ref().filter(|fault| fault.kind == FaultKind::ListenerSlow);
            let pause = slow.map(|fault| fault.pause).unwrap_or_default();
            for line in damage(fault.as_ref(), text, &mut listener.is_deaf) {
                stats.listener_lines += 1;
                let number = stats.listener_lines;
                if matches!(line, Delivery::Line { .. }) {
                    let (conversation, kind) = (conversation.to_owned(), kind.to_owned());
                    trace.push(TraceLine {
                        number,
                        conversation,
                        message: id,
                        kind,
                        posted_us,
                        written_us: None,
                    });
                }
                listener.lines.send((pause, numbered(line, number))).ok();
            }
        }
    }

    fn deliver_conversation(&mut self, id: &str) {
        let Some(found) = self.chat.conversations.get(id) else { return };
        for listener in self.listeners.iter().filter(|listener| listener.subscription.show_new_conversations)
        {
            let Some(me) = login(&self.sessions, listener.session) else { continue };
            if self.chat.part(found, me).is_none() {
                continue;
            }
            let event = ConversationEvent { r#type: "chat_conv", conv: conversation(&self.chat, found, me) };
            let text = serde_json::to_string(&event).unwrap_or_default();
            listener.lines.send((Pause::default(), Delivery::Line { number: 0, text })).ok();
        }
    }
}

/// Name of the user who is logged in at a service.
fn login(sessions: &BTreeMap<u64, Session>, session: u64) -> Option<&str> {
    Some(&sessions.get(&session)?.login.as_ref()?.username)
}

impl Listener {
    fn hears(&self, chat: &Chat, conversation: &Conversation, message: &Message, me: &str) -> bool {
        let is_local = message.session == Some(self.session);
        !self.is_deaf
            && chat.is_visible(conversation, message, me)
            && !conversation.left.contains(me)
            && (self.filters.is_empty() || self.filters.contains(&conversation.id))
            && (self.subscription.show_local || !is_local)
            && (self.subscription.dev || conversation.topic_type != "dev")
            && !(self.subscription.hide_exploding && message.lifetime_ms.is_some())
    }
}

fn event(chat: &Chat, conversation: &Conversation, message: &Message, me: &str, session: u64) -> String {
    let event = Event {
        r#type: "chat",
        source: if message.session == Some(session) { "local" } else { "remote" },
        msg: summary(chat, conversation, message, me, Moment::Event),
        pagination: json!({"next": "", "previous": "", "num": 1, "last": false}),
    };
    serde_json::to_string(&event).unwrap_or_default()
}

/// The lines that replace an event's line if a fault applies to it.
fn damage(fault: Option<&Fault>, text: String, is_deaf: &mut bool) -> Vec<Delivery> {
    let line = |text: String| Delivery::Line { number: 0, text };
    match fault.map(|Fault { kind, .. }| *kind) {
        Some(FaultKind::ListenerGarbage) => {
            vec![line("\u{1}{\"type\":\"chat\",\"msg\":{".into()), line(text)]
        }
        Some(FaultKind::ListenerDuplicate) => vec![line(text.clone()), line(text)],
        Some(FaultKind::ListenerError) => {
            let error = json!({"type": "chat", "source": "remote", "error": "unable to get chat channel"});
            vec![line(error.to_string())]
        }
        Some(FaultKind::ListenerDrop) => Vec::new(),
        Some(FaultKind::ListenerDies) => vec![Delivery::Die],
        Some(FaultKind::ListenerDeaf) => {
            *is_deaf = true;
            Vec::new()
        }
        Some(FaultKind::ListenerHuge) => {
            vec![line(text.replacen('{', &format!("{{\"padding\":\"{}\",", "x".repeat(HUGE)), 1))]
        }
        _ => vec![line(text)],
    }
}

fn numbered(delivery: Delivery, number: u64) -> Delivery {
    match delivery {
        Delivery::Line { text, .. } => Delivery::Line { number, text },
        Delivery::Die => Delivery::Die,
    }
}
