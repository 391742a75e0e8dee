//! Reads the history of a conversation. It finds the message of a post whose reply was lost, and all messages
//! since a given one.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use super::conversations::Conversation;
use super::marks::{mark, marked};
use super::process::program;
use super::{Keybase, UnconfirmedSend, wire};
use crate::channels::{Error, MAY_ARRIVE};
use crate::clock::{Clock, SystemClock, Time};

/// Maximum number of pages that one search reads, of [`super::client::PAGE`] messages each. Even a very busy
/// channel takes hours for that many messages, and an ask lives for minutes.
const PAGES_MAX: usize = 100;

/// Maximum number of unconfirmed messages that are remembered.
const UNCONFIRMED_MAX: usize = 1024;

/// Maximum difference between the clocks of Keybase's servers and of this server.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(120);

impl Keybase {
    /// Sends a notice or a decision. If an earlier call with this id was not confirmed, searches for its
    /// message first.
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
        if let Some(UnconfirmedSend { not_before, since }) =
            self.known(|known| known.unconfirmed.get(id).copied())
        {
            if Instant::now() < not_before {
                return Err(Error("an earlier post of this message may still arrive".into()));
            }
            if !self.find_by_mark(&conversation.id, id, since).await?.is_empty() {
                return Ok(());
            }
        }
        // Recorded before the call, because this future may be dropped during it.
        let since = SystemClock.now();
        let send = UnconfirmedSend { not_before: Instant::now() + MAY_ARRIVE, since };
        self.known(|known| remember(&mut known.unconfirmed, id, send));
        let sent = self.0.client.send(&conversation.id, &marked(text, id), reply_to).await;
        // These two replies are final: the message was posted, or the rate limit refused it. Even then the
        // entry is kept, because recording the post in the database may still fail.
        if sent.is_ok() || matches!(&sent, Err(program::Error::Refused { pause: Some(_), .. })) {
            let send = UnconfirmedSend { not_before: Instant::now(), since };
            self.known(|known| remember(&mut known.unconfirmed, id, send));
        }
        if sent.is_err() {
            self.0.check_now.notify_one();
        }
        Ok(sent.map(drop)?)
    }

    /// The numbers of the bot's messages with the mark of this id that were sent after `since`, the newest
    /// first.
    pub(super) async fn find_by_mark(
        &self,
        conversation: &str,
        id: &str,
        since: Time,
    ) -> Result<Vec<u64>, Error> {
        let (bot, mark) = (self.known(|known| known.bot.clone()), mark(id));
        let oldest_ms = since.minus(CLOCK_SKEW_MAX).micros() / 1000;
        let is_wanted = |found: &wire::Message| {
            found.sender.uid == bot && found.body().is_some_and(|body| body.ends_with(&mark))
        };
        let found =
            self.messages_since(conversation, |found| found.sent_at_ms < oldest_ms, is_wanted).await?;
        Ok(found.iter().map(|found| found.id).collect())
    }

    /// Reads the conversation back to the first message that is too old, and returns the wanted messages, the
    /// newest first. An error after [`PAGES_MAX`] pages, because a message beyond them may exist.
    pub(super) async fn messages_since(
        &self,
        conversation: &str,
        is_too_old: impl Fn(&wire::Message) -> bool + Send,
        is_wanted: impl Fn(&wire::Message) -> bool + Send,
    ) -> Result<Vec<wire::Message>, Error> {
        let (mut scan, mut from) = (HistoryScan::new(is_too_old, is_wanted), None);
        loop {
            let (messages, next) = self.0.client.page(conversation, from.as_deref()).await?;
            if let Some(found) = scan.add_page(messages, next.is_none()) {
                return found;
            }
            from = next;
        }
    }
}

/// A search that reads a conversation page by page, the newest page first.
struct HistoryScan<M, Old, Wanted> {
    is_too_old: Old,
    is_wanted: Wanted,
    wanted: Vec<M>,
    pages: usize,
}

impl<M, Old: Fn(&M) -> bool, Wanted: Fn(&M) -> bool> HistoryScan<M, Old, Wanted> {
    const fn new(is_too_old: Old, is_wanted: Wanted) -> Self {
        Self { is_too_old, is_wanted, wanted: Vec::new(), pages: 0 }
    }

    /// Adds the next page. Returns the result once no further page is needed.
    fn add_page(&mut self, messages: Vec<M>, is_last: bool) -> Option<Result<Vec<M>, Error>> {
        self.pages += 1;
        let is_end = is_last || messages.iter().any(&self.is_too_old);
        let is_found = |found: &M| !(self.is_too_old)(found) && (self.is_wanted)(found);
        self.wanted.extend(messages.into_iter().filter(is_found));
        if is_end {
            return Some(Ok(std::mem::take(&mut self.wanted)));
        }
        let is_beyond = self.pages >= PAGES_MAX;
        is_beyond.then(|| Err(Error("there are more messages since the ask than one search reads".into())))
    }
}

/// Adds an entry. Removes the oldest one if there are too many.
fn remember(all: &mut HashMap<String, UnconfirmedSend>, id: &str, send: UnconfirmedSend) {
    if all.len() >= UNCONFIRMED_MAX {
        let oldest = all.iter().min_by_key(|(_, one)| one.not_before).map(|(id, _)| id.clone());
        oldest.and_then(|oldest| all.remove(&oldest));
    }
    all.insert(id.to_owned(), send);
}

#[cfg(test)]
mod tests {
    use super::super::client::PAGE;
    use super::*;

    /// Searches a conversation for the wanted messages: `since` messages came after the ask, `older` ones
    /// before it. The newest message has the highest number.
    fn search(since: usize, older: usize, wanted: &[usize]) -> Result<Vec<usize>, Error> {
        let all: Vec<_> = (0..since + older).rev().collect();
        let page_size = usize::try_from(PAGE).unwrap();
        let mut scan = HistoryScan::new(|one| *one < older, |one| wanted.contains(one));
        let mut pages = all.chunks(page_size).peekable();
        while let Some(page) = pages.next() {
            if let Some(found) = scan.add_page(page.to_vec(), pages.peek().is_none()) {
                return found;
            }
        }
        Ok(Vec::new())
    }

    #[test]
    fn an_ask_below_nearly_ten_thousand_newer_messages_is_found() {
        let reach = PAGES_MAX * usize::try_from(PAGE).unwrap();
        assert_eq!(reach, 10_000);
        // The ask itself is the oldest message that is still found, on the last page that is read.
        assert_eq!(search(reach - 1, 5_000, &[5_000]).unwrap(), [5_000]);
        assert_eq!(search(reach, 0, &[0, 9_999]).unwrap(), [9_999, 0]);
        assert_eq!(
            search(3, 50_000, &[2]).unwrap(),
            [] as [usize; 0],
            "messages older than the ask are ignored"
        );
    }

    #[test]
    fn a_search_that_reaches_its_limit_is_an_error_and_not_an_empty_result() {
        let reach = PAGES_MAX * usize::try_from(PAGE).unwrap();
        // Also an error if one copy was found, because another one may be further back.
        for wanted in [vec![0], vec![0, reach]] {
            assert!(search(reach + 1, 0, &wanted).is_err(), "{wanted:?}");
        }
    }
}
