//! Listeners: their subscriptions, and their confirmations of written lines.

use serde_json::Value;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::faults::Pause;
use super::world::{Shared, World};
use crate::api::options::{Options, lower};
use crate::api::target;
use crate::link::{Link, send};
use crate::model::Chat;
use crate::model::conversation::{Conversation, Place};
use crate::model::people::Sender as Person;
use crate::model::refusal::{Refusal, login_required};
use crate::wire::{Delivery, Subscription, Written};

#[derive(Debug)]
pub(crate) struct Listener {
    number: u64,
    pub(crate) session: u64,
    pub(crate) subscription: Subscription,
    /// Ids of the conversations that it receives; empty for all.
    pub(crate) filters: Vec<String>,
    /// The lines to write. Each has a pause, which also delays all later lines.
    pub(crate) lines: Sender<(Pause, Delivery)>,
    pub(crate) is_deaf: bool,
}

/// Serves one `api-listen` until it ends.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    link: &mut Link,
    session: u64,
    subscription: Subscription,
) -> std::io::Result<()> {
    let resolved = resolve(&shared.lock(), session, &subscription);
    let filters = match resolved {
        Ok(filters) => filters,
        Err(refusal) => return link.send(&Err::<Vec<String>, _>(refusal.text)),
    };
    let mut writer = link.writer()?;
    let (lines, queue): (_, Receiver<(Pause, Delivery)>) = channel();
    let number = shared.change(|world| {
        let number = world.number();
        let filters = filters.clone();
        world.listeners.push(Listener { number, session, subscription, filters, lines, is_deaf: false });
        world.stats.listeners = world.listeners.len();
        number
    });
    link.send(&Ok::<_, String>(filters)).ok(); // if it is gone already, the loop below ends at once
    let world = Arc::clone(shared);
    thread::spawn(move || {
        queue.iter().try_for_each(|(pause, line)| {
            world.dawdle(pause);
            send(&mut writer, &line)
        })
    });
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

/// Resolves filters to ids, once. A channel that is created later never matches.
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
