//! Carries asks to the relay and answers back: posts what is wanted, reads what stands, and turns the
//! message into the verdict. One server at a time does this; whatever it leaves undone, the next one finds.

mod words;

use kbmfa_proto::names::PoolName;
use std::future::Future;
use std::time::Duration;

use super::state::State;
use super::store::asks::{self, Ask};
use super::store::notices::{self, Notice};
use super::store::{Login, reach};
use super::{Error, Logins, service};
use crate::audit::{Actor, Event, Kind, store as audit};
use crate::clock::Time;
use crate::db::{Tx, lease};
use crate::relay::{self, Hint, Message, Posted, Relay, Telling};
use crate::roster;

/// How often what is due is looked for, news or not: a step that failed is tried again after this.
const INTERVAL: Duration = Duration::from_secs(2);

/// Longest time for one call to the relay: shorter than the lease, which is renewed before each.
const RELAY_TIME: Duration = Duration::from_secs(4);

/// How often it is said that the relay is as it was; [`reach::SAID_FOR`] is longer.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// How often people are told the head of the record ..
const TELL_HEAD: Duration = Duration::from_secs(24 * 60 * 60);
/// .. and how often it is looked whether that is due.
const LOOK_AT_HEAD: Duration = Duration::from_secs(600);

/// Runs until the process ends.
pub async fn run(logins: Logins, relay: impl Relay, holder: lease::Holder) {
    let mut turn = Turn { logins: &logins, relay: &relay, holder: &holder, said: None, head_at: None };
    loop {
        let look = tokio::select! {
            hint = relay.hint() => Look::Posted(hint),
            () = logins.news_for_relay() => Look::Due,
            () = tokio::time::sleep(INTERVAL) => Look::Due,
        };
        match turn.round(look).await {
            Ok(()) => {}
            Err(Failure::NotMyTurn) => relay.take_turn(false),
            Err(error) => log::error!("relay {}: {error}", relay.name()),
        }
    }
}

/// Which asks to look at.
enum Look {
    /// Those that need something done.
    Due,
    /// Those that stand unanswered, or the one that this hint is about.
    Posted(Hint),
}

/// An ask with all that is said about it.
struct Item {
    ask: Ask,
    login: Login,
    pools: Vec<PoolName>,
}

/// One server's turn at carrying asks. Before every word to the relay it makes sure that it is still its
/// turn, so that a slow relay never lets two servers say the same.
struct Turn<'a, R> {
    logins: &'a Logins,
    relay: &'a R,
    holder: &'a lease::Holder,
    /// How the relay was when that was last said, and when.
    said: Option<(Option<String>, Time)>,
    /// When it was last looked whether the head is due.
    head_at: Option<Time>,
}

impl<R: Relay> Turn<'_, R> {
    async fn round(&mut self, look: Look) -> Result<(), Failure> {
        self.hold().await?;
        self.relay.take_turn(true);
        if !self.say_how_it_is().await? {
            return Ok(());
        }
        self.tell_head().await?;
        for item in self.look(look).await? {
            let id = item.login.id.clone();
            match self.tend(item).await {
                Err(Failure::NotMyTurn) => return Err(Failure::NotMyTurn),
                Err(error) => log::error!("relay {}: login {}: {error}", self.relay.name(), id.short()),
                Ok(()) => {}
            }
        }
        let name = self.relay.name();
        let notices = self.logins.db().read(move |tx| Ok::<_, Error>(notices::due(tx, name)?)).await?;
        for Notice { id, destination: (_, destination), text, reply_to } in notices {
            let telling = Telling { id: id.clone(), destination, text, reply_to: reply_to.map(Message) };
            self.say(self.relay.tell(&telling)).await?;
            self.write("notice.posted", move |tx| Ok(notices::posted(tx, &id)?)).await?;
        }
        Ok(())
    }

    async fn look(&self, look: Look) -> Result<Vec<Item>, Failure> {
        let name = self.relay.name();
        let found = self.logins.db().read(move |tx| {
            let found = match &look {
                Look::Due => asks::due(tx, name)?,
                Look::Posted(Hint::One(Message(message))) => asks::of_message(tx, name, message)?,
                Look::Posted(Hint::Any) => asks::standing(tx, name)?,
            };
            let with_pools = |(ask, login): (Ask, Login)| {
                let pools = roster::store::pools_of(tx, &login.machine_id)?;
                Ok::<_, Error>(Item { ask, login, pools })
            };
            found.into_iter().map(with_pools).collect::<Result<Vec<_>, _>>()
        });
        Ok(found.await?)
    }

    /// Says for every server to hear whether the relay reaches people, and who its members are. True if it does.
    async fn say_how_it_is(&mut self) -> Result<bool, Failure> {
        let (name, now) = (self.relay.name(), self.logins.db().now());
        let why_down = match self.relay.state() {
            relay::State::Starting => return Ok(false),
            relay::State::Up => None,
            relay::State::Down(why) => Some(why),
        };
        let (is_up, members, said) = (why_down.is_none(), self.relay.members(), self.said.as_ref());
        let is_old = said.is_none_or(|(was, at)| *was != why_down || now.since(*at) >= SAY_AGAIN);
        if name == "console" || !(is_old || members.is_some()) {
            return Ok(is_up);
        }
        self.said = Some((why_down.clone(), now));
        self.write("relay.state", move |tx| {
            if reach::say(tx, name, why_down.as_deref())? {
                let kind = if is_up { Kind::RelayUp } else { Kind::RelayDown };
                let event = Event::new(kind, Actor::new(format!("relay:{name}")));
                audit::append(tx, &event.maybe("why", why_down.as_ref()))?;
            }
            members.map_or(Ok(()), |members| Ok(reach::list(tx, name, &members)?))
        })
        .await?;
        Ok(is_up)
    }

    /// The console needs no witness: who sits there can read the record itself.
    async fn tell_head(&mut self) -> Result<(), Failure> {
        let (rules, now) = (self.logins.rules(), self.logins.db().now());
        if rules.relay == "console" || self.head_at.is_some_and(|at| now.since(at) < LOOK_AT_HEAD) {
            return Ok(());
        }
        self.head_at = Some(now);
        self.write("head.told", move |tx| service::tell_head(tx, &rules, TELL_HEAD).map(drop)).await
    }

    /// Does for one ask what is due.
    async fn tend(&self, item: Item) -> Result<(), Failure> {
        let Item { ask, login, .. } = &item;
        let posting = relay::Ask {
            id: ask.id.clone(),
            destination: ask.destination.1.clone(),
            text: words::ask(login, &item.pools),
            since: login.opened_at,
        };
        match (login.life.state, &ask.message) {
            (State::Pending, None) => {
                let posted = self.say(self.relay.post(&posting)).await?;
                self.record_post(ask, &posted).await?;
                self.say(self.relay.offer(&posted)).await?;
                if posted.is_new { Ok(()) } else { self.settle(&posting, &posted.message, login).await }
            }
            (State::Pending, Some(message)) => self.settle(&posting, &Message(message.clone()), login).await,
            // Somebody answers late, and is told so.
            (_, Some(message)) if ask.is_closed => {
                self.settle(&posting, &Message(message.clone()), login).await
            }
            (_, message) => self.end(&item, &posting, message.as_ref()).await,
        }
    }

    async fn record_post(&self, ask: &Ask, posted: &Posted) -> Result<(), Failure> {
        let (name, ask, Message(message)) = (self.relay.name(), ask.clone(), posted.message.clone());
        self.write("ask.posted", move |tx| service::ask_posted(tx, name, &ask, &message)).await
    }

    /// Decides by what stands on the message now.
    async fn settle(&self, ask: &relay::Ask, message: &Message, login: &Login) -> Result<(), Failure> {
        let standing = self.say(self.relay.answers(ask, message)).await?;
        if standing.is_empty() {
            return Ok(());
        }
        let (rules, id, name) = (self.logins.rules(), login.id.clone(), self.relay.name());
        // The list that the answers were judged by is also the one by which the login is.
        let members = self.relay.members();
        self.write("ask.settle", move |tx| {
            members.map_or(Ok(()), |members| reach::list(tx, name, &members))?;
            service::settle(tx, &rules, &id, &standing)
        })
        .await?;
        self.logins.ended(&login.id);
        Ok(())
    }

    /// Turns the message into the verdict.
    async fn end(&self, item: &Item, posting: &relay::Ask, message: Option<&String>) -> Result<(), Failure> {
        // It may have been posted by a process that died before it could say so.
        let message = match message {
            Some(message) => Some(Message(message.clone())),
            None => self.say(self.relay.find(posting)).await?,
        };
        if let Some(message) = message {
            let verdict = words::verdict(self.logins, &item.login, &item.pools).await?;
            self.say(self.relay.amend(posting, &message, &verdict)).await?;
            if item.ask.message.is_none() {
                let posted = Posted { message, is_new: false };
                self.record_post(&item.ask, &posted).await?;
            }
        }
        let id = item.ask.id.clone();
        self.write("ask.closed", move |tx| Ok(asks::close(tx, &id)?)).await
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
