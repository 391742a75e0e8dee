//! The server's only lock. State that several tasks use is in a [`Shared`]. The lock is held for one closure,
//! so no guard can live across another call, an await or a second lock.

use std::cell::Cell;
use std::fmt;
use std::sync::{Mutex, PoisonError};

thread_local! {
    /// Whether this thread is inside [`Shared::with`] now.
    static HOLDS_A_LOCK: Cell<bool> = const { Cell::new(false) };
}

/// State behind a lock.
#[derive(Default)]
pub struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    /// Creates it with this state.
    pub const fn new(state: T) -> Self {
        Self(Mutex::new(state))
    }

    /// Locks, runs `work` on the state and unlocks. The result cannot borrow from the state. `work` must be
    /// short and must not lock anything else: a second lock on the same thread panics, because a server that
    /// exits is restarted, and one that hangs is not.
    ///
    /// A panic in `work` does not poison the lock, because the state is valid after each statement.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let _held = Held::mark();
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Clone> Shared<T> {
    /// A copy of the state.
    pub fn get(&self) -> T {
        self.with(|state| state.clone())
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(..)")
    }
}

/// Marks that this thread holds a lock, until it is dropped, even by a panic.
struct Held;

impl Held {
    fn mark() -> Self {
        assert!(!HOLDS_A_LOCK.replace(true), "a lock is taken while this thread holds one");
        Self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HOLDS_A_LOCK.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_second_lock_on_one_thread_panics_instead_of_hanging() {
        let (one, other) = (Shared::new(1), Shared::new(2));
        for second in [&one, &other] {
            let nested = catch_unwind(AssertUnwindSafe(|| one.with(|_| second.with(|state| *state))));
            assert!(nested.is_err());
        }
        assert_eq!(one.with(|one| *one) + other.get(), 3, "both are usable afterwards");
    }

    #[test]
    fn a_panic_inside_leaves_the_state_usable() {
        let shared = Shared::new(vec![1]);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            shared.with(|state| {
                state.push(2);
                assert!(state.is_empty(), "on purpose");
            });
        }));
        assert!(failed.is_err());
        assert_eq!(shared.get(), [1, 2]);
    }

    #[test]
    fn threads_wait_for_each_other() {
        let count = Shared::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| count.with(|count| *count += 1)));
            }
        });
        assert_eq!(count.get(), 4000);
    }
}
