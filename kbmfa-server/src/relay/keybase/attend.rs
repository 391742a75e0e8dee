//! Watching over Keybase while it is this server's turn: service, listener, heart-beat. Whatever fails is told, started
//! again, and looked at anew from the live messages.

use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

use super::heart::{self, Heart};
use super::program::Error;
use super::rooms::{self, Room};
use super::service::{self, Running, Stop};
use super::settings::Place;
use super::trouble::{self, Trouble};
use super::wire::Event;
use super::{First, Health, Keybase, Turn, listener};
use crate::clock::{Clock, SystemClock};
use crate::progress::Progress;
use crate::relay::{Hint, Message};

/// First pause before everything is started again; each is twice as long ..
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// .. up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often all that stands is looked at again, whatever was heard.
const RECONCILE: Duration = Duration::from_secs(15);

/// How often the members are listed.
const LIST_MEMBERS: Duration = Duration::from_secs(60);

/// Beats that fail one after the other before everything is started again.
const BEATS_MISSED_MAX: u32 = 3;

/// Longest time for one step of the supervisor: the service's start, or the log-in and a look at every room.
pub const SUPERVISOR_BOUND: Duration = Duration::from_secs(120);

/// Longest time between two heart-beats: a pause that Keybase asks for, and calls of others that are waited for.
const HEARTBEAT_BOUND: Duration = Duration::from_secs(75);

/// Time for everything to be stopped when the process ends.
const END_TIME: Duration = Duration::from_secs(8);

impl Keybase {
    /// Keeps Keybase up while it is this server's turn, until the process ends.
    pub async fn attend(&self, progress: Progress) {
        let mut turn = self.0.turn.subscribe();
        let mut pause = PAUSE_MIN;
        loop {
            // Copied at once: what `wait_for` returns is a lock.
            let news = async { turn.wait_for(|turn| *turn != Turn::NotMine).await.ok().map(|turn| *turn) };
            if progress.waiting(news).await != Some(Turn::Mine) {
                break;
            }
            let trouble = self.keep_up(&progress).await;
            pause = if self.known(|known| known.up_since.is_some()) {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            self.is_down(&trouble);
            self.0.client.end().await;
            if trouble::is_leftover(trouble.fault()) {
                service::stop_leftover(&self.0.client, &self.0.settings).await;
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = turn.wait_for(|turn| *turn != Turn::Mine) => {}
            }
        }
        self.0.ended.send_replace(true);
        std::future::pending::<()>().await;
    }

    /// Stops everything in good order, when the process ends.
    pub async fn end(&self) {
        self.0.turn.send_replace(Turn::Ending);
        let mut ended = self.0.ended.subscribe();
        if timeout(END_TIME, ended.wait_for(|ended| *ended)).await.is_err() {
            log::warn!("relay keybase did not stop within {END_TIME:?}");
        }
    }

    /// Starts everything and stays with it. Returns when it has to be started anew, or it is no longer our turn.
    async fn keep_up(&self, progress: &Progress) -> Trouble {
        let Self(inner) = self;
        let mut turn = inner.turn.subscribe();
        let mut running = match service::start(&inner.client, &inner.settings).await {
            Ok(running) => running,
            Err(trouble) => return trouble,
        };
        progress.round().await;
        let (trouble, how) = tokio::select! {
            trouble = self.be_up(&mut running, progress) => (trouble, Stop::InOrder),
            turn = turn.wait_for(|turn| *turn != Turn::Mine) => match turn.map(|turn| *turn) {
                Ok(Turn::NotMine) => (Trouble::Passing("another server carries the asks".into()), Stop::OnlyOurs),
                _ => (Trouble::Passing("the server has ended".into()), Stop::InOrder),
            },
        };
        running.stop(&inner.client, how).await;
        trouble
    }

    async fn be_up(&self, running: &mut Running, progress: &Progress) -> Trouble {
        tokio::select! {
            trouble = running.ends() => trouble,
            trouble = self.work(progress) => trouble,
        }
    }

    async fn work(&self, progress: &Progress) -> Trouble {
        let heart = match self.begin().await {
            Ok(heart) => heart,
            Err(trouble) => return trouble,
        };
        tokio::select! {
            trouble = self.listen() => trouble,
            trouble = self.beat(heart, progress) => trouble,
            () = self.reconcile() => Trouble::Passing("nobody looks any more".into()),
            () = self.list_members() => Trouble::Passing("nobody lists members any more".into()),
        }
    }

    /// Makes sure of everything that an ask needs.
    async fn begin(&self) -> Result<Heart, Trouble> {
        let (client, settings) = (&self.0.client, &self.0.settings);
        let bot = service::log_in(client, settings).await?;
        self.find_room(&settings.place).await?;
        let is_first = *self.0.first.borrow() == First::UnderWay;
        let mut is_each_found = true;
        for destination in &self.0.destinations {
            let place: Place = destination.parse().map_err(|why: String| Trouble::Fatal(why.into()))?;
            match self.find_room(&place).await {
                Err(trouble) if !is_first => {
                    is_each_found = false;
                    self.0.faults.destination.failed(format_args!("{destination}: {}", trouble.fault()));
                }
                found => drop(found?),
            }
        }
        if is_each_found {
            self.0.faults.destination.succeeded();
        }
        let heart = Heart::begin(client, settings.username.as_str()).await?;
        let listener = Some((Instant::now(), "the listener is starting".to_owned()));
        self.known(|known| {
            known.bot = bot;
            known.health = Health { service: None, listener, heart: None, members: None };
        });
        Ok(heart)
    }

    /// Finds a conversation, or makes sure of one that was found before.
    pub(super) async fn find_room(&self, place: &Place) -> Result<Room, Trouble> {
        let before = self.known(|known| known.rooms.get(place).cloned());
        let room = rooms::find(&self.0.client, &self.0.settings, place, before.as_ref()).await?;
        self.known(|known| known.rooms.insert(place.clone(), room.clone()));
        Ok(room)
    }

    async fn listen(&self) -> Trouble {
        let ready = || {
            let now = SystemClock.now();
            self.known(|known| {
                known.health.listener = None;
                known.up_since.get_or_insert(now);
            });
            if *self.0.first.borrow() == First::UnderWay {
                log::info!("relay keybase: listening");
            }
            self.0.faults.listener.succeeded();
            self.first_ended(First::Done);
            self.hint(Hint::Any);
        };
        let lost = |error: &Error| {
            self.0.faults.listener.failed(error);
            let since = (Instant::now(), error.to_string());
            self.known(|known| {
                known.health.listener.get_or_insert(since);
            });
            self.hint(Hint::Any);
        };
        listener::run(&self.0.client, ready, |event| self.heard(event), lost).await.into()
    }

    /// Whoever likes may chat with the bot: only the rooms matter, and the bot's own reactions tell nothing.
    fn heard(&self, event: Event) {
        let is_room =
            |conversation: &str| self.known(|known| known.rooms.values().any(|room| room.id == conversation));
        match event {
            Event::Reaction { conversation, target, by } => {
                if is_room(&conversation) && by != self.known(|known| known.bot.clone()) {
                    self.hint(Hint::One(Message(format!("{conversation}:{target}"))));
                }
            }
            // The bot's, but not by way of this service: a post that was taken for lost, or another server's.
            Event::Text { conversation, message, by } => {
                if is_room(&conversation) && by == self.known(|known| known.bot.clone()) {
                    self.hint(Hint::One(Message(format!("{conversation}:{message}"))));
                }
            }
            Event::Deletion { conversation } => {
                if is_room(&conversation) {
                    self.hint(Hint::Any);
                }
            }
            Event::Unclear => self.hint(Hint::Any),
            Event::Other => {}
        }
    }

    async fn beat(&self, mut heart: Heart, progress: &Progress) -> Trouble {
        let (mut missed, beat) = (0, progress.part("keybase heartbeat", HEARTBEAT_BOUND));
        loop {
            progress.round().await;
            beat.round().await;
            // Somebody who was let down may want to know sooner.
            let _ = timeout(heart::INTERVAL, self.0.beat_now.notified()).await;
            let error = match heart.beat(&self.0.client).await {
                Ok(()) => {
                    missed = 0;
                    self.heart_is_well();
                    continue;
                }
                Err(error) => error,
            };
            self.0.faults.heart.failed(&error);
            let pause = if let Error::Refused { pause: Some(pause), .. } = &error {
                // Asking again, or starting anew, would only make it longer.
                Some((*pause).min(PAUSE_MAX))
            } else {
                missed += 1;
                None
            };
            // One alone may be chance.
            if missed > 1 || pause.is_some() {
                let why = format!("the heart-beat failed: {error}");
                self.known(|known| known.health.heart = Some(why));
            }
            if missed >= BEATS_MISSED_MAX {
                return Trouble::Passing(format!("the heart-beat failed {missed} times: {error}").into());
            }
            sleep(pause.unwrap_or(PAUSE_MIN)).await;
            self.0.beat_now.notify_one();
        }
    }

    fn heart_is_well(&self) {
        self.0.faults.heart.succeeded();
        self.0.faults.down.succeeded();
        if self.known(|known| known.health.heart.take()).is_some() {
            self.hint(Hint::Any);
        }
    }

    async fn reconcile(&self) {
        loop {
            sleep(RECONCILE).await;
            self.hint(Hint::Any);
        }
    }

    /// Without a list of members nobody's answer could count. One failure alone may be chance.
    async fn list_members(&self) {
        let mut failures = 0;
        loop {
            match self.electors(&self.0.settings.place).await {
                Ok(members) => {
                    failures = 0;
                    self.0.faults.members.succeeded();
                    self.note_members(&members);
                    self.known(|known| known.health.members = None);
                    sleep(LIST_MEMBERS).await;
                }
                Err(error) => {
                    failures += 1;
                    self.0.faults.members.failed(&error);
                    if failures > 1 {
                        let why = format!("the members cannot be listed: {error}");
                        self.known(|known| known.health.members = Some(why));
                    }
                    sleep(PAUSE_MIN * 3).await;
                }
            }
        }
    }

    fn is_down(&self, trouble: &Trouble) {
        let fault = trouble.fault();
        self.known(|known| {
            known.health = Health::down(&fault.to_string());
            known.up_since = None;
        });
        self.0.faults.down.failed(fault);
        self.first_ended(match trouble {
            Trouble::Fatal(fault) => First::Fatal(fault.clone()),
            Trouble::Passing(_) => First::Done,
        });
    }
}
