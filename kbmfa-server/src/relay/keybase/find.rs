//! Finding messages again: whether a post whose reply was lost is there, and what has come since.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use super::marks::{mark, marked};
use super::rooms::Room;
use super::{Keybase, Unsure, program, wire};
use crate::clock::{Clock, SystemClock, Time};
use crate::relay::{Error, MAY_ARRIVE};

/// Pages that are read to find a message again; with [`super::client::PAGE`] messages each that is what a very busy channel
/// has in some hours, and an ask lives for minutes.
const PAGES_MAX: usize = 100;

/// Messages that may not have arrived, and are looked for before they are sent again.
const UNSURE_MAX: usize = 1024;

/// How far the clocks of Keybase's servers and ours may be apart.
const CLOCKS_DIFFER: Duration = Duration::from_secs(120);

impl Keybase {
    /// Sends a text that is no ask, unless its message is there already: after a reply that was lost nobody knows.
    pub(super) async fn send_once(
        &self,
        room: &Room,
        text: &str,
        id: &str,
        reply_to: Option<u64>,
    ) -> Result<(), Error> {
        if let Some(why) = self.why_down() {
            return Err(Error(why));
        }
        if let Some(Unsure { not_before, since }) = self.known(|known| known.unsure.get(id).copied()) {
            if Instant::now() < not_before {
                return Err(Error("it may still arrive".into()));
            }
            if !self.look_for(&room.id, id, since).await?.is_empty() {
                return Ok(());
            }
        }
        // This may be dropped while it waits.
        let since = SystemClock.now();
        let unsure = Unsure { not_before: Instant::now() + MAY_ARRIVE, since };
        self.known(|known| remember(&mut known.unsure, id, unsure));
        let sent = self.0.client.send(&room.id, &marked(text, id), reply_to).await;
        // Whatever was said: it may have been posted, or be posted yet. If it was, that may not get on record.
        if sent.is_ok() || matches!(&sent, Err(program::Error::Refused { pause: Some(_), .. })) {
            let unsure = Unsure { not_before: Instant::now(), since };
            self.known(|known| remember(&mut known.unsure, id, unsure));
        }
        if sent.is_err() {
            self.0.beat_now.notify_one();
        }
        Ok(sent.map(drop)?)
    }

    /// The bot's messages that are about this id, the newest first, among all that came since then.
    pub(super) async fn look_for(&self, room: &str, id: &str, since: Time) -> Result<Vec<u64>, Error> {
        let (bot, mark) = (self.known(|known| known.bot.clone()), mark(id));
        let oldest_ms = since.minus(CLOCKS_DIFFER).micros() / 1000;
        let is_it = |found: &wire::Message| {
            found.sender.uid == bot && found.body().is_some_and(|body| body.ends_with(&mark))
        };
        let found = self.all_since(room, |found| found.sent_at_ms < oldest_ms, is_it).await?;
        Ok(found.iter().map(|found| found.id).collect())
    }

    /// Those that are wanted of all messages back to one that is too old, the newest first. An error if there are more than
    /// [`PAGES_MAX`] pages of them: what is out of reach is not to be taken for what is not there.
    pub(super) async fn all_since(
        &self,
        room: &str,
        is_too_old: impl Fn(&wire::Message) -> bool + Send,
        is_wanted: impl Fn(&wire::Message) -> bool + Send,
    ) -> Result<Vec<wire::Message>, Error> {
        let (mut wanted, mut from) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let (messages, next) = self.0.client.page(room, from.as_deref()).await?;
            let is_end = messages.iter().any(&is_too_old);
            wanted.extend(messages.into_iter().filter(|found| !is_too_old(found) && is_wanted(found)));
            from = next;
            if is_end || from.is_none() {
                return Ok(wanted);
            }
        }
        Err(Error("more messages have come since the ask than can be looked through".into()))
    }
}

/// Forgets the oldest if there are too many.
fn remember(all: &mut HashMap<String, Unsure>, id: &str, unsure: Unsure) {
    if all.len() >= UNSURE_MAX {
        let oldest = all.iter().min_by_key(|(_, one)| one.not_before).map(|(id, _)| id.clone());
        oldest.and_then(|oldest| all.remove(&oldest));
    }
    all.insert(id.to_owned(), unsure);
}
