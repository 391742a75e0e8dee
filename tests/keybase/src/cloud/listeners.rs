//! Those who listen: what each hears, when, and what goes wrong with it.

use serde::Serialize;
use serde_json::{Value, json};
use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::faults::{Fault, Faults, Scope};
use super::requests::HUGE;
use super::world::{Shared, World};
use crate::api::convs::{ConversationSummary, conversation};
use crate::api::options::{Options, lower};
use crate::api::summary::{Moment, Summary, summary};
use crate::api::target;
use crate::clock::monotonic_us;
use crate::control::order::FaultKind;
use crate::control::seen::TraceLine;
use crate::model::conversation::{Conversation, Place};
use crate::model::message::Message;
use crate::model::people::Sender as Person;
use crate::model::refusal::{Refusal, login_required};
use crate::model::{Chat, News};
use crate::wire::{Delivery, Link, Subscription, Written, send};

#[derive(Debug)]
pub(crate) struct Listener {
    number: u64,
    session: u64,
    subscription: Subscription,
    /// Ids of conversations; empty for all.
    filters: Vec<String>,
    lines: Sender<Delivery>,
    is_deaf: bool,
}

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

/// Serves one `api-listen` until it ends.
pub(crate) fn serve(
    shared: &Shared,
    link: &mut Link,
    session: u64,
    subscription: Subscription,
) -> std::io::Result<()> {
    let filters = match resolve(&shared.lock(), session, &subscription) {
        Ok(filters) => filters,
        Err(refusal) => return link.send(&Err::<Vec<String>, _>(refusal.text)),
    };
    let mut writer = link.writer()?;
    let (lines, queue): (_, Receiver<Delivery>) = channel();
    let number = shared.change(|world| {
        let number = world.number();
        let filters = filters.clone();
        world.listeners.push(Listener { number, session, subscription, filters, lines, is_deaf: false });
        world.stats.listeners = world.listeners.len();
        number
    });
    link.send(&Ok::<_, String>(filters)).ok(); // if it is gone already, the loop below ends at once
    thread::spawn(move || queue.iter().try_for_each(|line| send(&mut writer, &line)));
    while let Ok(Some(written)) = link.receive::<Written>() {
        shared.change(|world| record(world, &written));
    }
    shared.change(|world| {
        world.listeners.retain(|listener| listener.number != number);
        world.stats.listeners = world.listeners.len();
    });
    Ok(())
}

fn record(world: &mut World, written: &Written) {
    if let Some(line) = world.trace.iter_mut().rev().find(|line| line.number == written.number) {
        line.written_us = Some(written.at_us);
    }
}

/// Turns filters into ids, once: channels that are made later never match.
fn resolve(world: &World, session: u64, subscription: &Subscription) -> Result<Vec<String>, Refusal> {
    if subscription.filters.is_empty() {
        return Ok(Vec::new());
    }
    let me =
        world.sessions.get(&session).and_then(|session| session.login.clone()).ok_or_else(login_required)?;
    let mut ids = Vec::new();
    for filter in &subscription.filters {
        ids.extend(resolve_one(&world.chat, &me, filter)?);
    }
    Ok(ids)
}

fn resolve_one(chat: &Chat, me: &Person, filter: &Value) -> Result<Vec<String>, Refusal> {
    let channel = serde_json::from_value(lower(filter.clone())).unwrap_or_default();
    let options = Options { channel, ..Options::default() };
    if options.channel.members_type != "team" || !options.channel.topic_name.is_empty() {
        return Ok(vec![target::existing(chat, me, &options)?]);
    }
    let name = target::name(chat, me, &options.channel)?;
    let Place::Channel { team_id: wanted, .. } = name.place else { return Ok(Vec::new()) };
    let is_joined = |found: &&Conversation| {
        matches!(&found.place, Place::Channel { team_id, .. } if *team_id == wanted)
            && !found.left.contains(&me.username)
    };
    Ok(chat.conversations.values().filter(is_joined).map(|found| found.id.clone()).collect())
}

impl World {
    /// Tells the listeners what is new. What they do not hear now they never hear.
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
        let Some(found) = self.chat.conversations.get(conversation) else { return };
        let Some(message) = found.messages.iter().find(|message| message.id == id) else { return };
        let posted_us = monotonic_us();
        for listener in &mut self.listeners {
            let Some(me) = self.sessions.get(&listener.session).and_then(|session| session.login.as_ref())
            else {
                continue;
            };
            if !listener.hears(&self.chat, found, message, &me.username) {
                continue;
            }
            let text = event(&self.chat, found, message, &me.username, listener.session);
            let kind = message.content.kind();
            for line in damage(&mut self.faults, kind, text, &mut listener.is_deaf) {
                self.stats.listener_lines += 1;
                let number = self.stats.listener_lines;
                let (conversation, kind) = (conversation.to_owned(), kind.to_owned());
                let traced =
                    TraceLine { number, conversation, message: id, kind, posted_us, written_us: None };
                self.trace.push(traced);
                listener.lines.send(numbered(line, number)).ok();
            }
        }
    }

    fn deliver_conversation(&mut self, id: &str) {
        let Some(found) = self.chat.conversations.get(id) else { return };
        for listener in self.listeners.iter().filter(|listener| listener.subscription.show_new_conversations)
        {
            let Some(me) = self.sessions.get(&listener.session).and_then(|session| session.login.as_ref())
            else {
                continue;
            };
            if self.chat.part(found, &me.username).is_some() {
                let event = ConversationEvent {
                    r#type: "chat_conv",
                    conv: conversation(&self.chat, found, &me.username),
                };
                let text = serde_json::to_string(&event).unwrap_or_default();
                listener.lines.send(Delivery::Line { number: 0, text }).ok();
            }
        }
    }
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

/// The lines that come instead of one, if a fault strikes it.
fn damage(faults: &mut Faults, kind: &str, text: String, is_deaf: &mut bool) -> Vec<Delivery> {
    let line = |text: String| Delivery::Line { number: 0, text };
    let fault = faults.take(Scope::Event, kind);
    match fault.as_ref().map(|Fault { kind, .. }| *kind) {
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
