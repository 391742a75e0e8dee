//! The embedded relay: the ask is a row that `kbmfa-server login watch` shows, and the answer is typed with
//! `login approve` or `login deny`, which decide in the database at once. So nothing is sent anywhere.

use std::future;

use super::{Answers, Ask, Chat, ChatEvent, Error, Message, Notice, State};
use crate::policy::Approver;

/// See the module.
pub struct Console;

impl Chat for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    async fn post(&self, ask: &Ask) -> Result<Message, Error> {
        Ok(Message(ask.id.clone()))
    }

    async fn add_buttons(&self, _message: &Message) -> Result<(), Error> {
        Ok(())
    }

    async fn find(&self, ask: &Ask) -> Result<Vec<Message>, Error> {
        Ok(vec![Message(ask.id.clone())])
    }

    async fn identify(&self, _message: &Message) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn edit_copy(&self, _ask: &Ask, _message: &Message, _text: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn edit(&self, _ask: &Ask, _message: &Message, _verdict: &str) -> Result<(), Error> {
        Ok(())
    }

    /// `login watch` shows it.
    async fn notify(&self, _notice: &Notice) -> Result<(), Error> {
        Ok(())
    }

    /// What is typed at the console is decided when it is typed: nothing ever waits here.
    async fn answers(&self, _ask: &Ask, _messages: &[Message]) -> Result<Answers, Error> {
        Ok(Answers::default())
    }

    async fn confirmed_answers(&self, _ask: &Ask, _messages: &[Message]) -> Result<Answers, Error> {
        Ok(Answers::default())
    }

    fn how_to_answer(&self) -> &'static str {
        "`kbmfa-server login approve` or `deny`"
    }

    async fn next_event(&self) -> ChatEvent {
        future::pending().await
    }

    fn try_next_event(&self) -> Option<ChatEvent> {
        None
    }

    fn set_leader(&self, _is_mine: bool) {}

    fn state(&self) -> State {
        State::Up
    }

    fn members(&self) -> Option<Vec<Approver>> {
        None
    }
}
