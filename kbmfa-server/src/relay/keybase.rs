//! Keybase: asks are messages in a team's channel or a private chat, answers are reactions to them.
//!
//! It drives the real `keybase` program, and believes none of its events: whatever is decided is decided on a message's
//! live reactions and a fresh list of members.

pub mod members;
pub mod settings;

pub mod wire;

mod answers;
mod rooms;
mod trouble;

mod api;
mod client;
mod lines;
mod program;

mod heart;
mod listener;
mod service;

mod attend;
mod carry;
mod examine;

pub use examine::examine;
pub use settings::Settings;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, watch};

use super::{Error, Hint};
use crate::clock::Time;
use crate::policy::Approver;
use client::Client;
use rooms::Room;
use settings::Place;

/// Hints that may wait. Of what is more, one says that something was missed.
const HINTS_MAX: usize = 256;

/// The relay. Clones are the same one.
#[derive(Clone)]
pub struct Keybase(Arc<Inner>);

struct Inner {
    settings: Settings,
    client: Client,
    known: Mutex<Known>,
    hints: mpsc::Sender<Hint>,
    hinted: tokio::sync::Mutex<mpsc::Receiver<Hint>>,
    turn: watch::Sender<bool>,
    first: watch::Sender<First>,
    beat_now: Notify,
}

/// How the first try to be up went.
#[derive(Debug, Clone, PartialEq, Eq)]
enum First {
    /// It is under way.
    UnderWay,
    /// The server may go on, up or not.
    Done,
    /// The operator has to do something first.
    Fatal(String),
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
    /// What was sent, or not: nobody said.
    unsure: HashSet<String>,
    /// Asks that may lack what people click.
    unoffered: HashSet<String>,
    /// Hints were lost for being too many.
    missed_hints: bool,
    members: Option<Vec<Approver>>,
}

/// Why it is down, by the part that fails; up if none does.
struct Health {
    service: Option<String>,
    listener: Option<String>,
    heart: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { service: Some("it is starting".to_owned()), listener: None, heart: None }
    }
}

impl Health {
    fn why_down(&self) -> Option<&String> {
        self.service.as_ref().or(self.listener.as_ref()).or(self.heart.as_ref())
    }
}

impl Keybase {
    /// The relay with these settings; it does nothing until [`Keybase::attend`] runs and it has its turn.
    pub fn new(settings: Settings) -> Self {
        let (hints, hinted) = mpsc::channel(HINTS_MAX);
        Self(Arc::new(Inner {
            client: Client::new(&settings),
            settings,
            known: Mutex::default(),
            hints,
            hinted: tokio::sync::Mutex::new(hinted),
            turn: watch::Sender::new(false),
            first: watch::Sender::new(First::UnderWay),
            beat_now: Notify::new(),
        }))
    }

    /// Waits until the first try to be up has ended.
    ///
    /// # Errors
    /// What the operator has to do before a server can start.
    pub async fn begun(&self) -> Result<(), Error> {
        let mut first = self.0.first.subscribe();
        let ended = first.wait_for(|first| *first != First::UnderWay).await;
        match ended.map(|first| first.clone()) {
            Ok(First::Fatal(why)) => Err(Error(why)),
            Ok(First::Done | First::UnderWay) | Err(_) => Ok(()),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, hint: Hint) {
        if self.0.hints.try_send(hint).is_err() {
            self.known().missed_hints = true;
        }
    }
}
