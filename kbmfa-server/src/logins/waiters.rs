//! Who waits in this process for which login. A wake-up is a hint: whoever wakes reads the row again.

use kbmfa_proto::names::LoginId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Polls that may wait for one login at once: a module has one, and a second while it fails over.
const POLLS_PER_LOGIN: usize = 4;

#[derive(Default)]
pub(super) struct Waiters {
    by_login: Mutex<HashMap<LoginId, Arc<Notify>>>,
}

impl Waiters {
    /// Takes a place in the waiting room; `None` if there are too many there for this login.
    pub(super) fn join(self: &Arc<Self>, id: &LoginId) -> Option<Waiter> {
        let bell = Arc::clone(self.room().entry(id.clone()).or_default());
        let waiter = Waiter { waiters: Arc::clone(self), id: id.clone(), bell };
        // One count is the map's own.
        (Arc::strong_count(&waiter.bell) <= POLLS_PER_LOGIN + 1).then_some(waiter)
    }

    /// Wakes all who wait for this login.
    pub(super) fn wake(&self, id: &LoginId) {
        if let Some(bell) = self.room().get(id) {
            bell.notify_waiters();
        }
    }

    /// How many logins are waited for.
    pub(super) fn len(&self) -> usize {
        self.room().len()
    }

    fn room(&self) -> MutexGuard<'_, HashMap<LoginId, Arc<Notify>>> {
        self.by_login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the waiting room, given back on drop.
pub(super) struct Waiter {
    waiters: Arc<Waiters>,
    id: LoginId,
    bell: Arc<Notify>,
}

impl Waiter {
    /// The bell. A future of it that was made before the row was read misses nothing.
    pub(super) fn bell(&self) -> &Notify {
        &self.bell
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut room = self.waiters.room();
        // Mine and the map's: nobody else waits.
        if Arc::strong_count(&self.bell) <= 2 {
            room.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> LoginId {
        LoginId::from_random([byte; 16])
    }

    #[tokio::test]
    async fn a_wake_up_between_joining_and_waiting_is_not_missed() {
        let waiters = Arc::<Waiters>::default();
        let waiter = waiters.join(&id(1)).unwrap();
        let rung = waiter.bell().notified();
        waiters.wake(&id(2));
        waiters.wake(&id(1));
        rung.await;
    }

    #[test]
    fn places_are_limited_and_given_back() {
        let waiters = Arc::<Waiters>::default();
        let places: Vec<_> = (0..POLLS_PER_LOGIN).map(|_| waiters.join(&id(1)).unwrap()).collect();
        assert!(waiters.join(&id(1)).is_none());
        assert!(waiters.join(&id(2)).is_some());
        assert_eq!(waiters.len(), 1);
        drop(places);
        assert_eq!(waiters.len(), 0);
    }
}
