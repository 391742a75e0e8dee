//! The polls that wait in this process, by login. A poll that is woken reads the login's row again.

use kbmfa_proto::names::LoginId;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Notify;

use crate::shared::Shared;

/// Maximum number of waiting polls per login. A module has one, and a second one while it fails over.
const POLLS_PER_LOGIN: usize = 4;

#[derive(Default)]
pub(super) struct Waiters {
    by_login: Shared<HashMap<LoginId, Room>>,
}

/// The polls that wait for one login.
#[derive(Default)]
struct Room {
    bell: Arc<Notify>,
    waiters: usize,
}

impl Waiters {
    /// Adds a poll; `None` if too many wait for this login.
    pub(super) fn join(self: &Arc<Self>, id: &LoginId) -> Option<Waiter> {
        let bell = self.by_login.with(|rooms| {
            let room = rooms.entry(id.clone()).or_default();
            let has_place = room.waiters < POLLS_PER_LOGIN;
            room.waiters += usize::from(has_place);
            has_place.then(|| Arc::clone(&room.bell))
        })?;
        Some(Waiter { waiters: Arc::clone(self), id: id.clone(), bell })
    }

    /// Wakes all polls of this login.
    pub(super) fn wake(&self, id: &LoginId) {
        let bell = self.by_login.with(|rooms| rooms.get(id).map(|room| Arc::clone(&room.bell)));
        if let Some(bell) = bell {
            bell.notify_waiters();
        }
    }

    /// Number of logins with a waiting poll.
    pub(super) fn len(&self) -> usize {
        self.by_login.with(|rooms| rooms.len())
    }
}

/// A waiting poll, removed on drop.
pub(super) struct Waiter {
    waiters: Arc<Waiters>,
    id: LoginId,
    bell: Arc<Notify>,
}

impl Waiter {
    /// Wakes the poll. Enable its future before reading the row, so that no wake-up is lost.
    pub(super) fn bell(&self) -> &Notify {
        &self.bell
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.by_login.with(|rooms| {
            if let Some(room) = rooms.get_mut(&self.id) {
                room.waiters = room.waiters.saturating_sub(1);
                if room.waiters == 0 {
                    rooms.remove(&self.id);
                }
            }
        });
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
