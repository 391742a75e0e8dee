//! How many connections the admin socket holds at once: root's own cannot be used up by anybody else, members' not by
//! strangers, and nobody's by one uid.

use nix::unistd::Uid;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::shared::Shared;

/// Who a permit is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pool {
    /// Root and the server's account.
    Own,
    /// Everybody else: members, and whoever has not been looked up yet.
    Others,
    /// Whoever was looked up and may nothing.
    Strangers,
}

impl Pool {
    /// Connections at once: in all, and of one uid.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Own => (64, 64),
            Self::Others => (64, 8),
            Self::Strangers => (8, 2),
        }
    }
}

/// Counts the connections of this process. Clones share everything.
#[derive(Clone, Default)]
pub(super) struct Permits(Arc<Shared<BTreeMap<(Pool, u32), usize>>>);

impl Permits {
    /// A permit for one connection, unless there are too many.
    pub(super) fn take(&self, pool: Pool, uid: Uid) -> Option<Permit> {
        let (in_all, of_one) = pool.limits();
        let key = (pool, uid.as_raw());
        let is_free = self.0.with(|held| {
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

/// The right to one connection; dropped, it is free again.
pub(super) struct Permit {
    key: (Pool, u32),
    permits: Permits,
}

impl Permit {
    /// A permit of another pool in the place of this one, unless there are too many.
    pub(super) fn exchange(self, pool: Pool) -> Option<Self> {
        self.permits.take(pool, Uid::from_raw(self.key.1))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.0.with(|held| {
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

    /// As many as there are to be had, `each` of one uid after the other.
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
    fn strangers_hold_no_place_of_the_members() {
        let permits = Permits::default();
        let strangers: Vec<Permit> = (1000..1100)
            .flat_map(|uid| [uid; 4])
            .filter_map(|uid| permits.take(Pool::Others, Uid::from_raw(uid))?.exchange(Pool::Strangers))
            .collect();
        assert_eq!(strangers.len(), 8);
        assert_eq!(take_all(&permits, Pool::Others, 100).len(), 64);
    }
}
