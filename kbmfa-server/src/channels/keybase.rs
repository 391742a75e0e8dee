//! Keybase as a chat: asks are messages in a team's channel or a private chat, and answers are reactions to
//! them.
//!
//! The server runs the real `keybase` program and does not trust its events. It decides by the reactions on a
//! message and the list of members, and reads both when it decides.

pub mod members;
pub mod settings;

pub mod wire;

mod answers;
mod conversations;
mod error;
mod marks;

mod process;

mod client;

mod health_check;
mod leftover;
mod listener;
mod service;

mod adapter;
mod diagnose;
mod find;
mod private;
mod supervisor;

pub use diagnose::{Destination, check_files, diagnose};
pub use error::Fault;
pub use private::Undelivered;
pub use settings::Settings;
pub use supervisor::SUPERVISOR_BOUND;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::ChatEvent;
use crate::clock::Time;
use crate::fault_log::SharedFaultLog;
use crate::policy::Approver;
use crate::shared::Shared;
use client::Client;
use conversations::Conversation;
use settings::Place;

/// Length of the event queue. If it is full, further events are dropped and one [`ChatEvent::Missed`]
/// replaces them.
const EVENTS_MAX: usize = 256;

/// A new leader reports [`Starting`](super::State::Starting) for at most this long, so that the state that
/// the previous leader published remains valid.
const STARTING_TIME: Duration = Duration::from_secs(25);

/// Time for which the listener may be absent before Keybase counts as down. Its events are only hints.
const LISTENER_AWAY: Duration = Duration::from_secs(5);

/// The chat in Keybase. A clone is another handle to the same chat.
#[derive(Clone)]
pub struct Keybase(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// The destinations that rules name. The start checks that the bot may post there.
    destinations: Vec<String>,
    client: Client,
    known: Shared<Known>,
    events_in: mpsc::Sender<ChatEvent>,
    events: Shared<mpsc::Receiver<ChatEvent>>,
    event_there: Notify,
    leadership: watch::Sender<Leadership>,
    first_start: watch::Sender<FirstStart>,
    ended: watch::Sender<bool>,
    check_now: Notify,
    faults: FaultLogs,
}

/// One log for each part that can fail. They are kept over restarts of the service, because a restart is only
/// one more attempt.
struct FaultLogs {
    down: SharedFaultLog,
    destination: SharedFaultLog,
    listener: SharedFaultLog,
    health_check: SharedFaultLog,
    members: SharedFaultLog,
    buttons: SharedFaultLog,
}

impl FaultLogs {
    fn new() -> Self {
        Self {
            down: SharedFaultLog::new("keybase is down"),
            destination: SharedFaultLog::new("keybase: destination"),
            listener: SharedFaultLog::new("keybase: listener"),
            health_check: SharedFaultLog::new("keybase: health check"),
            members: SharedFaultLog::new("keybase: list of members"),
            buttons: SharedFaultLog::new("keybase: buttons on an ask"),
        }
    }
}

/// Whether this server drives Keybase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leadership {
    /// This server holds the lease.
    Leader,
    /// Another server holds the lease, or none does.
    Follower,
    /// The process ends.
    Ending,
}

/// The result of the first start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FirstStart {
    /// Not finished yet.
    InProgress,
    /// Finished. The server may continue, even if Keybase is down.
    Done,
    /// The operator must fix this before the server can start.
    Fatal(Fault),
}

/// State that the tasks share. It is not persistent.
#[derive(Default)]
struct Known {
    health: Health,
    /// The bot's uid.
    bot: String,
    conversations: HashMap<Place, Conversation>,
    /// Since when Keybase is up on this server; `None` while it is down.
    up_since: Option<Time>,
    /// Since when this server is the leader.
    leader_since: Option<Instant>,
    /// Notices and decisions that may have been posted, by id.
    unconfirmed: HashMap<String, UnconfirmedSend>,
    /// The event queue was full, and events were dropped.
    missed_events: bool,
    members: Option<Vec<Approver>>,
}

/// A call to send a message whose result may be lost.
#[derive(Debug, Clone, Copy)]
struct UnconfirmedSend {
    /// From this time on a search for the message is conclusive.
    not_before: Instant,
    /// When the call began.
    since: Time,
}

/// Why Keybase is down, for each part that fails. Keybase is up if no part fails.
struct Health {
    service: Option<String>,
    /// Since when the listener is absent, and why.
    listener: Option<(Instant, String)>,
    check: Option<String>,
    members: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self::down("Keybase is starting")
    }
}

impl Health {
    fn down(why: &str) -> Self {
        Self { service: Some(why.to_owned()), listener: None, check: None, members: None }
    }

    fn why_down(&self) -> Option<&String> {
        let away = self.listener.as_ref().filter(|(since, _)| since.elapsed() >= LISTENER_AWAY);
        let parts =
            [self.service.as_ref(), away.map(|(_, why)| why), self.check.as_ref(), self.members.as_ref()];
        parts.into_iter().flatten().next()
    }
}

impl Keybase {
    /// Creates the chat for asks to these destinations. It does nothing until [`Keybase::supervise`] runs and
    /// this server becomes the leader.
    pub fn new(settings: Settings, destinations: Vec<String>) -> Self {
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        Self(Arc::new(Inner {
            client: Client::new(&settings),
            settings,
            destinations,
            known: Shared::default(),
            events_in,
            events: Shared::new(events),
            event_there: Notify::new(),
            leadership: watch::Sender::new(Leadership::Follower),
            first_start: watch::Sender::new(FirstStart::InProgress),
            ended: watch::Sender::new(false),
            check_now: Notify::new(),
            faults: FaultLogs::new(),
        }))
    }

    /// Waits until the first start has finished.
    ///
    /// # Errors
    /// A fault that the operator must fix before the server can start.
    pub async fn started(&self) -> Result<(), Fault> {
        let mut first_start = self.0.first_start.subscribe();
        let finished = first_start.wait_for(|result| *result != FirstStart::InProgress).await;
        match finished.map(|result| result.clone()) {
            Ok(FirstStart::Fatal(fault)) => Err(fault),
            Ok(FirstStart::Done | FirstStart::InProgress) | Err(_) => Ok(()),
        }
    }

    fn known<R>(&self, work: impl FnOnce(&mut Known) -> R) -> R {
        self.0.known.with(work)
    }

    fn push_event(&self, event: ChatEvent) {
        if self.0.events_in.try_send(event).is_err() {
            self.known(|known| known.missed_events = true);
        }
        self.0.event_there.notify_one();
    }

    /// Sets the result of the first start. Later calls have no effect.
    fn finish_first_start(&self, result: FirstStart) {
        self.0.first_start.send_if_modified(|first_start| {
            let is_first = *first_start == FirstStart::InProgress;
            if is_first {
                *first_start = result;
            }
            is_first
        });
    }
}
