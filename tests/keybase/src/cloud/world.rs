//! The state of the cloud behind one lock, and the condition variable that is notified at each change.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::faults::{Faults, Pause};
use super::listeners::Listener;
use super::session::Session;
use crate::clock::monotonic_us;
use crate::control::seen::{Stats, TraceLine};
use crate::model::Chat;

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) chat: Chat,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) faults: Faults,
    pub(crate) armed: Vec<Armed>,
    pub(crate) complaints: Vec<String>,
    pub(crate) stats: Stats,
    pub(crate) trace: Vec<TraceLine>,
    /// The last number given to a session or listener.
    pub(crate) numbers: u64,
}

/// A reaction that is posted as soon as its message is.
#[derive(Debug)]
pub(crate) struct Armed {
    pub(crate) user: String,
    pub(crate) contains: String,
    pub(crate) reaction: String,
}

impl World {
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Records what a client should not have done.
    pub(crate) fn complain(&mut self, sentence: String) {
        self.complaints.push(sentence);
    }
}

/// The world, shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    world: Mutex<World>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world, delivers events to the listeners, and notifies everybody who waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let result = change(&mut world);
        world.deliver();
        drop(world);
        self.changed.notify_all();
        result
    }

    /// Waits for the pause, or until everything is released.
    pub(crate) fn dawdle(&self, pause: Pause) {
        if !pause.delay.is_zero() {
            self.wait(Some(pause.delay), |world| (world.faults.releases > pause.releases).then_some(()));
        }
    }

    /// Waits until everything is released.
    pub(crate) fn hang(&self, pause: Pause) {
        self.wait(None, |world| (world.faults.releases > pause.releases).then_some(()));
    }

    /// Waits until `probe` returns something, at most `limit`. Without a limit it may wait forever.
    pub(crate) fn wait<T>(
        &self,
        limit: Option<Duration>,
        mut probe: impl FnMut(&mut World) -> Option<T>,
    ) -> Option<T> {
        let start = monotonic_us();
        let mut world = self.lock();
        loop {
            if let Some(found) = probe(&mut world) {
                return Some(found);
            }
            let passed = Duration::from_micros(monotonic_us() - start);
            world = match limit {
                None => self.changed.wait(world).unwrap_or_else(PoisonError::into_inner),
                Some(limit) if passed >= limit => return None,
                Some(limit) => {
                    let waited = self.changed.wait_timeout(world, limit.saturating_sub(passed));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
