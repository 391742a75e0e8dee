//! Watching over Keybase while it is this server's turn: service, listener, heart-beat. Whatever fails is told, started
//! again, and looked at anew from the live messages.

use std::time::Duration;
use tokio::time::{sleep, timeout};

use super::heart::{self, Heart};
use super::trouble::Trouble;
use super::wire::Event;
use super::{First, Health, Keybase, listener, rooms, service};
use crate::clock::{Clock, SystemClock};
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

impl Keybase {
    /// Keeps Keybase up while it is this server's turn, until the process ends.
    pub async fn attend(&self) {
        let mut turn = self.0.turn.subscribe();
        let mut pause = PAUSE_MIN;
        while turn.wait_for(|mine| *mine).await.is_ok() {
            let trouble = tokio::select! {
                trouble = self.keep_up() => trouble,
                _ = turn.wait_for(|mine| !*mine) => Trouble::Passing("another server carries the asks".into()),
            };
            pause = if self.known().up_since.is_some() { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            self.go_down(&trouble).await;
            tokio::select! {
                () = sleep(pause) => {}
                _ = turn.wait_for(|mine| !*mine) => {}
            }
        }
    }

    /// Stops a service of our own in good order, when the process ends.
    pub async fn end(&self) {
        if *self.0.turn.borrow() {
            self.go_down(&Trouble::Passing("the server has ended".into())).await;
        }
    }

    /// Starts everything and stays with it. Returns when it has to be started anew.
    async fn keep_up(&self) -> Trouble {
        let Self(inner) = self;
        let mut running = match service::start(&inner.client, &inner.settings).await {
            Ok(running) => running,
            Err(trouble) => return trouble,
        };
        tokio::select! {
            trouble = running.ends() => trouble,
            trouble = self.be_up() => trouble,
        }
    }

    async fn be_up(&self) -> Trouble {
        let heart = match self.begin().await {
            Ok(heart) => heart,
            Err(trouble) => return trouble,
        };
        tokio::select! {
            trouble = self.listen() => trouble,
            trouble = self.beat(heart) => trouble,
            () = self.reconcile() => Trouble::Passing("nobody looks any more".into()),
            () = self.list_members() => Trouble::Passing("nobody lists members any more".into()),
        }
    }

    /// Makes sure of everything that an ask needs.
    async fn begin(&self) -> Result<Heart, Trouble> {
        let (client, settings) = (&self.0.client, &self.0.settings);
        let bot = service::log_in(client, settings).await?;
        let room = rooms::find(client, settings, &settings.place).await?;
        let heart = Heart::begin(client, settings.username.as_str()).await?;
        let mut known = self.known();
        known.bot = bot;
        known.rooms = [(settings.place.clone(), room)].into();
        known.health =
            Health { service: None, listener: Some("the listener is starting".into()), heart: None };
        Ok(heart)
    }

    async fn listen(&self) -> Trouble {
        let ready = || {
            let mut known = self.known();
            known.health.listener = None;
            known.up_since.get_or_insert_with(|| SystemClock.now());
            drop(known);
            log::info!("relay keybase: listening");
            self.0.first.send_if_modified(|first| std::mem::replace(first, First::Done) != First::Done);
            self.hint(Hint::Any);
        };
        let lost = |error: &super::program::Error| {
            log::warn!("relay {error}");
            self.known().health.listener = Some(error.to_string());
            self.hint(Hint::Any);
        };
        listener::run(&self.0.client, ready, |event| self.heard(event), lost).await.into()
    }

    /// The bot's own reactions tell nothing; all else is looked up.
    fn heard(&self, event: Event) {
        match event {
            Event::Reaction { by, .. } if by == self.known().bot => {}
            Event::Reaction { conversation, target, .. } => {
                self.hint(Hint::One(Message(format!("{conversation}:{target}"))));
            }
            Event::Deletion { .. } | Event::Unclear => self.hint(Hint::Any),
            Event::Other => {}
        }
    }

    async fn beat(&self, mut heart: Heart) -> Trouble {
        let mut missed = 0;
        loop {
            // Somebody who was let down may want to know sooner.
            let _ = timeout(heart::INTERVAL, self.0.beat_now.notified()).await;
            let beaten = heart.beat(&self.0.client).await;
            let was_down = self.known().health.heart.is_some();
            match beaten {
                Ok(()) => {
                    missed = 0;
                    self.known().health.heart = None;
                    if was_down {
                        log::info!("relay keybase: the heart-beat is back");
                        self.hint(Hint::Any);
                    }
                }
                Err(error) => {
                    missed += 1;
                    log::warn!("relay keybase: the heart-beat failed: {error}");
                    self.known().health.heart = Some(format!("the heart-beat failed: {error}"));
                    if missed >= BEATS_MISSED_MAX {
                        return Trouble::Passing(format!("the heart-beat failed {missed} times: {error}"));
                    }
                    sleep(PAUSE_MIN).await;
                    self.0.beat_now.notify_one();
                }
            }
        }
    }

    async fn reconcile(&self) {
        loop {
            sleep(RECONCILE).await;
            self.hint(Hint::Any);
        }
    }

    async fn list_members(&self) {
        loop {
            match self.electors(&self.0.settings.place).await {
                Ok(members) => self.note_members(&members),
                Err(error) => log::warn!("relay keybase: the members cannot be listed: {error}"),
            }
            sleep(LIST_MEMBERS).await;
        }
    }

    async fn go_down(&self, trouble: &Trouble) {
        {
            let mut known = self.known();
            known.health = Health { service: Some(trouble.why().to_owned()), listener: None, heart: None };
            known.up_since = None;
        }
        log::warn!("relay keybase is down: {}", trouble.why());
        self.0.first.send_if_modified(|first| {
            let is_first = *first == First::UnderWay;
            if is_first {
                *first = match trouble {
                    Trouble::Fatal(why) => First::Fatal(why.clone()),
                    Trouble::Passing(_) => First::Done,
                };
            }
            is_first
        });
        if matches!(self.0.settings.service, super::settings::Service::Own { .. }) {
            service::stop(&self.0.client).await;
        }
        self.0.client.end().await;
    }
}
