//! Remembers for a moment that this process holds the outbox's lease. The monitor renews the lease each
//! second, so the worker needs no write transaction before each call to the chat.

use std::time::Duration;

use super::LEASE;
use crate::clock::Time;
use crate::db::{Db, Error, lease};
use crate::shared::Shared;

/// Time for which a renewal is trusted. The lease lasts at least 5 s after a renewal ([`lease::LEAST`]), so
/// half of that is left when a call to the chat begins.
const GOOD_FOR: Duration = Duration::from_millis(2_500);

/// The lease, as this process last saw it.
pub(super) struct LeaseToken {
    db: Db,
    holder: lease::Holder,
    held: Shared<Option<Held>>,
}

/// Since when this process has held the lease without a break, and the time of the last renewal. Both are by
/// the lease's own clock, which goes on while a computer sleeps.
#[derive(Debug, Clone, Copy)]
struct Held {
    since: Time,
    seen_at: Time,
}

impl LeaseToken {
    pub(super) fn new(db: Db, holder: lease::Holder) -> Self {
        Self { db, holder, held: Shared::new(None) }
    }

    /// Takes or renews the lease; false while another server holds it.
    pub(super) async fn renew(&self) -> Result<bool, Error> {
        let (holder, asked_at) = (self.holder.clone(), self.db.now());
        let is_held = self.db.write("outbox.lease", move |tx| lease::hold(tx, LEASE, &holder)).await?;
        let now = self.db.now();
        self.held.with(|held| {
            let since =
                held.filter(|held| is_unbroken(held.seen_at, asked_at)).map_or(now, |held| held.since);
            *held = is_held.then_some(Held { since, seen_at: asked_at });
        });
        Ok(is_held)
    }

    /// True if this process holds the lease. Uses the database only if the last renewal is too old.
    pub(super) async fn is_held(&self) -> Result<bool, Error> {
        let now = self.db.now();
        match self.held.get() {
            Some(held) if is_good(held.seen_at, now) => Ok(true),
            _ => self.renew().await,
        }
    }

    /// Since when no other process can have held the lease; `None` if this process does not hold it.
    pub(super) fn held_since(&self) -> Option<Time> {
        self.held.get().map(|held| held.since)
    }

    /// The holder's name, for a transaction that checks the lease itself.
    pub(super) fn holder(&self) -> &lease::Holder {
        &self.holder
    }
}

/// True if the lease cannot have ended between two successful renewals, because it lasts at least
/// [`lease::LEAST`] after each.
fn is_unbroken(seen_at: Time, asked_at: Time) -> bool {
    seen_at <= asked_at && asked_at.since(seen_at) < lease::LEAST
}

/// True if a renewal is recent. A renewal in the future is not: it was made before the clock was set back.
fn is_good(at: Time, now: Time) -> bool {
    at <= now && now.since(at) < GOOD_FOR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{Fixture, fixture};

    fn is_held(token: &LeaseToken) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(token.is_held()).unwrap()
    }

    fn transactions(fixture: &Fixture) -> u64 {
        fixture.db.counters().0
    }

    #[test]
    fn calls_in_quick_succession_look_at_the_lease_once_and_later_ones_again() {
        let fixture = fixture();
        let token = LeaseToken::new(fixture.db.clone(), lease::Holder::this_process());
        assert!(is_held(&token));
        let once = transactions(&fixture);
        for _ in 0..4 {
            assert!(is_held(&token));
        }
        assert_eq!(transactions(&fixture), once, "a fresh look opens no write transaction");
        fixture.clock.advance(GOOD_FOR);
        assert!(is_held(&token));
        assert_eq!(transactions(&fixture), once + 1);
    }

    #[test]
    fn a_lease_that_another_server_holds_is_looked_at_each_time() {
        let fixture = fixture();
        let other = LeaseToken::new(fixture.db.clone(), lease::Holder::this_process());
        assert!(is_held(&other));
        let elsewhere = lease::Holder::elsewhere();
        let token = LeaseToken::new(fixture.db.clone(), elsewhere);
        assert!(!is_held(&token));
        let once = transactions(&fixture);
        assert!(!is_held(&token));
        assert_eq!(transactions(&fixture), once + 1, "a refusal is not remembered");
    }

    #[test]
    fn a_look_from_before_the_clock_was_set_back_is_worth_nothing() {
        let now = Time::from_micros(10_000_000);
        assert!(is_good(now, now));
        assert!(!is_good(now + Duration::from_micros(1), now));
        assert!(!is_good(now, now + GOOD_FOR));
    }
}
