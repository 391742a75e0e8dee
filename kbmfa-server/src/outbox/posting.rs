//! Posts an ask once. If an earlier attempt may have succeeded, it looks for the message first.

use super::{Ask, Failure, Item, Worker};
use crate::channels::{self, Chat, Message};
use crate::usecases::chat as usecase;

impl<C: Chat> Worker<'_, C> {
    pub(super) async fn post(&mut self, item: &Item) -> Result<(), Failure> {
        let is_untried = self.is_untried(&item.ask);
        if !is_untried {
            if let Some(message) = self.find(item).await? {
                // People may have answered already.
                self.changed.insert(message.0);
                return Ok(());
            }
            self.record_sending(&item.ask).await?;
        }
        self.tried.insert(item.ask.id.clone());
        let message = match self.call(self.chat.post(&self.posting(item))).await {
            Ok(message) => message,
            Err(error) => {
                // The post may have succeeded, unless the call was never made.
                if is_untried && matches!(error, Failure::Chat(_) | Failure::TooSlow) {
                    self.record_sending(&item.ask).await?;
                }
                self.tried.remove(&item.ask.id);
                return Err(error);
            }
        };
        self.record_post(&item.ask, &message).await?;
        self.tried.remove(&item.ask.id);
        self.call(self.chat.add_buttons(&message)).await
    }

    /// Records an attempt before it is made, so that after a crash the next process knows that the ask may be
    /// posted.
    async fn record_sending(&self, ask: &Ask) -> Result<(), Failure> {
        let ask = ask.clone();
        self.write("ask.sending", move |tx| usecase::sending(tx, &ask)).await
    }

    /// True if the ask cannot be posted yet: its only recorded attempt is the one that the opening of the
    /// login recorded in advance, and this process has held the lease since then and has not tried.
    fn is_untried(&self, ask: &Ask) -> bool {
        let noted_at_opening = ask.sends == 1 && ask.sent_at == Some(ask.asked_at);
        let was_ours = self.token.held_since().is_some_and(|since| since <= ask.asked_at);
        noted_at_opening && was_ours && !self.tried.contains(&ask.id)
    }

    /// Finds and records the message of an ask whose earlier attempt may have succeeded, because its process
    /// died or the reply was lost. Returns an error as long as the message may still arrive.
    pub(super) async fn find(&self, item: &Item) -> Result<Option<Message>, Failure> {
        let Some(sent_at) = item.ask.sent_at.filter(|_| !self.is_untried(&item.ask)) else { return Ok(None) };
        let found = self.call(self.chat.find(&self.posting(item))).await?;
        let now = self.logins.db().now();
        match found.first() {
            Some(message) => {
                self.record_post(&item.ask, message).await?;
                self.record_copies(item, Some(&message.0), &found).await?;
                Ok(Some(message.clone()))
            }
            None if now >= sent_at && now.since(sent_at) < channels::MAY_ARRIVE => Err(Failure::MayArrive),
            None => Ok(None),
        }
    }

    pub(super) async fn record_post(&self, ask: &Ask, message: &Message) -> Result<(), Failure> {
        let (ask, Message(message)) = (ask.clone(), message.clone());
        self.write("ask.posted", move |tx| usecase::posted(tx, &ask, &message)).await
    }
}
