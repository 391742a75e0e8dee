//! Asks that were posted more than once. It happens if the reply to the first post was lost, or its server
//! died, and the first message arrived after the second post. Answers on every message count. All messages
//! but one (the copies) are edited to point to that one.

use super::{Error, Failure, Item, Worker, asks, item, messages, note};
use crate::channels::{Chat, Message};
use crate::logins::state::State;
use crate::usecases::chat as usecase;

impl<C: Chat> Worker<'_, C> {
    /// Handles an event on an unknown message, which may be a post whose reply was lost.
    pub(super) async fn identify_message(&self, message: &str) -> Result<(), Failure> {
        let message = Message(message.to_owned());
        let Some(mark) = self.call(self.chat.identify(&message)).await? else { return Ok(()) };
        let chat = self.chat.channel();
        let found = self.logins.db().read(move |tx| item(tx, asks::beginning(tx, chat, &mark)?)).await?;
        let Some(item) = found else { return Ok(()) };
        // The ask may be closed already, and then no other step would edit this message into the decision.
        if item.ask.message.is_none() && item.login.life.state == State::Pending {
            self.record_post(&item.ask, &message).await?;
        } else {
            self.record_copies(&item, item.ask.message.as_deref(), std::slice::from_ref(&message)).await?;
        }
        let id = item.ask.id;
        let found = self.logins.db().read(move |tx| self::item(tx, asks::by_id(tx, &id)?)).await?;
        match found {
            Some(item) => self.apply_answers(item).await,
            None => Ok(()),
        }
    }

    /// Finds the copies of an ask that was sent more than once.
    pub(super) async fn find_copies(&self, item: &mut Item) -> Result<(), Failure> {
        let found = self.call(self.chat.find(&self.posting(item))).await?;
        self.record_copies(item, item.ask.message.as_deref(), &found).await?;
        let id = item.ask.id.clone();
        let copies = self.logins.db().read(move |tx| Ok::<_, Error>(asks::copies(tx, &id)?)).await?;
        item.copies = copies.into_iter().map(Message).collect();
        Ok(())
    }

    /// Records messages of an ask as copies, if they are neither its own message nor known copies.
    pub(super) async fn record_copies(
        &self,
        item: &Item,
        own: Option<&str>,
        found: &[Message],
    ) -> Result<(), Failure> {
        let is_new = |message: &&Message| Some(message.0.as_str()) != own && !item.copies.contains(message);
        let new: Vec<_> = found.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        log::warn!("chat {}: login {} was asked about twice", self.chat.channel(), item.login.id.short());
        let ask = item.ask.clone();
        self.write("ask.doubled", move |tx| {
            usecase::doubled(tx, &ask, new.iter().map(|Message(message)| message.as_str()))
        })
        .await
    }

    /// Edits one copy, so that it points to the ask or shows the decision; false if none is due.
    pub(super) async fn edit_one_copy(&mut self) -> Result<bool, Failure> {
        let (chat, now) = (self.chat.channel(), self.logins.db().now());
        let found = self.logins.db().read(move |tx| Ok::<_, Error>(asks::found_copies(tx, chat)?)).await?;
        let Some(copy) = found.into_iter().find(|copy| self.backoff.may_try(copy, now)) else {
            return Ok(false);
        };
        let wanted = copy.clone();
        let found = self.logins.db().read(move |tx| item(tx, asks::of_message(tx, chat, &wanted)?)).await?;
        let Some(item) = found else { return Ok(false) };
        let marked = self.edit_copy(&item, &copy).await;
        let what = format!("login {}", item.login.id.short());
        note(&mut self.backoff, (&copy, &what), self.logins.db().now(), marked)?;
        Ok(true)
    }

    async fn edit_copy(&self, item: &Item, copy: &str) -> Result<(), Failure> {
        let text = if item.login.life.state == State::Pending {
            messages::copy(&item.login, &item.ask)
        } else {
            messages::verdict(self.logins, &item.login, &item.around).await?
        };
        self.call(self.chat.edit_copy(&self.posting(item), &Message(copy.to_owned()), &text)).await?;
        let (chat, copy) = (self.chat.channel(), copy.to_owned());
        self.write("copy.told", move |tx| usecase::copy_edited(tx, chat, &copy)).await
    }
}
