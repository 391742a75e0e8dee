//! Posts asks and notices to the chat, reads the answers, and edits each ask into the decision. One server at
//! a time does this, by a lease. What it leaves undone, the next one finds in the database.
//!
//! Single-threaded. Each round rechecks all messages with events, and then handles one post, one recheck, one
//! edit and one notice, so that no backlog and no failing item starves the others.

mod ask_text;
mod backoff;
mod copies;
mod lease_token;
mod messages;
mod posting;
mod relay_monitor;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::future::Future;
use std::time::Duration;

use crate::channels::{self, Answer, Answers, Chat, ChatEvent, Message};
use crate::clock::Time;
use crate::db::{Tx, lease};
use crate::fault_log::FaultLog;
use crate::logins::Error;
use crate::logins::state::State;
use crate::logins::store::asks::{self, Ask};
use crate::logins::store::notices::{self, Notice};
use crate::logins::store::{self, Login};
use crate::long_poll::Logins;
use crate::policy::Channel;
use crate::progress::Progress;
use crate::usecases::chat::{self as usecase, ReadAnswers};
use backoff::Backoff;
use lease_token::LeaseToken;
use relay_monitor::RelayMonitor;

/// Interval at which the worker looks for due work if nothing wakes it. A failed step is retried after it,
/// too.
const INTERVAL: Duration = Duration::from_secs(2);

/// Longest time for one call to the chat. The monitor renews the lease meanwhile.
const CHAT_TIME: Duration = Duration::from_secs(20);

/// Longest time for one step of the worker: a call to the chat, and the database before and after it.
pub const BOUND: Duration = Duration::from_secs(45);

/// Longest time for one round of the monitor: three transactions that each wait for a lock.
const MONITOR_BOUND: Duration = Duration::from_secs(20);

/// Maximum age of answers that decide something. Older ones are read again.
const ANSWERS_FOR: Duration = Duration::from_secs(25);

/// Longest pause before posting an ask or reading answers is retried. People wait for these.
const URGENT_PAUSE_MAX: Duration = Duration::from_secs(4);
/// Longest pause before any other step is retried.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Number of failed edits after which a message is abandoned, if its login ended long ago
/// ([`ABANDON_AFTER`]).
const GIVE_UP_AFTER: u32 = 5;

/// Time after the end of a login before its message may be abandoned.
const ABANDON_AFTER: Duration = Duration::from_secs(600);

/// Runs until the process ends.
pub async fn run(logins: Logins, chat: impl Chat, holder: lease::Holder, progress: Progress) {
    let monitor = progress.part("relay monitor", MONITOR_BOUND);
    let token = LeaseToken::new(logins.db().clone(), holder);
    let monitor = RelayMonitor { logins: &logins, chat: &chat, token: &token, progress: monitor };
    let mut worker = Worker {
        logins: &logins,
        chat: &chat,
        token: &token,
        changed: BTreeSet::new(),
        to_recheck: VecDeque::new(),
        recheck_all: false,
        tried: HashSet::new(),
        urgent: Backoff::new(URGENT_PAUSE_MAX),
        backoff: Backoff::new(PAUSE_MAX),
        was_up: false,
        progress,
    };
    tokio::join!(monitor.run(), worker.run());
}

/// An ask with its login.
struct Item {
    ask: Ask,
    /// Its other messages, if it was posted more than once.
    copies: Vec<Message>,
    login: Login,
    around: messages::Around,
    /// Whether people are asked at the server's console as well.
    console: bool,
}

impl Item {
    fn posting(&self, how: &str) -> channels::Ask {
        channels::Ask {
            id: self.ask.id.clone(),
            destination: self.ask.destination.clone(),
            text: messages::ask(&self.login, &self.around, how, self.console),
            since: self.login.opened_at,
        }
    }

    /// All messages on which people may have answered. The ask's own comes first.
    fn messages(&self) -> Vec<Message> {
        let own = self.ask.message.iter().map(|message| Message(message.clone()));
        own.chain(self.copies.iter().cloned()).collect()
    }
}

/// Does due work, one step at a time. Before each call to the chat it checks that it still holds the lease,
/// so that two servers never post the same ask.
struct Worker<'a, C> {
    logins: &'a Logins,
    chat: &'a C,
    token: &'a LeaseToken,
    /// Messages with an event: people may have answered on them.
    changed: BTreeSet<String>,
    /// Posted messages that are still to be rechecked after an event may have been lost.
    to_recheck: VecDeque<String>,
    /// True if an event may have been lost since `to_recheck` was filled.
    recheck_all: bool,
    /// Asks that this worker has tried to send, and whose result is not recorded.
    tried: HashSet<String>,
    /// Backoff of posting asks and reading answers.
    urgent: Backoff,
    /// Backoff of all other steps.
    backoff: Backoff,
    was_up: bool,
    progress: Progress,
}

impl<C: Chat> Worker<'_, C> {
    async fn run(&mut self) {
        let mut faults = FaultLog::new("outbox worker");
        loop {
            self.progress.round().await;
            tokio::select! {
                event = self.chat.next_event() => self.note_event(event),
                () = self.logins.outbox_work() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
            match self.round().await {
                Err(Failure::NotMyTurn) => {}
                outcome => drop(faults.note(outcome)),
            }
        }
    }

    fn note_event(&mut self, event: ChatEvent) {
        match event {
            ChatEvent::Changed(Message(message)) => {
                self.changed.insert(message);
            }
            ChatEvent::Missed => self.recheck_all = true,
        }
    }

    /// Does all work that can be done now: events first, then one step of each kind in turn. While the chat
    /// is down it may be possible to read answers, although nothing can be posted.
    async fn round(&mut self) -> Result<(), Failure> {
        loop {
            let state = self.chat.state();
            let is_up = state == channels::State::Up;
            if is_up && !self.was_up {
                // What failed while the chat was down is retried at once.
                (self.urgent, self.backoff) = (Backoff::new(URGENT_PAUSE_MAX), Backoff::new(PAUSE_MAX));
            }
            self.was_up = is_up;
            if state == channels::State::Starting {
                return Ok(());
            }
            self.recheck_changed().await?;
            let posted = is_up && self.handle_one_ask(asks::Due::Wanted).await?;
            self.recheck_changed().await?;
            let looked = self.recheck_one().await?;
            let ended = is_up && self.handle_one_ask(asks::Due::Ended).await?;
            let told = is_up && (self.post_one_notice().await? | self.edit_one_copy().await?);
            if !(posted || looked || ended || told) {
                return Ok(());
            }
        }
    }

    /// Rechecks the messages with events. If a recheck fails, its message is kept for a retry.
    async fn recheck_changed(&mut self) -> Result<(), Failure> {
        while let Some(event) = self.chat.try_next_event() {
            self.note_event(event);
        }
        let now = self.logins.db().now();
        let due: Vec<_> = self.changed.iter().filter(|id| self.urgent.may_try(id, now)).cloned().collect();
        for message in due {
            if self.recheck(&message).await? {
                self.changed.remove(&message);
            }
        }
        Ok(())
    }

    /// Rechecks one posted message, if an event may have been lost; false if there is none.
    async fn recheck_one(&mut self) -> Result<bool, Failure> {
        if self.to_recheck.is_empty() && std::mem::take(&mut self.recheck_all) {
            let chat = self.chat.channel();
            let to_recheck =
                self.logins.db().read(move |tx| Ok::<_, Error>(asks::list_posted(tx, chat)?)).await;
            self.recheck_all = to_recheck.is_err();
            self.to_recheck = to_recheck?.into();
        }
        let Some(message) = self.to_recheck.pop_front() else { return Ok(false) };
        self.recheck(&message).await?;
        Ok(true)
    }

    /// Applies the answers on this message, if it is an ask; true if that succeeded.
    async fn recheck(&mut self, message: &str) -> Result<bool, Failure> {
        let (chat, wanted) = (self.chat.channel(), message.to_owned());
        let read = self.logins.db().read(move |tx| item(tx, asks::of_message(tx, chat, &wanted)?));
        let (what, settled) = match read.await? {
            Some(item) => (format!("login {}", item.login.id.short()), self.apply_answers(item).await),
            None => ("a message".to_owned(), self.identify_message(message).await),
        };
        note(&mut self.urgent, (message, &what), self.logins.db().now(), settled)
    }

    /// Posts one ask, or edits one into the decision; false if none is due.
    async fn handle_one_ask(&mut self, which: asks::Due) -> Result<bool, Failure> {
        let (chat, now) = (self.chat.channel(), self.logins.db().now());
        let due = self.logins.db().read(move |tx| Ok::<_, Error>(asks::due(tx, chat, which)?)).await?;
        let backoff = self.backoff_for(which);
        let Some(id) = due.into_iter().find(|id| backoff.may_try(id, now)) else { return Ok(false) };
        let failures = backoff.failures(&id);
        let wanted = id.clone();
        let found = self.logins.db().read(move |tx| item(tx, asks::by_id(tx, &wanted)?)).await?;
        let Some(item) = found else { return Ok(false) };
        let done = match which {
            asks::Due::Wanted => self.post(&item).await,
            asks::Due::Ended => match self.end(&item).await {
                Err(error @ (Failure::Chat(_) | Failure::TooSlow))
                    if failures >= GIVE_UP_AFTER && self.is_long_over(&item.login) =>
                {
                    self.abandon(&item, &error).await
                }
                done => done,
            },
        };
        let (what, now) = (format!("login {}", item.login.id.short()), self.logins.db().now());
        note(self.backoff_for(which), (&id, &what), now, done)?;
        Ok(true)
    }

    fn backoff_for(&mut self, which: asks::Due) -> &mut Backoff {
        match which {
            asks::Due::Wanted => &mut self.urgent,
            asks::Due::Ended => &mut self.backoff,
        }
    }

    /// Posts one notice; false if none is due.
    async fn post_one_notice(&mut self) -> Result<bool, Failure> {
        let (chat, now) = (self.chat.channel(), self.logins.db().now());
        let due = self.logins.db().read(move |tx| Ok::<_, Error>(notices::due(tx, chat)?)).await?;
        let next = due.into_iter().find(|notice| self.backoff.may_try(&notice.id, now));
        let Some(Notice { id, channel: _, destination, text, reply_to }) = next else {
            return Ok(false);
        };
        let posted = channels::Notice { id: id.clone(), destination, text, reply_to: reply_to.map(Message) };
        let told = async {
            self.call(self.chat.notify(&posted)).await?;
            let posted = id.clone();
            self.write("notice.posted", move |tx| usecase::notice_posted(tx, &posted)).await
        };
        let told = told.await;
        note(&mut self.backoff, (&id, "a notice"), self.logins.db().now(), told)?;
        Ok(true)
    }

    /// An ask as the chat posts it.
    fn posting(&self, item: &Item) -> channels::Ask {
        item.posting(self.chat.how_to_answer())
    }

    /// Reads the answers on all messages of an ask. If they would approve the login, reads them again,
    /// confirmed by the chat's server.
    async fn answers(&self, item: &Item) -> Result<Answers, Failure> {
        let (posting, messages) = (self.posting(item), item.messages());
        let answers = self.call(self.chat.answers(&posting, &messages)).await?;
        let counted: Vec<_> = answers.live.iter().filter(|one| one.rejection.is_none()).cloned().collect();
        let would_approve = channels::tally(&counted).is_some_and(|one| one.answer == Answer::Approve);
        if would_approve && item.login.life.state == State::Pending {
            return self.call(self.chat.confirmed_answers(&posting, &messages)).await;
        }
        Ok(answers)
    }

    /// Applies the answers on an ask's messages. If its login has ended, the authors of late answers are
    /// notified.
    async fn apply_answers(&self, mut item: Item) -> Result<(), Failure> {
        if item.ask.sends > 1 && item.login.life.state == State::Pending {
            self.find_copies(&mut item).await?;
        }
        let read_at = self.logins.db().now();
        let answers = self.answers(&item).await?;
        if answers.is_empty() {
            return Ok(());
        }
        let login = &item.login;
        let (rules, holder) = (self.logins.rules(), self.token.holder().clone());
        let (ask, members) = (item.ask.clone(), self.chat.members());
        let read = ReadAnswers { ask, answers, members, how: self.chat.how_to_answer() };
        let settled = self.logins.db().write("ask.settle", move |tx| {
            if !lease::hold(tx, LEASE, &holder)? || tx.now.since(read_at) > ANSWERS_FOR {
                return Ok(false);
            }
            usecase::apply_answers(tx, &rules, &read)?;
            Ok::<_, Error>(true)
        });
        if !settled.await? {
            return Err(Failure::TooOld);
        }
        self.logins.ended(&login.id);
        Ok(())
    }

    /// Edits the ask's messages into the decision, and closes the ask.
    async fn end(&self, item: &Item) -> Result<(), Failure> {
        let posting = &self.posting(item);
        let message = match &item.ask.message {
            Some(message) => Some(Message(message.clone())),
            None => self.find(item).await?,
        };
        if let Some(message) = message {
            let verdict = messages::verdict(self.logins, &item.login, &item.around).await?;
            self.call(self.chat.edit(posting, &message, &verdict)).await?;
            for copy in &item.copies {
                self.call(self.chat.edit_copy(posting, copy, &verdict)).await?;
            }
        }
        let ask = item.ask.clone();
        self.write("ask.closed", move |tx| usecase::close(tx, &ask)).await
    }

    fn is_long_over(&self, login: &Login) -> bool {
        let ended = login.life.decided_at.unwrap_or(login.life.expires_at);
        self.logins.db().now().since(ended) > ABANDON_AFTER
    }

    /// Abandons a message that cannot be edited. The login has ended, but the chat does not show it.
    async fn abandon(&self, item: &Item, why: &Failure) -> Result<(), Failure> {
        let (ask, why) = (item.ask.clone(), why.to_string());
        self.write("ask.abandoned", move |tx| usecase::abandon(tx, &ask, &why)).await
    }

    /// Calls the chat within a time limit, if the lease is held.
    async fn call<T>(&self, call: impl Future<Output = Result<T, channels::Error>>) -> Result<T, Failure> {
        self.progress.round().await;
        if !self.token.is_held().await.map_err(Error::from)? {
            return Err(Failure::NotMyTurn);
        }
        tokio::time::timeout(CHAT_TIME, call).await.map_err(|_| Failure::TooSlow)?.map_err(Failure::Chat)
    }

    async fn write(
        &self,
        name: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Failure> {
        Ok(self.logins.db().write(name, work).await?)
    }
}

/// Records the result of a step in the backoff. Logs an item's first failure. True if the step succeeded.
fn note(
    backoff: &mut Backoff,
    (id, what): (&str, &str),
    now: Time,
    done: Result<(), Failure>,
) -> Result<bool, Failure> {
    match done {
        Err(Failure::NotMyTurn) => return Err(Failure::NotMyTurn),
        Err(error) => {
            if backoff.failed(id, now) {
                log::error!("chat: {what}: {error}");
            }
            return Ok(false);
        }
        Ok(()) => backoff.succeeded(id),
    }
    Ok(true)
}

/// Name of the outbox's lease.
pub const LEASE: &str = "relay";

/// An ask with its login.
fn item(tx: &Tx<'_>, ask: Option<Ask>) -> Result<Option<Item>, Error> {
    let Some(ask) = ask else { return Ok(None) };
    let Some(login) = store::by_id(tx, &ask.login)? else { return Ok(None) };
    let around = messages::Around::of(tx, &login)?;
    let copies = asks::copies(tx, &ask.id)?.into_iter().map(Message).collect();
    let console = asks::of(tx, &login.id)?.iter().any(|ask| ask.channel == Channel::Console);
    Ok(Some(Item { ask, copies, login, around, console }))
}

/// Why a step failed. It is retried.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ours(#[from] Error),
    #[error(transparent)]
    Chat(channels::Error),
    #[error("the chat did not answer within {CHAT_TIME:?}")]
    TooSlow,
    #[error("the answers were read too long ago to count")]
    TooOld,
    #[error("it may have been posted and may still arrive")]
    MayArrive,
    #[error("another server holds the lease of the outbox")]
    NotMyTurn,
}
