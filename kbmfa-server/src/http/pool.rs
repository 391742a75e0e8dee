//! Limits the work for callers that are not proven yet, with a lower limit for each source. A request takes
//! its permit only when its body is complete, so that nobody can hold one by sending slowly.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::shared::Shared;
use crate::source::Source;

/// Longest time that a request waits for a permit. Shorter than the five seconds after which a machine gives
/// up.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Number of sources from which on those without permits are removed.
const SOURCES_MAX: usize = 1_000;

/// A number of permits.
#[derive(Debug)]
pub(super) struct Pool {
    all: Arc<Semaphore>,
    per_source: usize,
    by_source: Shared<HashMap<Source, Weak<Semaphore>>>,
}

/// A permit, given back on drop.
#[derive(Debug)]
pub(super) struct Permit(#[expect(dead_code, reason = "held, not read")] [OwnedSemaphorePermit; 2]);

impl Pool {
    pub(super) fn new(all: usize, per_source: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_source, by_source: Shared::default() }
    }

    /// Waits for a permit: first among those of the same source, then among all. So one source never fills
    /// the queue. `None` after [`WAIT_MAX`].
    pub(super) async fn acquire(&self, source: Source) -> Option<Permit> {
        let both = async {
            let own = self.permits_of(source).acquire_owned().await.ok()?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Permit([own, all]))
        };
        timeout(WAIT_MAX, both).await.ok().flatten()
    }

    fn permits_of(&self, source: Source) -> Arc<Semaphore> {
        self.by_source.with(|by_source| {
            if by_source.len() >= SOURCES_MAX {
                by_source.retain(|_, permits| permits.strong_count() > 0);
            }
            let known = by_source.get(&source).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let permits = Arc::new(Semaphore::new(self.per_source));
                by_source.insert(source, Arc::downgrade(&permits));
                permits
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::of_address as source;

    #[tokio::test(start_paused = true)]
    async fn one_source_cannot_take_every_permit_nor_fill_the_queue() {
        let pool = Arc::new(Pool::new(3, 2));
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        let held = [pool.acquire(one).await.unwrap(), pool.acquire(one).await.unwrap()];
        let line: Vec<_> = (0..100)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.acquire(one).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(timeout(Duration::ZERO, pool.acquire(other)).await.unwrap().is_some());
        drop(held);
        for waiting in line {
            assert!(waiting.await.unwrap(), "each gets its turn when the one before has ended");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_forever_for_a_permit() {
        let pool = Pool::new(1, 1);
        let _held = pool.acquire(source("192.0.2.1")).await.unwrap();
        assert!(pool.acquire(source("192.0.2.2")).await.is_none());
        assert!(pool.acquire(source("192.0.2.1")).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn sources_without_permits_are_removed() {
        let pool = Pool::new(9, 2);
        let held = pool.acquire(source("198.51.100.1")).await.unwrap();
        for n in 0..3_000_u32 {
            let from: Source = std::net::IpAddr::from(n.to_be_bytes()).into();
            drop(pool.acquire(from).await.unwrap());
        }
        let (count, is_kept) =
            pool.by_source.with(|known| (known.len(), known.contains_key(&source("198.51.100.1"))));
        assert!(count <= SOURCES_MAX && is_kept, "{count}");
        drop(held);
    }
}
