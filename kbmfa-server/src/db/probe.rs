//! Checks by a test write whether the database accepts writes. It writes at most once a second, for all
//! callers together.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Db, Error, meta};
use crate::clock::Time;
use crate::shared::Shared;

/// Time for which a result is reused. It limits the disk writes that callers can cause.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Longest time for one write; a little more than SQLite waits for another program's lock.
const TIME: Duration = Duration::from_secs(8);

/// Size of the write in bytes. It changes about as many pages as the rows and indexes of one login.
const SIZE: usize = 48 * 1024;

/// Name of the note that it writes.
const NOTE: &str = "probe";

/// The probe, with its last result. Clones share it.
#[derive(Clone)]
pub struct Probe {
    db: Db,
    state: Arc<State>,
}

struct State {
    /// Allows one write at a time. Callers that arrive meanwhile use its result.
    turn: Semaphore,
    last: Shared<Option<(Instant, Result<Time, Error>)>>,
}

impl Probe {
    /// The first write happens at the first call.
    pub fn new(db: Db) -> Self {
        Self { db, state: Arc::new(State { turn: Semaphore::new(1), last: Shared::new(None) }) }
    }

    /// Commits a write to disk, unless one was tried within the last second. Returns the time of that write.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] after a restore; [`Error::Slow`] if it took too long; what the database says.
    pub async fn check(&self) -> Result<Time, Error> {
        let checked = async {
            let _turn = self.state.turn.acquire().await.map_err(|_| Error::Closed)?;
            let last = self.state.last.with(|last| last.clone());
            if let Some((_, result)) = last.filter(|(at, _)| at.elapsed() < GOOD_FOR) {
                return result;
            }
            let result = self.write().await;
            self.state.last.with(|last| *last = Some((Instant::now(), result.clone())));
            result
        };
        tokio::time::timeout(TIME, checked).await.map_err(|_| Error::Slow(TIME))?
    }

    /// Writes the note. Its bytes depend on the time, because unchanged bytes would not be written again.
    async fn write(&self) -> Result<Time, Error> {
        let work = |tx: &super::Tx<'_>| {
            let mut text = tx.now.micros().to_string();
            text = text.repeat(SIZE / text.len().max(1));
            meta::set(tx, NOTE, &text)?;
            Ok(tx.now)
        };
        self.db.write("probe", work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::{block_on, fixture};

    #[test]
    fn it_writes_at_most_once_a_second_for_all_callers() {
        let fixture = fixture();
        block_on(async {
            let probe = Probe::new(fixture.db.clone());
            let first = probe.check().await.unwrap();
            let askers = [probe.clone(), probe.clone()];
            for asker in askers {
                fixture.clock.advance(Duration::from_millis(1));
                assert_eq!(asker.check().await.unwrap(), first);
            }
            let (jobs, _) = fixture.db.counters();
            assert_eq!(jobs, 1);
        });
    }

    #[test]
    fn the_probe_writes_to_the_database_and_does_not_grow() {
        let fixture = fixture();
        block_on(async {
            let mut sizes = Vec::new();
            for _ in 0..3 {
                fixture.clock.advance(Duration::from_secs(1));
                Probe::new(fixture.db.clone()).check().await.unwrap();
                let note = fixture.db.read(|tx| meta::get(tx, NOTE)).await.unwrap().unwrap();
                assert!(note.len() > SIZE * 9 / 10);
                sizes.push(note.len());
            }
            assert!(sizes.iter().all(|size| *size == sizes[0]));
        });
    }

    #[test]
    fn a_read_only_database_and_a_failing_one_are_distinguished() {
        let fixture = fixture();
        block_on(async {
            fixture.db.write("note", |tx| meta::set(tx, meta::READ_ONLY, "yes")).await.unwrap();
            let probe = Probe::new(fixture.db.clone());
            assert!(matches!(probe.check().await, Err(Error::ReadOnly)));
        });
    }
}
