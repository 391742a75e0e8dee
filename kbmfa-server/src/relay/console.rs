//! The embedded relay: the ask is a row that `kbmfa-server login watch` shows, and the answer is typed with
//! `login approve` or `login deny`, which decide in the database at once. So nothing is sent anywhere.

use std::future;

use super::{Ask, Error, Hint, Message, Posted, Relay, Standing, State, Telling};
use crate::policy::Approver;

/// See the module.
pub struct Console;

impl Relay for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    async fn post(&self, ask: &Ask) -> Result<Posted, Error> {
        Ok(Posted { message: Message(ask.id.clone()), is_new: true })
    }

    async fn offer(&self, _message: &Message) -> Result<(), Error> {
        Ok(())
    }

    async fn find(&self, ask: &Ask) -> Result<Option<Message>, Error> {
        Ok(Some(Message(ask.id.clone())))
    }

    async fn amend(&self, _ask: &Ask, _message: &Message, _verdict: &str) -> Result<(), Error> {
        Ok(())
    }

    /// `login watch` shows it.
    async fn tell(&self, _notice: &Telling) -> Result<(), Error> {
        Ok(())
    }

    /// What is typed at the console is decided when it is typed: nothing ever waits here.
    async fn answers(&self, _ask: &Ask, _message: &Message) -> Result<Vec<Standing>, Error> {
        Ok(Vec::new())
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
