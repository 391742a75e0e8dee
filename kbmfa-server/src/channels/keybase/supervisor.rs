//! Watching over Keybase while it is this server's turn: service, listener, heart-beat. Whatever fails is told, started
//! again, and looked at anew from the live messages.

use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

use super::conversations::{self, Conversation};
use super::error::{self, Failure};
use super::health_check::{self, HealthCheck};
use super::process::program::Error;
use super::service::{self, Running, Stop};
use super::settings::Place;
use super::wire::Event;
use super::{First, Health, Keybase, Leadership, listener};
use crate::channels::{ChatEvent, Message};
use crate::clock::{Clock, SystemClock};
use crate::progress::Progress;

/// First pause before everything is started again; each is twice as long ..
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// .. up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often all that stands is looked at again, whatever was heard.
const RECONCILE: Duration = Duration::from_secs(15);

/// How often the members are listed.
const LIST_MEMBERS: Duration = Duration::from_secs(60);

/// Beats that fail one after the other before everything is started again.
const CHECKS_FAILED_MAX: u32 = 3;

/// Longest time for one step of the supervisor: the service's start, or the log-in and a look at every conversation.
pub const SUPERVISOR_BOUND: Duration = Duration::from_secs(120);

/// Longest time between two heart-beats: a pause that Keybase asks for, and calls of others that are waited for.
const HEALTH_CHECK_BOUND: Duration = Duration::from_secs(75);

/// Time for everything to be stopped when the process ends.
const END_TIME: Duration = Duration::from_secs(8);

impl Keybase {
    /// Keeps Keybase up while it is this server's turn, until the process ends.
    pub async fn supervise(&self, progress: Progress) {
        let mut leadership = self.0.leadership.subscribe();
        let mut pause = PAUSE_MIN;
        loop {
            // Copied at once: what `wait_for` returns is a lock.
            let news = async {
                leadership
                    .wait_for(|leadership| *leadership != Leadership::Follower)
                    .await
                    .ok()
                    .map(|leadership| *leadership)
            };
            if progress.waiting(news).await != Some(Leadership::Leader) {
                break;
            }
            let failure = self.keep_up(&progress).await;
            pause = if self.known(|known| known.up_since.is_some()) {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            self.is_down(&failure);
            self.0.client.end().await;
            if error::is_leftover(failure.fault()) {
                service::stop_leftover(&self.0.client, &self.0.settings).await;
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = leadership.wait_for(|leadership| *leadership != Leadership::Leader) => {}
            }
        }
        self.0.ended.send_replace(true);
        std::future::pending::<()>().await;
    }

    /// Stops everything in good order, when the process ends.
    pub async fn end(&self) {
        self.0.leadership.send_replace(Leadership::Ending);
        let mut ended = self.0.ended.subscribe();
        if timeout(END_TIME, ended.wait_for(|ended| *ended)).await.is_err() {
            log::warn!("relay keybase did not stop within {END_TIME:?}");
        }
    }

    /// Starts everything and stays with it. Returns when it has to be started anew, or it is no longer our turn.
    async fn keep_up(&self, progress: &Progress) -> Failure {
        let Self(inner) = self;
        let mut leadership = inner.leadership.subscribe();
        let mut running = match service::start(&inner.client, &inner.settings).await {
            Ok(running) => running,
            Err(failure) => return failure,
        };
        progress.round().await;
        let (failure, how) = tokio::select! {
            failure = self.be_up(&mut running, progress) => (failure, Stop::InOrder),
            leadership = leadership.wait_for(|leadership| *leadership != Leadership::Leader) => match leadership.map(|leadership| *leadership) {
                Ok(Leadership::Follower) => (Failure::Transient("another server carries the asks".into()), Stop::OnlyOurs),
                _ => (Failure::Transient("the server has ended".into()), Stop::InOrder),
            },
        };
        running.stop(&inner.client, how).await;
        failure
    }

    async fn be_up(&self, running: &mut Running, progress: &Progress) -> Failure {
        tokio::select! {
            failure = running.ends() => failure,
            failure = self.work(progress) => failure,
        }
    }

    async fn work(&self, progress: &Progress) -> Failure {
        let check = match self.begin().await {
            Ok(check) => check,
            Err(failure) => return failure,
        };
        tokio::select! {
            failure = self.listen() => failure,
            failure = self.check_health(check, progress) => failure,
            () = self.reconcile() => Failure::Transient("nobody looks any more".into()),
            () = self.list_members() => Failure::Transient("nobody lists members any more".into()),
        }
    }

    /// Makes sure of everything that an ask needs.
    async fn begin(&self) -> Result<HealthCheck, Failure> {
        let (client, settings) = (&self.0.client, &self.0.settings);
        let bot = service::log_in(client, settings).await?;
        self.find_conversation(&settings.place).await?;
        let is_first = *self.0.first.borrow() == First::UnderWay;
        let mut is_each_found = true;
        for destination in &self.0.destinations {
            let place: Place = destination.parse().map_err(|why: String| Failure::Permanent(why.into()))?;
            match self.find_conversation(&place).await {
                Err(failure) if !is_first => {
                    is_each_found = false;
                    self.0.faults.destination.failed(format_args!("{destination}: {}", failure.fault()));
                }
                found => drop(found?),
            }
        }
        if is_each_found {
            self.0.faults.destination.succeeded();
        }
        let check = HealthCheck::begin(client, settings.username.as_str()).await?;
        let listener = Some((Instant::now(), "the listener is starting".to_owned()));
        self.known(|known| {
            known.bot = bot;
            known.health = Health { service: None, listener, check: None, members: None };
        });
        Ok(check)
    }

    /// Finds a conversation, or makes sure of one that was found before.
    pub(super) async fn find_conversation(&self, place: &Place) -> Result<Conversation, Failure> {
        let before = self.known(|known| known.conversations.get(place).cloned());
        let conversation =
            conversations::find(&self.0.client, &self.0.settings, place, before.as_ref()).await?;
        self.known(|known| known.conversations.insert(place.clone(), conversation.clone()));
        Ok(conversation)
    }

    async fn listen(&self) -> Failure {
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
            self.push_event(ChatEvent::Missed);
        };
        let lost = |error: &Error| {
            self.0.faults.listener.failed(error);
            let since = (Instant::now(), error.to_string());
            self.known(|known| {
                known.health.listener.get_or_insert(since);
            });
            self.push_event(ChatEvent::Missed);
        };
        listener::run(&self.0.client, ready, |event| self.heard(event), lost).await.into()
    }

    /// Whoever likes may chat with the bot: only the conversations matter, and the bot's own reactions tell nothing.
    fn heard(&self, event: Event) {
        let is_ours = |id: &str| self.known(|known| known.conversations.values().any(|one| one.id == id));
        match event {
            Event::Reaction { conversation, target, by } => {
                if is_ours(&conversation) && by != self.known(|known| known.bot.clone()) {
                    self.push_event(ChatEvent::Changed(Message(format!("{conversation}:{target}"))));
                }
            }
            // The bot's, but not by way of this service: a post that was taken for lost, or another server's.
            Event::Text { conversation, message, by } => {
                if is_ours(&conversation) && by == self.known(|known| known.bot.clone()) {
                    self.push_event(ChatEvent::Changed(Message(format!("{conversation}:{message}"))));
                }
            }
            Event::Deletion { conversation } => {
                if is_ours(&conversation) {
                    self.push_event(ChatEvent::Missed);
                }
            }
            Event::Unclear => self.push_event(ChatEvent::Missed),
            Event::Other => {}
        }
    }

    async fn check_health(&self, mut check: HealthCheck, progress: &Progress) -> Failure {
        let (mut failed, part) = (0, progress.part("keybase heartbeat", HEALTH_CHECK_BOUND));
        loop {
            progress.round().await;
            part.round().await;
            // Somebody who was let down may want to know sooner.
            let _ = timeout(health_check::INTERVAL, self.0.check_now.notified()).await;
            let error = match check.run(&self.0.client).await {
                Ok(()) => {
                    failed = 0;
                    self.check_passed();
                    continue;
                }
                Err(error) => error,
            };
            self.0.faults.heart.failed(&error);
            let pause = if let Error::Refused { pause: Some(pause), .. } = &error {
                // Asking again, or starting anew, would only make it longer.
                Some((*pause).min(PAUSE_MAX))
            } else {
                failed += 1;
                None
            };
            // One alone may be chance.
            if failed > 1 || pause.is_some() {
                let why = format!("the heart-beat failed: {error}");
                self.known(|known| known.health.check = Some(why));
            }
            if failed >= CHECKS_FAILED_MAX {
                return Failure::Transient(format!("the heart-beat failed {failed} times: {error}").into());
            }
            sleep(pause.unwrap_or(PAUSE_MIN)).await;
            self.0.check_now.notify_one();
        }
    }

    fn check_passed(&self) {
        self.0.faults.heart.succeeded();
        self.0.faults.down.succeeded();
        if self.known(|known| known.health.check.take()).is_some() {
            self.push_event(ChatEvent::Missed);
        }
    }

    async fn reconcile(&self) {
        loop {
            sleep(RECONCILE).await;
            self.push_event(ChatEvent::Missed);
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

    fn is_down(&self, failure: &Failure) {
        let fault = failure.fault();
        self.known(|known| {
            known.health = Health::down(&fault.to_string());
            known.up_since = None;
        });
        self.0.faults.down.failed(fault);
        self.first_ended(match failure {
            Failure::Permanent(fault) => First::Fatal(fault.clone()),
            Failure::Transient(_) => First::Done,
        });
    }
}
