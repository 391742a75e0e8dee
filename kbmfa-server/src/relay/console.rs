//! The embedded relay: the ask is a row that `kbmfa-server login watch` shows, and the answer is typed with
//! `login approve` or `login deny`, which decide in the database at once. So nothing is sent anywhere.

use std::future;

use super::{Answers, Ask, Error, Hint, Message, Relay, State, Telling};
use crate::policy::Approver;

/// See the module.
pub struct Console;

impl Relay for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    async fn post(&self, ask: &Ask) -> Result<Message, Error> {
        Ok(Message(ask.id.clone()))
    }

    async fn offer(&self, _message: &Message) -> Result<(), Error> {
        Ok(())
    }

    async fn find(&self, ask: &Ask) -> Result<Vec<Message>, Error> {
        Ok(vec![Message(ask.id.clone())])
    }

    async fn identify(&self, _message: &Message) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn mark_copy(&self, _ask: &Ask, _message: &Message, _text: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn amend(&self, _ask: &Ask, _message: &Message, _verdict: &str) -> Result<(), Error> {
        Ok(())
    }

    /// `login watch` shows it.
    async fn tell(&self, _notice: &Telling) -> Result<(), Error> {
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

    async fn hint(&self) -> Hint {
        future::pending().await
    }

    fn next_hint(&self) -> Option<Hint> {
        None
    }

    fn take_turn(&self, _is_mine: bool) {}

    fn state(&self) -> State {
        State::Up
    }

    fn members(&self) -> Option<Vec<Approver>> {
        None
    }
}
