//! Posting an ask, once: what may have been posted is looked for before it is posted again.

use super::{Ask, Failure, Item, Worker, asks};
use crate::channels::{self, Chat, Message};
use crate::logins::service;

impl<C: Chat> Worker<'_, C> {
    pub(super) async fn post(&mut self, item: &Item) -> Result<(), Failure> {
        if let Some(message) = self.find(item).await? {
            // Somebody may have answered already.
            self.changed.insert(message.0);
            return Ok(());
        }
        // Whoever comes after a crash has to know that it may have been posted.
        let id = item.ask.id.clone();
        self.write("ask.sending", move |tx| Ok(asks::sending(tx, &id)?)).await?;
        let message = self.call(self.chat.post(&self.posting(item))).await?;
        self.record_post(&item.ask, &message).await?;
        self.call(self.chat.add_buttons(&message)).await
    }

    /// The message of an ask that may have been posted by a process that died before it could say so, or whose reply was
    /// lost, put on record. An error as long as it may still arrive.
    pub(super) async fn find(&self, item: &Item) -> Result<Option<Message>, Failure> {
        let Some(sent_at) = item.ask.sent_at.filter(|_| item.ask.sends > 0) else { return Ok(None) };
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
        self.write("ask.posted", move |tx| service::ask_posted(tx, &ask, &message)).await
    }
}
