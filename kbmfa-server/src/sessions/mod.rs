//! Sessions that machines report, tied to the login that let the person in.
//!
//! Nothing is decided here. Reports may arrive late, twice and in any order, and always lead to the same
//! rows.

pub mod service;
pub mod store;

#[cfg(test)]
pub(crate) mod tests;

use kbmfa_proto::session::{SessionReport, Taken};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::db::Db;
use crate::logins::{Error, Logins};
use crate::machines::service::authenticate;
use crate::secret::SecretHash;
use crate::shared::Shared;

/// Reports in one transaction. A report takes one to two milliseconds, and the next login waits for the
/// transaction ([`crate::db::BULK_WORK`]).
const TAKEN_AT_ONCE: usize = 8;

/// Takes the reports of machines.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    logins: Logins,
    taken: Arc<AtomicU64>,
    /// Machines, by their credentials, with a batch in progress.
    under_way: Arc<Shared<HashSet<SecretHash>>>,
}

/// The right of a machine to send a batch, until it is dropped.
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
    /// Sessions in this database, of logins under these rules.
    pub fn new(db: Db, logins: Logins) -> Self {
        Self { db, logins, taken: Arc::default(), under_way: Arc::default() }
    }

    /// Records a batch of reports, as [`Self::take`]; one batch of each machine at a time.
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

    /// Records these reports, if they are new; `refused` is the number of invalid ones. They are taken a few
    /// at a time, after all logins that wait for the database. If that fails midway the machine sends all of
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
        let taken = db.write("session.report", move |tx| {
            let caller = authenticate(tx, &credential, None)?.ok_or(Error::Unauthorized)?;
            if refused > 0 {
                log::warn!("machine {}: {refused} reports are not understood by this version", caller.name);
            }
            reports.iter().try_for_each(|report| service::take(tx, &rules, &caller, report))?;
            Ok::<_, Error>(reports.len() as u64)
        });
        taken.await
    }

    /// Reports taken since the start, repeats included.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}
