//! Publishes the chat's state to `relay_state`, renews the outbox's lease, and posts the audit log's head
//! daily. It is a separate task, so that a slow call to the chat does not make the chat look dead.

use std::time::Duration;

use super::lease_token::LeaseToken;
use crate::channels::{Chat, State};
use crate::clock::Time;
use crate::fault_log::FaultLog;
use crate::logins::Error;
use crate::long_poll::Logins;
use crate::progress::Progress;
use crate::usecases::chat as usecase;

/// Interval of its rounds. The lease lasts longer.
const INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which an unchanged state is published again. Shorter than `reach::SAID_FOR`, after which it
/// would no longer count.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// Interval between two posts of the audit log's head.
const TELL_HEAD: Duration = Duration::from_secs(24 * 60 * 60);
/// Interval between two checks whether a post of the head is due.
const LOOK_AT_HEAD: Duration = Duration::from_secs(600);

/// The monitor of one chat.
pub(super) struct RelayMonitor<'a, C> {
    pub(super) logins: &'a Logins,
    pub(super) chat: &'a C,
    pub(super) token: &'a LeaseToken,
    pub(super) progress: Progress,
}

/// The last published state and its time, and the time of the last check of the head.
#[derive(Default)]
struct Published {
    state: Option<(Option<String>, Time)>,
    head: Option<Time>,
}

impl<C: Chat> RelayMonitor<'_, C> {
    pub(super) async fn run(&self) {
        let (mut published, mut faults) = (Published::default(), FaultLog::new("relay monitor"));
        loop {
            self.progress.round().await;
            faults.note(self.look(&mut published).await);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn look(&self, published: &mut Published) -> Result<(), Error> {
        let is_mine = self.token.renew().await?;
        self.chat.set_leader(is_mine);
        self.logins.set_carries_asks(is_mine);
        if !is_mine {
            *published = Published::default();
            return Ok(());
        }
        let why_down = match self.chat.state() {
            State::Starting => return Ok(()),
            State::Up => None,
            State::Down(why) => Some(why),
        };
        let is_up = why_down.is_none();
        self.record_state(why_down, published).await?;
        if is_up { self.post_head(published).await } else { Ok(()) }
    }

    async fn record_state(&self, why_down: Option<String>, published: &mut Published) -> Result<(), Error> {
        let (chat, now) = (self.chat.channel(), self.logins.db().now());
        let before = published.state.as_ref();
        let is_old = before.is_none_or(|(was, at)| *was != why_down || now.since(*at) >= SAY_AGAIN);
        let members = if why_down.is_none() { self.chat.members() } else { None };
        if !is_old && members.is_none() {
            return Ok(());
        }
        let news = why_down.clone();
        let write = self.logins.db().write("relay.state", move |tx| {
            usecase::publish_state(tx, chat, news.as_deref(), members.as_deref())
        });
        write.await?;
        if before.is_none_or(|(was, _)| *was != why_down) {
            // Work may have become due while the chat was down.
            self.logins.notify_outbox();
        }
        published.state = Some((why_down, now));
        Ok(())
    }

    async fn post_head(&self, published: &mut Published) -> Result<(), Error> {
        let now = self.logins.db().now();
        if published.head.is_some_and(|at| now.since(at) < LOOK_AT_HEAD) {
            return Ok(());
        }
        published.head = Some(now);
        let rules = self.logins.rules();
        let told = self.logins.db().write("head.told", move |tx| usecase::post_head(tx, &rules, TELL_HEAD));
        if told.await? {
            self.logins.notify_outbox();
        }
        Ok(())
    }
}
