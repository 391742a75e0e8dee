//! Carries asks to the relay and answers back: posts what is wanted, reads what stands, and turns the
//! message into the verdict. One server at a time does this; whatever it leaves undone, the next one finds.

use std::future::Future;
use std::time::Duration;

use super::state::State;
use super::store::asks::{self, Ask};
use super::store::notices::{self, Notice};
use super::store::{self, Login};
use super::{Error, Logins, service};
use crate::audit::{Head, Seal};
use crate::db::{Tx, lease};
use crate::relay::{self, Hint, Message, Relay, text};

/// How often what is due is looked for, news or not: a step that failed is tried again after this.
const INTERVAL: Duration = Duration::from_secs(2);

/// Longest time for one call to the relay: shorter than the lease, which is renewed before each.
const RELAY_TIME: Duration = Duration::from_secs(4);

/// Runs until the process ends.
pub async fn run(logins: Logins, relay: impl Relay, holder: lease::Holder) {
    let turn = Turn { logins: &logins, relay: &relay, holder: &holder };
    loop {
        let look = tokio::select! {
            hint = relay.hint() => Look::Posted(hint),
            () = logins.news_for_relay() => Look::Due,
            () = tokio::time::sleep(INTERVAL) => Look::Due,
        };
        match turn.round(look).await {
            Ok(()) | Err(Failure::NotMyTurn) => {}
            Err(error) => log::error!("relay {}: {error}", relay.name()),
        }
    }
}

/// Which asks to look at.
enum Look {
    /// Those that need something done.
    Due,
    /// Those that stand unanswered: one of them, or all.
    Posted(Hint),
}

/// One server's turn at carrying asks. Before every word to the relay it makes sure that it is still its
/// turn, so that a slow relay never lets two servers say the same.
struct Turn<'a, R> {
    logins: &'a Logins,
    relay: &'a R,
    holder: &'a lease::Holder,
}

impl<R: Relay> Turn<'_, R> {
    async fn round(&self, look: Look) -> Result<(), Failure> {
        self.hold().await?;
        let name = self.relay.name();
        let due = self.logins.db().read(move |tx| {
            let asks = match &look {
                Look::Due => asks::due(tx, name)?,
                Look::Posted(Hint::One(id)) => asks::standing(tx, name, Some(id))?,
                Look::Posted(Hint::Any) => asks::standing(tx, name, None)?,
            };
            Ok::<_, Error>((asks, notices::due(tx, name)?))
        });
        let (asks, notices) = due.await?;
        for (ask, login) in asks {
            let id = login.id.clone();
            match self.tend(ask, login).await {
                Err(Failure::NotMyTurn) => return Err(Failure::NotMyTurn),
                Err(error) => log::error!("relay {name}: login {}: {error}", id.short()),
                Ok(()) => {}
            }
        }
        for Notice { id, destination, text } in notices {
            self.say(self.relay.tell(&destination.1, &text)).await?;
            self.write("notice.posted", move |tx| Ok(notices::posted(tx, &id)?)).await?;
        }
        Ok(())
    }

    /// Does for one ask what is due.
    async fn tend(&self, ask: Ask, login: Login) -> Result<(), Failure> {
        let posting =
            relay::Ask { id: ask.id.clone(), destination: ask.destination.1.clone(), text: words(&login) };
        match (login.life.state, &ask.message) {
            (State::Pending, None) => {
                let Message(message) = self.say(self.relay.post(&posting)).await?;
                let name = self.relay.name();
                self.write("ask.posted", move |tx| service::ask_posted(tx, name, &ask, &message)).await
            }
            (State::Pending, Some(message)) => {
                let message = Message(message.clone());
                let standing = self.say(self.relay.answers(&posting, &message)).await?;
                let (rules, id) = (self.logins.rules(), login.id.clone());
                self.write("ask.settle", move |tx| service::settle(tx, &rules, &id, &standing)).await?;
                self.logins.ended(&login.id);
                Ok(())
            }
            (_, message) => {
                // It may have been posted by a process that died before it could say so.
                let message = match message {
                    Some(message) => Some(Message(message.clone())),
                    None => self.say(self.relay.find(&posting)).await?,
                };
                if let Some(message) = message {
                    let verdict = verdict(self.logins, &login).await?;
                    self.say(self.relay.amend(&posting, &message, &verdict)).await?;
                }
                self.write("ask.closed", move |tx| Ok(asks::close(tx, &ask.id)?)).await
            }
        }
    }

    /// One call to the relay, in its time and in our turn.
    async fn say<T>(&self, call: impl Future<Output = Result<T, relay::Error>>) -> Result<T, Failure> {
        self.hold().await?;
        tokio::time::timeout(RELAY_TIME, call).await.map_err(|_| Failure::TooSlow)?.map_err(Failure::Relay)
    }

    async fn hold(&self) -> Result<(), Failure> {
        let holder = self.holder.clone();
        let mine = self
            .logins
            .db()
            .write("inbox.turn", move |tx| Ok::<_, Error>(lease::hold(tx, "relay", &holder)?));
        if mine.await? { Ok(()) } else { Err(Failure::NotMyTurn) }
    }

    async fn write(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Failure> {
        Ok(self.logins.db().write(name, work).await?)
    }
}

/// Why an ask could not be tended. It stays open, and is tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ours(#[from] Error),
    #[error(transparent)]
    Relay(relay::Error),
    #[error("the relay did not answer within {RELAY_TIME:?}")]
    TooSlow,
    #[error("another server carries the asks")]
    NotMyTurn,
}

fn words(login: &Login) -> String {
    text::ask(&text::AskFacts {
        user: login.user().as_str(),
        machine: login.machine.as_str(),
        service: login.opened.service.as_str(),
        source: login.source.as_deref(),
        key: login.key.as_deref(),
        short: login.id.short(),
        window: login.life.expires_at.since(login.opened_at),
    })
}

async fn verdict(logins: &Logins, login: &Login) -> Result<String, Error> {
    let id = login.id.clone();
    let event = logins.db().read(move |tx| Ok::<_, Error>(store::last_event(tx, &id)?)).await?;
    let head = event.and_then(|(seq, seal)| Some(Head { seq, seal: Seal::from_bytes(&seal)? }));
    let head = head.unwrap_or(Head::EMPTY).to_string();
    Ok(text::verdict(&words(login), login.life.state.as_str(), login.decided_by.as_deref(), &head))
}
