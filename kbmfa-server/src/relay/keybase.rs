//! Keybase: asks are messages in a team's channel or a private chat, answers are reactions to them.
//!
//! It drives the real `keybase` program, and believes none of its events: whatever is decided is decided on a message's
//! live reactions and a fresh list of members.

pub mod members;
pub mod settings;

pub mod wire;

mod answers;
mod marks;
mod rooms;
mod trouble;

mod api;
mod client;
mod lines;
mod program;

mod heart;
mod leftover;
mod listener;
mod service;

mod attend;
mod carry;
mod examine;
mod find;

pub use attend::SUPERVISOR_BOUND;
pub use examine::{Destination, check_files, examine};
pub use settings::Settings;
pub use trouble::Fault;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::Hint;
use crate::clock::Time;
use crate::fault_log::SharedFaultLog;
use crate::policy::Approver;
use crate::shared::Shared;
use client::Client;
use rooms::Room;
use settings::Place;

/// Hints that may wait. Of what is more, one says that something was missed.
const HINTS_MAX: usize = 256;

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
    hints: mpsc::Sender<Hint>,
    hinted: Shared<mpsc::Receiver<Hint>>,
    hint_there: Notify,
    turn: watch::Sender<Turn>,
    first: watch::Sender<First>,
    ended: watch::Sender<bool>,
    beat_now: Notify,
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
    const NONE: Self = Self {
        down: SharedFaultLog::new("relay keybase is down"),
        destination: SharedFaultLog::new("relay keybase: destination"),
        listener: SharedFaultLog::new("relay keybase: listener"),
        heart: SharedFaultLog::new("relay keybase: heart-beat"),
        members: SharedFaultLog::new("relay keybase: list of members"),
        buttons: SharedFaultLog::new("relay keybase: reactions on an ask"),
    };
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Mine,
    NotMine,
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
    rooms: HashMap<Place, Room>,
    /// Since when the relay is up: what is older may have been posted by somebody else.
    up_since: Option<Time>,
    /// Since when it is this server's turn.
    turn_since: Option<Instant>,
    /// Notices and verdicts that were sent, or perhaps not.
    unsure: HashMap<String, Unsure>,
    /// Hints were lost for being too many.
    missed_hints: bool,
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
    heart: Option<String>,
    members: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self::down("it is starting")
    }
}

impl Health {
    fn down(why: &str) -> Self {
        Self { service: Some(why.to_owned()), listener: None, heart: None, members: None }
    }

    fn why_down(&self) -> Option<&String> {
        let away = self.listener.as_ref().filter(|(since, _)| since.elapsed() >= LISTENER_AWAY);
        let parts =
            [self.service.as_ref(), away.map(|(_, why)| why), self.heart.as_ref(), self.members.as_ref()];
        parts.into_iter().flatten().next()
    }
}

impl Keybase {
    /// The relay with these settings, for asks to these destinations; it does nothing until [`Keybase::attend`] runs and it
    /// has its turn.
    pub fn new(settings: Settings, destinations: Vec<String>) -> Self {
        let (hints, hinted) = mpsc::channel(HINTS_MAX);
        Self(Arc::new(Inner {
            client: Client::new(&settings),
            settings,
            destinations,
            known: Shared::default(),
            hints,
            hinted: Shared::new(hinted),
            hint_there: Notify::new(),
            turn: watch::Sender::new(Turn::NotMine),
            first: watch::Sender::new(First::UnderWay),
            ended: watch::Sender::new(false),
            beat_now: Notify::new(),
            faults: FaultLogs::NONE,
        }))
    }

    /// Waits until the first try to be up has ended.
    ///
    /// # Errors
    /// What the operator has to do before a server can start.
    pub async fn begun(&self) -> Result<(), Fault> {
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

    fn hint(&self, hint: Hint) {
        if self.0.hints.try_send(hint).is_err() {
            self.known(|known| known.missed_hints = true);
        }
        self.0.hint_there.notify_one();
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
