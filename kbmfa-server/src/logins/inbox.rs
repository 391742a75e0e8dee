//! Carries asks to the relay and answers back: posts what is wanted, reads what stands, and turns the
//! message into the verdict. One server at a time does this; whatever it leaves undone, the next one finds.
//!
//! It does one thing after the other, answers before everything else, and what fails is left for a while: nothing that
//! cannot be done holds up the rest.

mod herald;
mod patience;
mod words;

use kbmfa_proto::names::PoolName;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use super::state::State;
use super::store::asks::{self, Ask};
use super::store::notices::{self, Notice};
use super::store::{Login, reach};
use super::{Error, Logins, service};
use crate::clock::Time;
use crate::db::{Tx, lease};
use crate::relay::{self, Hint, Message, Posted, Relay, Telling};
use crate::roster;
use herald::Herald;
use patience::Patience;

/// How often what is due is looked for, news or not: a step that failed is tried again after this.
const INTERVAL: Duration = Duration::from_secs(2);

/// Longest time for one thing that is asked of the relay. The lease is renewed meanwhile.
const RELAY_TIME: Duration = Duration::from_secs(20);

/// Answers that were read longer ago than this decide nothing: they are read again.
const ANSWERS_FOR: Duration = Duration::from_secs(10);

/// An ask whose login ended so long ago, and whose message cannot be changed, stays as it is.
const ABANDON_AFTER: Duration = Duration::from_secs(600);

/// Runs until the process ends.
pub async fn run(logins: Logins, relay: impl Relay, holder: lease::Holder) {
    let herald = Herald { logins: &logins, relay: &relay, holder: &holder };
    let mut carrier = Carrier {
        logins: &logins,
        relay: &relay,
        holder: &holder,
        hinted: BTreeSet::new(),
        look_at_all: false,
        patience: Patience::default(),
    };
    tokio::join!(herald.run(), carrier.run());
}

/// An ask with all that is said about it.
struct Item {
    ask: Ask,
    login: Login,
    pools: Vec<PoolName>,
}

impl Item {
    fn posting(&self) -> relay::Ask {
        relay::Ask {
            id: self.ask.id.clone(),
            destination: self.ask.destination.1.clone(),
            text: words::ask(&self.login, &self.pools),
            since: self.login.opened_at,
        }
    }
}

/// Does what is due, one thing at a time. Before every word to the relay it makes sure that it is still its
/// turn, so that a slow relay never lets two servers say the same.
struct Carrier<'a, R> {
    logins: &'a Logins,
    relay: &'a R,
    holder: &'a lease::Holder,
    /// Messages on which somebody may have answered.
    hinted: BTreeSet<String>,
    /// Something may have been missed: everything that stands is to be looked at.
    look_at_all: bool,
    patience: Patience,
}

impl<R: Relay> Carrier<'_, R> {
    async fn run(&mut self) {
        loop {
            tokio::select! {
                hint = self.relay.hint() => self.heard(hint),
                () = self.logins.news_for_relay() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
            if self.relay.state() != relay::State::Up {
                continue;
            }
            match self.round().await {
                Ok(()) | Err(Failure::NotMyTurn) => {}
                Err(error) => log::error!("relay {}: {error}", self.relay.name()),
            }
        }
    }

    fn heard(&mut self, hint: Hint) {
        match hint {
            Hint::One(Message(message)) => {
                self.hinted.insert(message);
            }
            Hint::Any => self.look_at_all = true,
        }
    }

    /// Does everything that can be done now. Hints that come meanwhile are followed before the next thing.
    async fn round(&mut self) -> Result<(), Failure> {
        self.follow_hints().await?;
        let due = self.logins.db().now();
        for item in self.due().await? {
            self.follow_hints().await?;
            if self.patience.may_try(&item.ask.id, due) {
                let (done, id) = (self.tend(&item).await, item.ask.id.clone());
                self.note(&id, &format!("login {}", item.login.id.short()), done)?;
            }
        }
        self.follow_hints().await?;
        self.tell_one(due).await
    }

    /// Looks at the messages on which somebody may have answered, until no more are known.
    async fn follow_hints(&mut self) -> Result<(), Failure> {
        while let Some(hint) = self.relay.next_hint() {
            self.heard(hint);
        }
        let name = self.relay.name();
        let (hinted, all) = (std::mem::take(&mut self.hinted), std::mem::take(&mut self.look_at_all));
        let found = self.logins.db().read(move |tx| {
            let mut found = if all { asks::standing(tx, name)? } else { Vec::new() };
            for message in hinted {
                found.extend(asks::of_message(tx, name, &message)?);
            }
            found.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
            found.dedup_by(|(one, _), (other, _)| one.id == other.id);
            with_pools(tx, found)
        });
        for item in found.await? {
            if let Some(message) = item.ask.message.clone() {
                let settled = self.settle(&item.posting(), &Message(message), &item.login).await;
                self.note(&item.ask.id, &format!("login {}", item.login.id.short()), settled)?;
            }
        }
        Ok(())
    }

    async fn due(&self) -> Result<Vec<Item>, Failure> {
        let name = self.relay.name();
        let due = self.logins.db().read(move |tx| with_pools(tx, asks::due(tx, name)?));
        Ok(due.await?)
    }

    /// Tells one thing: the rest has time.
    async fn tell_one(&mut self, now: Time) -> Result<(), Failure> {
        let name = self.relay.name();
        let due = self.logins.db().read(move |tx| Ok::<_, Error>(notices::due(tx, name)?)).await?;
        let patient = due.into_iter().find(|notice| self.patience.may_try(&notice.id, now));
        let Some(Notice { id, destination: (_, destination), text, reply_to }) = patient else {
            return Ok(());
        };
        let telling = Telling { id: id.clone(), destination, text, reply_to: reply_to.map(Message) };
        let told = async {
            self.say(self.relay.tell(&telling)).await?;
            let posted = id.clone();
            self.write("notice.posted", move |tx| Ok(notices::posted(tx, &posted)?)).await
        };
        let told = told.await;
        if told.is_ok() {
            // There may be another.
            self.logins.tell_relay();
        }
        self.note(&id, "a notice", told)
    }

    /// What failed is left for a while, and told once.
    fn note(&mut self, id: &str, what: &str, done: Result<(), Failure>) -> Result<(), Failure> {
        match done {
            Err(Failure::NotMyTurn) => return Err(Failure::NotMyTurn),
            Err(error) => {
                if self.patience.failed(id, self.logins.db().now()) {
                    log::error!("relay {}: {what}: {error}", self.relay.name());
                }
            }
            Ok(()) => self.patience.succeeded(id),
        }
        Ok(())
    }

    /// Does for one ask what is due.
    async fn tend(&self, item: &Item) -> Result<(), Failure> {
        let Item { ask, login, .. } = item;
        let posting = item.posting();
        match (login.life.state, &ask.message) {
            (State::Pending, None) => {
                let posted = self.say(self.relay.post(&posting)).await?;
                self.record_post(ask, &posted).await?;
                if posted.is_new {
                    self.say(self.relay.offer(&posted)).await
                } else {
                    self.settle(&posting, &posted.message, login).await
                }
            }
            (State::Pending, Some(message)) => self.settle(&posting, &Message(message.clone()), login).await,
            (_, message) => match self.end(item, &posting, message.as_ref()).await {
                Err(error) if self.is_long_over(login) => self.abandon(item, &error).await,
                done => done,
            },
        }
    }

    async fn record_post(&self, ask: &Ask, posted: &Posted) -> Result<(), Failure> {
        let (name, ask, Message(message)) = (self.relay.name(), ask.clone(), posted.message.clone());
        self.write("ask.posted", move |tx| service::ask_posted(tx, name, &ask, &message)).await
    }

    /// Decides by what stands on the message now; for a login that has ended, tells who answers late.
    async fn settle(&self, ask: &relay::Ask, message: &Message, login: &Login) -> Result<(), Failure> {
        let read_at = self.logins.db().now();
        let standing = self.say(self.relay.answers(ask, message)).await?;
        if standing.is_empty() {
            return Ok(());
        }
        let (rules, id, name) = (self.logins.rules(), login.id.clone(), self.relay.name());
        let holder = self.holder.clone();
        // The list that the answers were judged by is also the one by which the login is.
        let members = self.relay.members();
        let settled = self.logins.db().write("ask.settle", move |tx| {
            if !lease::hold(tx, LEASE, &holder)? || tx.now.since(read_at) > ANSWERS_FOR {
                return Ok(false);
            }
            members.map_or(Ok(()), |members| reach::list(tx, name, &members))?;
            service::settle(tx, &rules, &id, &standing)?;
            Ok::<_, Error>(true)
        });
        if !settled.await? {
            return Err(Failure::TooOld);
        }
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
                self.record_post(&item.ask, &Posted { message, is_new: false }).await?;
            }
        }
        let id = item.ask.id.clone();
        self.write("ask.closed", move |tx| Ok(asks::close(tx, &id)?)).await
    }

    fn is_long_over(&self, login: &Login) -> bool {
        let ended = login.life.decided_at.unwrap_or(login.life.expires_at);
        self.logins.db().now().since(ended) > ABANDON_AFTER
    }

    /// Leaves a message as it is that cannot be changed. The login has its end; only the chat lacks it.
    async fn abandon(&self, item: &Item, why: &Failure) -> Result<(), Failure> {
        let (ask, why) = (item.ask.clone(), why.to_string());
        self.write("ask.abandoned", move |tx| service::abandon_ask(tx, &ask, &why)).await
    }

    /// One thing that is asked of the relay, in its time and in our turn.
    async fn say<T>(&self, call: impl Future<Output = Result<T, relay::Error>>) -> Result<T, Failure> {
        let holder = self.holder.clone();
        let mine =
            self.logins.db().write("inbox.turn", move |tx| Ok::<_, Error>(lease::hold(tx, LEASE, &holder)?));
        if !mine.await? {
            return Err(Failure::NotMyTurn);
        }
        tokio::time::timeout(RELAY_TIME, call).await.map_err(|_| Failure::TooSlow)?.map_err(Failure::Relay)
    }

    async fn write(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Failure> {
        Ok(self.logins.db().write(name, work).await?)
    }
}

/// The lease of whoever carries asks.
const LEASE: &str = "relay";

fn with_pools(tx: &Tx<'_>, found: Vec<(Ask, Login)>) -> Result<Vec<Item>, Error> {
    let with_pools = |(ask, login): (Ask, Login)| {
        let pools = roster::store::pools_of(tx, &login.machine_id)?;
        Ok(Item { ask, login, pools })
    };
    found.into_iter().map(with_pools).collect()
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
    #[error("answers were read too long ago to decide anything")]
    TooOld,
    #[error("another server carries the asks")]
    NotMyTurn,
}
