//! Finding messages again: whether a post whose reply was lost is there, and what has come since.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use super::conversations::Conversation;
use super::marks::{mark, marked};
use super::process::program;
use super::{Keybase, Unsure, wire};
use crate::channels::{Error, MAY_ARRIVE};
use crate::clock::{Clock, SystemClock, Time};

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
        conversation: &Conversation,
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
            if !self.look_for(&conversation.id, id, since).await?.is_empty() {
                return Ok(());
            }
        }
        // This may be dropped while it waits.
        let since = SystemClock.now();
        let unsure = Unsure { not_before: Instant::now() + MAY_ARRIVE, since };
        self.known(|known| remember(&mut known.unsure, id, unsure));
        let sent = self.0.client.send(&conversation.id, &marked(text, id), reply_to).await;
        // Whatever was said: it may have been posted, or be posted yet. If it was, that may not get on record.
        if sent.is_ok() || matches!(&sent, Err(program::Error::Refused { pause: Some(_), .. })) {
            let unsure = Unsure { not_before: Instant::now(), since };
            self.known(|known| remember(&mut known.unsure, id, unsure));
        }
        if sent.is_err() {
            self.0.check_now.notify_one();
        }
        Ok(sent.map(drop)?)
    }

    /// The bot's messages that are about this id, the newest first, among all that came since then.
    pub(super) async fn look_for(
        &self,
        conversation: &str,
        id: &str,
        since: Time,
    ) -> Result<Vec<u64>, Error> {
        let (bot, mark) = (self.known(|known| known.bot.clone()), mark(id));
        let oldest_ms = since.minus(CLOCKS_DIFFER).micros() / 1000;
        let is_it = |found: &wire::Message| {
            found.sender.uid == bot && found.body().is_some_and(|body| body.ends_with(&mark))
        };
        let found = self.all_since(conversation, |found| found.sent_at_ms < oldest_ms, is_it).await?;
        Ok(found.iter().map(|found| found.id).collect())
    }

    /// Those that are wanted of all messages back to one that is too old, the newest first. An error if there are more than
    /// [`PAGES_MAX`] pages of them: what is out of reach is not to be taken for what is not there.
    pub(super) async fn all_since(
        &self,
        conversation: &str,
        is_too_old: impl Fn(&wire::Message) -> bool + Send,
        is_wanted: impl Fn(&wire::Message) -> bool + Send,
    ) -> Result<Vec<wire::Message>, Error> {
        let (mut back, mut from) = (LookBack::new(is_too_old, is_wanted), None);
        loop {
            let (messages, next) = self.0.client.page(conversation, from.as_deref()).await?;
            if let Some(found) = back.page(messages, next.is_none()) {
                return found;
            }
            from = next;
        }
    }
}

/// What was read of a conversation so far, the newest page first.
struct LookBack<M, Old, Wanted> {
    is_too_old: Old,
    is_wanted: Wanted,
    wanted: Vec<M>,
    pages: usize,
}

impl<M, Old: Fn(&M) -> bool, Wanted: Fn(&M) -> bool> LookBack<M, Old, Wanted> {
    const fn new(is_too_old: Old, is_wanted: Wanted) -> Self {
        Self { is_too_old, is_wanted, wanted: Vec::new(), pages: 0 }
    }

    /// Takes the next page; what came of the look, once no further page is to be read.
    fn page(&mut self, messages: Vec<M>, is_last: bool) -> Option<Result<Vec<M>, Error>> {
        self.pages += 1;
        let is_end = is_last || messages.iter().any(&self.is_too_old);
        let is_found = |found: &M| !(self.is_too_old)(found) && (self.is_wanted)(found);
        self.wanted.extend(messages.into_iter().filter(is_found));
        if is_end {
            return Some(Ok(std::mem::take(&mut self.wanted)));
        }
        let is_beyond = self.pages >= PAGES_MAX;
        is_beyond
            .then(|| Err(Error("more messages have come since the ask than can be looked through".into())))
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

#[cfg(test)]
mod tests {
    use super::super::client::PAGE;
    use super::*;

    /// The messages that are looked for in a conversation of so many that came since the ask and some that are older; the
    /// newest has the highest number.
    fn look(since: usize, older: usize, wanted: &[usize]) -> Result<Vec<usize>, Error> {
        let all: Vec<_> = (0..since + older).rev().collect();
        let page_size = usize::try_from(PAGE).unwrap();
        let mut back = LookBack::new(|one| *one < older, |one| wanted.contains(one));
        let mut pages = all.chunks(page_size).peekable();
        while let Some(page) = pages.next() {
            if let Some(found) = back.page(page.to_vec(), pages.peek().is_none()) {
                return found;
            }
        }
        Ok(Vec::new())
    }

    #[test]
    fn an_ask_below_nearly_ten_thousand_newer_messages_is_found() {
        let reach = PAGES_MAX * usize::try_from(PAGE).unwrap();
        assert_eq!(reach, 10_000);
        // The ask itself is the oldest that counts, and stands on the last page that is read.
        assert_eq!(look(reach - 1, 5_000, &[5_000]).unwrap(), [5_000]);
        assert_eq!(look(reach, 0, &[0, 9_999]).unwrap(), [9_999, 0]);
        assert_eq!(look(3, 50_000, &[2]).unwrap(), [] as [usize; 0], "what is older than the ask is not it");
    }

    #[test]
    fn what_is_out_of_reach_is_not_taken_for_what_is_not_there() {
        let reach = PAGES_MAX * usize::try_from(PAGE).unwrap();
        // Neither where the ask was not seen, nor where one copy was and another may be further down.
        for wanted in [vec![0], vec![0, reach]] {
            assert!(look(reach + 1, 0, &wanted).is_err(), "{wanted:?}");
        }
    }
}
