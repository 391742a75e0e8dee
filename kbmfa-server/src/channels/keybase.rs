//! Keybase: asks are messages in a team's channel or a private chat, answers are reactions to them.
//!
//! It drives the real `keybase` program, and believes none of its events: whatever is decided is decided on a message's
//! live reactions and a fresh list of members.

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
mod supervisor;

pub use diagnose::{Destination, check_files, diagnose};
pub use error::Fault;
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

/// Events that may wait. Of what is more, one says that something was missed.
const EVENTS_MAX: usize = 256;

/// A server that has just got its turn takes so long to be up; until then the other's word holds.
const STARTING_TIME: Duration = Duration::from_secs(25);

/// A listener is only a hint: it may be away so long before the relay is said to be down.
const LISTENER_AWAY: Duration = Duration::from_secs(5);

/// The relay. Clones are the same one.
#[derive(Clone)]
pub struct Keybase(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// Where asks go by the rules, which is made sure of at the start.
    destinations: Vec<String>,
    client: Client,
    known: Shared<Known>,
    events_in: mpsc::Sender<ChatEvent>,
    events: Shared<mpsc::Receiver<ChatEvent>>,
    event_there: Notify,
    leadership: watch::Sender<Leadership>,
    first: watch::Sender<First>,
    ended: watch::Sender<bool>,
    check_now: Notify,
    faults: FaultLogs,
}

/// What the relay fails by. Kept across restarts of the service: a restart is one more attempt.
struct FaultLogs {
    down: SharedFaultLog,
    destination: SharedFaultLog,
    listener: SharedFaultLog,
    heart: SharedFaultLog,
    members: SharedFaultLog,
    buttons: SharedFaultLog,
}

impl FaultLogs {
    fn new() -> Self {
        Self {
            down: SharedFaultLog::new("relay keybase is down"),
            destination: SharedFaultLog::new("relay keybase: destination"),
            listener: SharedFaultLog::new("relay keybase: listener"),
            heart: SharedFaultLog::new("relay keybase: heart-beat"),
            members: SharedFaultLog::new("relay keybase: list of members"),
            buttons: SharedFaultLog::new("relay keybase: reactions on an ask"),
        }
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leadership {
    Leader,
    Follower,
    /// Nobody's any more: the process ends.
    Ending,
}

/// How the first try to be up went.
#[derive(Debug, Clone, PartialEq, Eq)]
enum First {
    /// It is under way.
    UnderWay,
    /// The server may go on, up or not.
    Done,
    /// The operator has to do something first.
    Fatal(Fault),
}

/// What is known at this moment.
#[derive(Default)]
struct Known {
    health: Health,
    /// The bot's uid.
    bot: String,
    conversations: HashMap<Place, Conversation>,
    /// Since when the relay is up: what is older may have been posted by somebody else.
    up_since: Option<Time>,
    /// Since when it is this server's turn.
    leader_since: Option<Instant>,
    /// Notices and verdicts that were sent, or perhaps not.
    unsure: HashMap<String, Unsure>,
    /// Events were lost for being too many.
    missed_events: bool,
    members: Option<Vec<Approver>>,
}

/// Something of which nobody knows whether it was posted.
#[derive(Debug, Clone, Copy)]
struct Unsure {
    /// From then on looking for it tells.
    not_before: Instant,
    /// When it was sent.
    since: Time,
}

/// Why it is down, by the part that fails; up if none does.
struct Health {
    service: Option<String>,
    /// Since when, and why.
    listener: Option<(Instant, String)>,
    check: Option<String>,
    members: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self::down("it is starting")
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
    /// The relay with these settings, for asks to these destinations; it does nothing until [`Keybase::supervise`] runs and it
    /// has its turn.
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
            first: watch::Sender::new(First::UnderWay),
            ended: watch::Sender::new(false),
            check_now: Notify::new(),
            faults: FaultLogs::new(),
        }))
    }

    /// Waits until the first try to be up has ended.
    ///
    /// # Errors
    /// What the operator has to do before a server can start.
    pub async fn started(&self) -> Result<(), Fault> {
        let mut first = self.0.first.subscribe();
        let ended = first.wait_for(|first| *first != First::UnderWay).await;
        match ended.map(|first| first.clone()) {
            Ok(First::Fatal(fault)) => Err(fault),
            Ok(First::Done | First::UnderWay) | Err(_) => Ok(()),
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

    /// The first try has ended so; any later one changes nothing.
    fn first_ended(&self, how: First) {
        self.0.first.send_if_modified(|first| {
            let is_first = *first == First::UnderWay;
            if is_first {
                *first = how;
            }
            is_first
        });
    }
}
