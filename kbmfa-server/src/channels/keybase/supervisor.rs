//! Supervises the service, the listener and the health check while this server is the leader. It logs each
//! failure, restarts what failed, and then has the answers on all messages read again.

use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

use super::conversations::{self, Conversation};
use super::error::{self, Failure};
use super::health_check::{self, HealthCheck};
use super::process::program::Error;
use super::service::{self, Running, Stop};
use super::settings::Place;
use super::wire::Event;
use super::{FirstStart, Health, Keybase, Leadership, listener};
use crate::channels::{ChatEvent, Message};
use crate::clock::{Clock, SystemClock};
use crate::progress::Progress;

/// First pause before a restart. Each further pause is twice as long, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often the answers on all messages are read again without an event.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(15);

/// How often the members are listed.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(60);

/// Health checks that may fail in succession before Keybase is restarted.
const CHECKS_FAILED_MAX: u32 = 3;

/// Longest time for one step of the supervisor: to start the service, or to log in and check every
/// conversation.
pub const SUPERVISOR_BOUND: Duration = Duration::from_secs(120);

/// Longest time between two health checks. It includes a pause that Keybase's rate limit demands, and the
/// wait for earlier calls.
const HEALTH_CHECK_BOUND: Duration = Duration::from_secs(75);

/// Time to stop the service and its clients when the process ends.
const END_TIME: Duration = Duration::from_secs(8);

impl Keybase {
    /// Keeps Keybase running while this server is the leader, until the process ends.
    pub async fn supervise(&self, progress: Progress) {
        let mut leadership = self.0.leadership.subscribe();
        let mut pause = PAUSE_MIN;
        loop {
            // The value is copied at once, because `wait_for` returns a lock guard.
            let role = async {
                leadership
                    .wait_for(|leadership| *leadership != Leadership::Follower)
                    .await
                    .ok()
                    .map(|leadership| *leadership)
            };
            if progress.waiting(role).await != Some(Leadership::Leader) {
                break;
            }
            let failure = self.run_until_failure(&progress).await;
            pause = if self.known(|known| known.up_since.is_some()) {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            self.record_failure(&failure);
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

    /// Stops the service and its clients gracefully, when the process ends.
    pub async fn end(&self) {
        self.0.leadership.send_replace(Leadership::Ending);
        let mut ended = self.0.ended.subscribe();
        if timeout(END_TIME, ended.wait_for(|ended| *ended)).await.is_err() {
            log::warn!("keybase: did not stop within {END_TIME:?}");
        }
    }

    /// Starts the service and supervises it. Returns when a restart is necessary, or when this server is no
    /// longer the leader.
    async fn run_until_failure(&self, progress: &Progress) -> Failure {
        let Self(inner) = self;
        let mut leadership = inner.leadership.subscribe();
        let mut running = match service::start(&inner.client, &inner.settings).await {
            Ok(running) => running,
            Err(failure) => return failure,
        };
        progress.round().await;
        let (failure, how) = tokio::select! {
            failure = self.run_with_service(&mut running, progress) => (failure, Stop::Graceful),
            leadership = leadership.wait_for(|leadership| *leadership != Leadership::Leader) => match leadership.map(|leadership| *leadership) {
                Ok(Leadership::Follower) => (Failure::Transient("another server posts the asks now".into()), Stop::OwnChild),
                _ => (Failure::Transient("the server is stopping".into()), Stop::Graceful),
            },
        };
        running.stop(&inner.client, how).await;
        failure
    }

    async fn run_with_service(&self, running: &mut Running, progress: &Progress) -> Failure {
        tokio::select! {
            failure = running.wait_for_exit() => failure,
            failure = self.run_tasks(progress) => failure,
        }
    }

    async fn run_tasks(&self, progress: &Progress) -> Failure {
        let check = match self.prepare().await {
            Ok(check) => check,
            Err(failure) => return failure,
        };
        tokio::select! {
            failure = self.listen() => failure,
            failure = self.check_health(check, progress) => failure,
            () = self.reconcile() => Failure::Transient("the reconcile task stopped".into()),
            () = self.refresh_members() => Failure::Transient("the task that lists members stopped".into()),
        }
    }

    /// Checks everything that an ask needs: the login, every conversation, and that a message can be posted.
    async fn prepare(&self) -> Result<HealthCheck, Failure> {
        let (client, settings) = (&self.0.client, &self.0.settings);
        let bot = service::ensure_logged_in(client, settings).await?;
        self.find_conversation(&settings.place).await?;
        let is_first = *self.0.first_start.borrow() == FirstStart::InProgress;
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

    /// Finds a conversation, or checks one that was found before.
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
            if *self.0.first_start.borrow() == FirstStart::InProgress {
                log::info!("keybase: listening");
            }
            self.0.faults.listener.succeeded();
            self.finish_first_start(FirstStart::Done);
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
        listener::run(&self.0.client, ready, |event| self.handle_event(event), lost).await.into()
    }

    /// Ignores events of other conversations, because anybody may chat with the bot, and the bot's own
    /// reactions.
    fn handle_event(&self, event: Event) {
        let is_ours = |id: &str| self.known(|known| known.conversations.values().any(|one| one.id == id));
        match event {
            Event::Reaction { conversation, target, by } => {
                if is_ours(&conversation) && by != self.known(|known| known.bot.clone()) {
                    self.push_event(ChatEvent::Changed(Message(format!("{conversation}:{target}"))));
                }
            }
            // The bot posted this, but not through this service: its call seemed to fail, or another server
            // sent it.
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
        let (mut failed, part) = (0, progress.part("keybase health check", HEALTH_CHECK_BOUND));
        loop {
            progress.round().await;
            part.round().await;
            // A failed call requests a check before the interval is over.
            let _ = timeout(health_check::INTERVAL, self.0.check_now.notified()).await;
            let error = match check.run(&self.0.client).await {
                Ok(()) => {
                    failed = 0;
                    self.check_passed();
                    continue;
                }
                Err(error) => error,
            };
            self.0.faults.health_check.failed(&error);
            let pause = if let Error::Refused { pause: Some(pause), .. } = &error {
                // Another call, or a restart, would only prolong the pause.
                Some((*pause).min(PAUSE_MAX))
            } else {
                failed += 1;
                None
            };
            // A single failure may be a coincidence.
            if failed > 1 || pause.is_some() {
                let why = format!("the health check failed: {error}");
                self.known(|known| known.health.check = Some(why));
            }
            if failed >= CHECKS_FAILED_MAX {
                return Failure::Transient(format!("the health check failed {failed} times: {error}").into());
            }
            sleep(pause.unwrap_or(PAUSE_MIN)).await;
            self.0.check_now.notify_one();
        }
    }

    fn check_passed(&self) {
        self.0.faults.health_check.succeeded();
        self.0.faults.down.succeeded();
        if self.known(|known| known.health.check.take()).is_some() {
            self.push_event(ChatEvent::Missed);
        }
    }

    async fn reconcile(&self) {
        loop {
            sleep(RECONCILE_INTERVAL).await;
            self.push_event(ChatEvent::Missed);
        }
    }

    /// Lists the members at intervals. After two failures Keybase counts as down, because no answer counts
    /// without a list of members. A single failure may be a coincidence.
    async fn refresh_members(&self) {
        let mut failures = 0;
        loop {
            match self.people_at(&self.0.settings.place).await {
                Ok(members) => {
                    failures = 0;
                    self.0.faults.members.succeeded();
                    self.publish_members(&members);
                    self.known(|known| known.health.members = None);
                    sleep(MEMBERS_INTERVAL).await;
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

    fn record_failure(&self, failure: &Failure) {
        let fault = failure.fault();
        self.known(|known| {
            known.health = Health::down(&fault.to_string());
            known.up_since = None;
        });
        self.0.faults.down.failed(fault);
        self.finish_first_start(match failure {
            Failure::Permanent(fault) => FirstStart::Fatal(fault.clone()),
            Failure::Transient(_) => FirstStart::Done,
        });
    }
}
