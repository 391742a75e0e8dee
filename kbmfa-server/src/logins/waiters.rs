//! Who waits in this process for which login. A wake-up is a hint: whoever wakes reads the row again.

use kbmfa_proto::names::LoginId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Polls that may wait for one login at once: a module has one, and a second while it fails over.
const POLLS_PER_LOGIN: usize = 4;

#[derive(Default)]
pub(super) struct Waiters {
    by_login: Mutex<HashMap<LoginId, Room>>,
}

/// Those who wait for one login.
#[derive(Default)]
struct Room {
    bell: Arc<Notify>,
    waiters: usize,
}

impl Waiters {
    /// Takes a place; `None` if too many wait for this login already.
    pub(super) fn join(self: &Arc<Self>, id: &LoginId) -> Option<Waiter> {
        let mut rooms = self.rooms();
        let room = rooms.entry(id.clone()).or_default();
        if room.waiters >= POLLS_PER_LOGIN {
            return None;
        }
        room.waiters += 1;
        Some(Waiter { waiters: Arc::clone(self), id: id.clone(), bell: Arc::clone(&room.bell) })
    }

    /// Wakes all who wait for this login.
    pub(super) fn wake(&self, id: &LoginId) {
        if let Some(room) = self.rooms().get(id) {
            room.bell.notify_waiters();
        }
    }

    /// How many logins are waited for.
    pub(super) fn len(&self) -> usize {
        self.rooms().len()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<LoginId, Room>> {
        self.by_login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who wait, given back on drop.
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
        let mut rooms = self.waiters.rooms();
        if let Some(room) = rooms.get_mut(&self.id) {
            room.waiters = room.waiters.saturating_sub(1);
            if room.waiters == 0 {
                rooms.remove(&self.id);
            }
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
