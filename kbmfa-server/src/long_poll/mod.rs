//! The long poll: a machine's request waits here until its login is decided.

pub mod change_watcher;
mod waiters;

use kbmfa_proto::login::{LoginReply, OpenLogin, State};
use kbmfa_proto::names::LoginId;
use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

use crate::clock;
use crate::db::Db;
use crate::logins::{Error, Rules, service};
use crate::machines::caller::Credential;
use crate::machines::service::authenticate_waiting;
use crate::shared::Shared;
use crate::usecases::logins as usecase;
use waiters::Waiters;

/// The logins of this server. Clones share their state.
#[derive(Clone)]
pub struct Logins(Arc<Inner>);

struct Inner {
    db: Db,
    rules: Shared<Arc<Rules>>,
    waiters: Arc<Waiters>,
    outbox_bell: Notify,
    broken_polls: mpsc::UnboundedSender<BrokenPoll>,
    closing: watch::Receiver<bool>,
    carries_asks: AtomicBool,
    /// Logins that were opened here and not polled yet. Only the first poll of a login may leave its number
    /// unwritten: if a second poll had the same number, the end of the first one's connection would end the
    /// login.
    unpolled: Shared<HashSet<LoginId>>,
    counts: Counts,
}

/// Maximum size of [`Inner::unpolled`]. Beyond it, first polls are written like all others.
const UNPOLLED_MAX: usize = 20_000;

/// Number of opened logins, and of final replies, since the start.
#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    told: [AtomicU64; 5],
}

/// Final states, in the order of `Counts::told`.
const TOLD: [State; 5] = [State::Approved, State::Denied, State::Expired, State::Cancelled, State::Rehearsed];

/// A poll whose connection broke before it was answered.
pub struct BrokenPoll {
    /// The login.
    pub login: LoginId,
    /// The poll's number in the login's row.
    pub poll: i64,
}

impl Logins {
    /// Logins in this database under these rules. Reports broken polls to the sweep. When `closing` becomes
    /// true, all polls are answered at once with the current state.
    pub fn new(
        db: Db,
        rules: Rules,
        broken_polls: mpsc::UnboundedSender<BrokenPoll>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let rules = Shared::new(Arc::new(rules));
        let (waiters, outbox_bell, counts) = (Arc::default(), Notify::new(), Counts::default());
        let (carries_asks, unpolled) = Default::default();
        Self(Arc::new(Inner {
            db,
            rules,
            waiters,
            outbox_bell,
            broken_polls,
            closing,
            carries_asks,
            unpolled,
            counts,
        }))
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.0.rules.get()
    }

    /// Replaces the rules, from the next action on.
    pub fn set_rules(&self, rules: Rules) {
        let rules = Arc::new(rules);
        drop(self.0.rules.with(|current| std::mem::replace(current, rules)));
    }

    /// Opens a login; a repeated request finds it.
    ///
    /// # Errors
    /// As [`usecase::open`].
    pub async fn open(
        &self,
        credential: Credential,
        id: LoginId,
        opened: OpenLogin,
    ) -> Result<LoginReply, Error> {
        let posts_asks = self.0.carries_asks.load(Ordering::Relaxed);
        let (rules, new) = (self.rules(), id.clone());
        let opened = self.0.db.write("login.open", move |tx| {
            usecase::open(tx, &rules, &credential, (&id, &opened), posts_asks)
        });
        let service::Opened { reply, is_new } = opened.await?;
        if is_new && reply.state == State::Pending {
            self.0.unpolled.with(|unpolled| {
                if unpolled.len() >= UNPOLLED_MAX {
                    unpolled.clear();
                }
                unpolled.insert(new);
            });
        }
        self.0.counts.opened.fetch_add(1, Ordering::Relaxed);
        self.notify_outbox();
        Ok(self.told(reply))
    }

    /// Returns the state of a login, after waiting for a decision for at most `wait`.
    ///
    /// # Errors
    /// [`Error::TooManyPolls`], and as [`usecase::poll`].
    pub async fn wait(
        &self,
        credential: Credential,
        id: LoginId,
        wait: Duration,
    ) -> Result<LoginReply, Error> {
        let begun = clock::monotonic();
        let waiter = self.0.waiters.join(&id).ok_or(Error::TooManyPolls)?;
        let mut rung = pin!(waiter.bell().notified());
        rung.as_mut().enable();
        // If the connection breaks, this future is dropped, and the guard reports the poll.
        let mut guard = PollGuard { logins: self, broken: None };
        let is_first = self.0.unpolled.with(|unpolled| unpolled.remove(&id));
        let mut reply = if is_first {
            self.look_or_poll(&credential, &id, wait, &mut guard).await?
        } else {
            self.poll(&credential, &id, wait, &mut guard).await?
        };
        let until_expiry = reply.expires_in_ms.map_or(Duration::ZERO, Duration::from_millis);
        let mut time_is_up = pin!(tokio::time::sleep(wait.min(until_expiry)));
        let mut closing = self.0.closing.clone();
        let (mut waiting, mut held) = (!wait.is_zero(), Duration::ZERO);
        while waiting && reply.state == State::Pending {
            tokio::select! {
                () = &mut rung => {}
                () = &mut time_is_up => waiting = false,
                _ = closing.wait_for(|closing| *closing) => waiting = false,
            }
            rung.set(waiter.bell().notified());
            rung.as_mut().enable();
            held = clock::monotonic().saturating_sub(begun);
            reply = if waiting {
                self.poll(&credential, &id, Duration::ZERO, &mut guard).await?
            } else {
                self.look_or_poll(&credential, &id, Duration::ZERO, &mut guard).await?
            };
        }
        guard.disarm();
        reply.held_ms = u64::try_from(held.as_millis()).ok();
        Ok(self.told(reply))
    }

    /// Cancels a login.
    ///
    /// # Errors
    /// As [`usecase::cancel`].
    pub async fn cancel(&self, credential: Credential, id: LoginId) -> Result<LoginReply, Error> {
        let (rules, login) = (self.rules(), id.clone());
        let cancelled =
            self.0.db.write("login.cancel", move |tx| usecase::cancel(tx, &rules, &credential, &id));
        let reply = cancelled.await?;
        self.ended(&login);
        Ok(self.told(reply))
    }

    /// Wakes the polls of a login that has ended, and the outbox.
    pub fn ended(&self, id: &LoginId) {
        self.0.waiters.wake(id);
        self.notify_outbox();
    }

    /// Wakes the outbox.
    pub fn notify_outbox(&self) {
        self.0.outbox_bell.notify_one();
    }

    /// Waits until the outbox is woken.
    pub async fn outbox_work(&self) {
        self.0.outbox_bell.notified().await;
    }

    /// Sets whether this process holds the outbox's lease. If it does, the transaction that opens a login
    /// also records that sending its ask has begun.
    pub fn set_carries_asks(&self, does: bool) {
        self.0.carries_asks.store(does, Ordering::Relaxed);
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// Number of logins with a waiting poll, and since the start the numbers of opened logins and of final
    /// replies by state.
    pub fn counts(&self) -> (usize, u64, [(State, u64); 5]) {
        let told = std::array::from_fn(|n| {
            let told = self.0.counts.told.get(n).map_or(0, |count| count.load(Ordering::Relaxed));
            (TOLD.get(n).copied().unwrap_or(State::Unknown), told)
        });
        (self.0.waiters.len(), self.0.counts.opened.load(Ordering::Relaxed), told)
    }

    /// Polls without a write transaction if nothing has to be written. A machine with the `AUTH_TOKEN` may
    /// need a write, which records when it was last seen.
    async fn look_or_poll(
        &self,
        credential: &Credential,
        id: &LoginId,
        wait: Duration,
        guard: &mut PollGuard<'_>,
    ) -> Result<LoginReply, Error> {
        let Credential::Own(hash) = credential.clone() else {
            return self.poll(credential, id, wait, guard).await;
        };
        let (rules, login) = (self.rules(), id.clone());
        let look = self.0.db.read(move |tx| {
            let caller = authenticate_waiting(tx, &hash)?.ok_or(Error::Unauthorized)?;
            service::look(tx, &rules, &caller, &login, wait)
        });
        match look.await? {
            Some((poll, reply)) => {
                guard.hold(id, poll, wait);
                Ok(reply)
            }
            None => self.poll(credential, id, wait, guard).await,
        }
    }

    async fn poll(
        &self,
        credential: &Credential,
        id: &LoginId,
        wait: Duration,
        guard: &mut PollGuard<'_>,
    ) -> Result<LoginReply, Error> {
        let (rules, who, login) = (self.rules(), credential.clone(), id.clone());
        let polled = self.0.db.write("login.poll", move |tx| usecase::poll(tx, &rules, &who, &login, wait));
        let (poll, reply) = polled.await?;
        guard.hold(id, poll, wait);
        Ok(reply)
    }

    fn told(&self, reply: LoginReply) -> LoginReply {
        let state = TOLD.iter().position(|state| *state == reply.state);
        if let Some(count) = state.and_then(|n| self.0.counts.told.get(n)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        reply
    }
}

/// Reports a poll whose future is dropped while it waits, because its connection broke.
struct PollGuard<'a> {
    logins: &'a Logins,
    broken: Option<BrokenPoll>,
}

impl PollGuard<'_> {
    /// Remembers the poll's number, if it will wait.
    fn hold(&mut self, id: &LoginId, poll: i64, wait: Duration) {
        if !wait.is_zero() {
            self.broken = Some(BrokenPoll { login: id.clone(), poll });
        }
    }

    fn disarm(mut self) {
        self.broken = None;
    }
}

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        if let Some(broken) = self.broken.take() {
            // Sending fails only if the sweep has ended, and then the process ends, too.
            let _ = self.logins.0.broken_polls.send(broken);
        }
    }
}
