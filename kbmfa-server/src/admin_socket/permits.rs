//! Limits the connections of the admin socket: how many at once, and how many in a second. Callers outside
//! the group cannot use up the share of its members, none of them can use up root's, and no single uid can
//! use up a share.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use nix::unistd::Uid;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::shared::Shared;

/// Rate limit of one uid, in connections per second, and its burst. Each answer is an audit event, whether it
/// counts or not. A person with several terminals needs less than this. Root has no rate limit, because each
/// change notifies the server.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);

/// Number of uids from which on idle ones are removed.
const UIDS_MAX: usize = 1000;

/// The pool of a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pool {
    /// Root and the server's account.
    Own,
    /// Members of the group, and peers that are not looked up yet.
    Others,
    /// Peers without rights.
    RejectedCallers,
}

impl Pool {
    /// Maximum number of connections at once: of the whole pool, and of one uid.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Own => (64, 64),
            Self::Others => (64, 8),
            Self::RejectedCallers => (8, 2),
        }
    }
}

/// Counts the connections of this process. Clones share everything.
#[derive(Clone)]
pub(super) struct Permits {
    held: Arc<Shared<BTreeMap<(Pool, u32), usize>>>,
    rate: Arc<DefaultKeyedRateLimiter<u32>>,
}

impl Default for Permits {
    fn default() -> Self {
        let rate = RateLimiter::keyed(Quota::per_second(PER_SECOND).allow_burst(BURST));
        Self { held: Arc::default(), rate: Arc::new(rate) }
    }
}

impl Permits {
    /// A permit for a new connection, unless its uid exceeds its rate limit or the pool is full.
    pub(super) fn admit(&self, pool: Pool, uid: Uid) -> Option<Permit> {
        if self.rate.len() > UIDS_MAX {
            self.rate.retain_recent();
        }
        let is_slow_enough = pool == Pool::Own || self.rate.check_key(&uid.as_raw()).is_ok();
        if is_slow_enough { self.take(pool, uid) } else { None }
    }

    /// A permit for one connection, unless the pool is full.
    fn take(&self, pool: Pool, uid: Uid) -> Option<Permit> {
        let (in_all, of_one) = pool.limits();
        let key = (pool, uid.as_raw());
        let is_free = self.held.with(|held| {
            let all: usize = held.iter().filter(|((of, _), _)| *of == pool).map(|(_, count)| count).sum();
            let own = held.get(&key).copied().unwrap_or_default();
            let is_free = all < in_all && own < of_one;
            if is_free {
                held.insert(key, own + 1);
            }
            is_free
        });
        is_free.then(|| Permit { key, permits: self.clone() })
    }
}

/// The permit of one connection, returned to the pool on drop.
pub(super) struct Permit {
    key: (Pool, u32),
    permits: Permits,
}

impl Permit {
    /// Exchanges this permit for one of another pool, unless that pool is full.
    pub(super) fn exchange(self, pool: Pool) -> Option<Self> {
        self.permits.take(pool, Uid::from_raw(self.key.1))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.held.with(|held| {
            if let Some(count) = held.get_mut(&self.key) {
                *count -= 1;
                if *count == 0 {
                    held.remove(&self.key);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all permits: `each` for every uid in turn.
    fn take_all(permits: &Permits, pool: Pool, uids: u32) -> Vec<Permit> {
        let of_one = |uid| std::iter::from_fn(move || permits.take(pool, Uid::from_raw(uid)));
        (1000..1000 + uids).flat_map(of_one).collect()
    }

    #[test]
    fn one_uid_has_few_and_many_uids_take_none_of_roots() {
        let permits = Permits::default();
        assert_eq!(take_all(&permits, Pool::Others, 1).len(), 8);
        let held = take_all(&permits, Pool::Others, 100);
        assert_eq!(held.len(), 64);
        assert!(permits.take(Pool::Others, Uid::from_raw(2000)).is_none());
        assert!(permits.take(Pool::Own, Uid::from_raw(0)).is_some());
        drop(held);
        assert!(permits.take(Pool::Others, Uid::from_raw(2000)).is_some());
    }

    #[test]
    fn one_uid_that_comes_again_and_again_is_slowed_down_and_root_is_not() {
        let permits = Permits::default();
        let admitted =
            |pool, uid| (0..100).filter(|_| permits.admit(pool, Uid::from_raw(uid)).is_some()).count();
        let of_alice = admitted(Pool::Others, 2001);
        assert!((30..60).contains(&of_alice), "{of_alice}");
        assert_eq!(admitted(Pool::Own, 0), 100);
        assert!(permits.admit(Pool::Others, Uid::from_raw(2002)).is_some());
    }

    #[test]
    fn strangers_use_no_permit_of_the_members() {
        let permits = Permits::default();
        let strangers: Vec<Permit> = (1000..1100)
            .flat_map(|uid| [uid; 4])
            .filter_map(|uid| permits.take(Pool::Others, Uid::from_raw(uid))?.exchange(Pool::RejectedCallers))
            .collect();
        assert_eq!(strangers.len(), 8);
        assert_eq!(take_all(&permits, Pool::Others, 100).len(), 64);
    }
}
