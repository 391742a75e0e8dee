//! Records machines' reports of sessions, a few in each transaction.

use kbmfa_proto::session::{SessionReport, Taken};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::db::Db;
use crate::logins::Error;
use crate::long_poll::Logins;
use crate::secret::SecretHash;
use crate::shared::Shared;
use crate::usecases::sessions as usecase;

/// Number of reports recorded in one transaction. A report takes one to two milliseconds, and the next login
/// waits for the transaction ([`crate::db::BULK_WORK`]).
const TAKEN_AT_ONCE: usize = 8;

/// Records the reports of machines.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    logins: Logins,
    taken: Arc<AtomicU64>,
    /// Credentials of the machines whose batch is being recorded.
    under_way: Arc<Shared<HashSet<SecretHash>>>,
}

/// Marks that a machine's batch is being recorded, until it is dropped.
struct Turn<'a> {
    sessions: &'a Sessions,
    machine: SecretHash,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.sessions.under_way.with(|machines| machines.remove(&self.machine));
    }
}

impl Sessions {
    /// Records into this database, for logins under these rules.
    pub fn new(db: Db, logins: Logins) -> Self {
        Self { db, logins, taken: Arc::default(), under_way: Arc::default() }
    }

    /// Records a batch of reports, as [`Self::take`] does, but only one batch of each machine at a time.
    ///
    /// # Errors
    /// [`Error::BatchUnderWay`], and as [`Self::take`].
    pub async fn take_batch(
        &self,
        credential: SecretHash,
        reports: Vec<SessionReport>,
        refused: u64,
    ) -> Result<Taken, Error> {
        let machine = credential.clone();
        if !self.under_way.with(|machines| machines.insert(credential.clone())) {
            return Err(Error::BatchUnderWay);
        }
        let _turn = Turn { sessions: self, machine };
        self.take(credential, reports, refused).await
    }

    /// Records these reports, if they are new. `refused` is the number of invalid ones. A few are recorded at
    /// a time, after all logins that wait for the database. If that fails midway, the machine sends all of
    /// them again, and repeated ones have no effect.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], and what the database says.
    pub async fn take(
        &self,
        credential: SecretHash,
        reports: Vec<SessionReport>,
        refused: u64,
    ) -> Result<Taken, Error> {
        let mut taken = Taken { taken: 0, refused };
        let mut reports = reports.into_iter();
        loop {
            let piece: Vec<_> = reports.by_ref().take(TAKEN_AT_ONCE).collect();
            taken.taken += self.take_some(&credential, piece, refused).await?;
            if reports.len() == 0 {
                break;
            }
        }
        self.taken.fetch_add(taken.taken, Ordering::Relaxed);
        Ok(taken)
    }

    async fn take_some(
        &self,
        credential: &SecretHash,
        reports: Vec<SessionReport>,
        refused: u64,
    ) -> Result<u64, Error> {
        let (rules, credential, db) = (self.logins.rules(), credential.clone(), self.db.for_bulk());
        let taken =
            db.write("session.report", move |tx| usecase::take(tx, &rules, &credential, &reports, refused));
        taken.await
    }

    /// Number of reports recorded since the start, including repeated ones.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Kind;
    use crate::sessions::tests::{World, report, rules};
    use crate::usecases::testing::join_machine;
    use kbmfa_proto::session::SessionEvent::LetInUnreachable;
    use std::pin::pin;
    use tokio::sync::{mpsc, watch};

    /// A service that records reports, and the credential of the world's machine.
    fn taking(world: &World) -> (Sessions, SecretHash) {
        let (broken, _) = mpsc::unbounded_channel();
        let (_, closing) = watch::channel(false);
        let db = world.fixture.db.clone();
        let logins = Logins::new(db.clone(), rules(db.now()), broken, closing);
        (Sessions::new(db, logins), join_machine(&world.fixture, &world.caller.name))
    }

    fn batch() -> Vec<SessionReport> {
        (0..64).map(|id| report(id, LetInUnreachable, id.into())).collect()
    }

    fn in_a_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn a_batch_is_taken_in_pieces_so_that_logins_come_in_between() {
        let world = World::new();
        let (sessions, web1) = taking(&world);
        let (before, _) = world.fixture.db.counters();
        let taken = in_a_runtime(sessions.take_batch(web1.clone(), batch(), 0)).unwrap();
        assert_eq!((taken.taken, world.fixture.db.counters().0 - before), (64, 8));
        assert_eq!(in_a_runtime(sessions.take_batch(web1, Vec::new(), 3)).unwrap().refused, 3);
        assert_eq!(world.events(Kind::LoginLetInUnreachable).len(), 64);
    }

    #[test]
    fn a_machine_has_one_batch_under_way() {
        let world = World::new();
        let (sessions, web1) = taking(&world);
        in_a_runtime(async {
            let mut first = pin!(sessions.take_batch(web1.clone(), batch(), 0));
            let second = tokio::select! {
                biased;
                _ = &mut first => panic!("the first batch was taken in no time"),
                second = sessions.take_batch(web1.clone(), batch(), 0) => second,
            };
            assert!(matches!(second, Err(Error::BatchUnderWay)), "{second:?}");
            first.await.unwrap();
            sessions.take_batch(web1, batch(), 0).await.unwrap();
        });
    }
}
