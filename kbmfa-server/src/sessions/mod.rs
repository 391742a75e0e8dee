//! Sessions: what machines report about the people whom they let in, tied to the login that let them in.
//!
//! Nothing here decides anything. Reports may come late, twice and in any order, and end in the same rows.

pub mod service;
pub mod store;

#[cfg(test)]
mod tests;

use kbmfa_proto::session::{SessionReport, Taken};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::db::Db;
use crate::logins::{Error, Logins};
use crate::roster::service::authenticate;
use crate::secret::SecretHash;

/// Takes the reports of machines.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    logins: Logins,
    taken: Arc<AtomicU64>,
}

impl Sessions {
    /// Sessions in this database, of logins under these rules.
    pub fn new(db: Db, logins: Logins) -> Self {
        Self { db, logins, taken: Arc::default() }
    }

    /// Puts these reports on record, those that are not yet; `refused` were no reports to begin with.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], and what the database says.
    pub async fn take(
        &self,
        credential: SecretHash,
        reports: Vec<SessionReport>,
        refused: u64,
    ) -> Result<Taken, Error> {
        let rules = self.logins.rules();
        let taken = self.db.write("session.report", move |tx| {
            let caller = authenticate(tx, &credential, None)?.ok_or(Error::Unauthorized)?;
            if refused > 0 {
                log::warn!("machine {}: {refused} reports make no sense to this version", caller.name);
            }
            let taken = reports.len() as u64;
            reports.iter().try_for_each(|report| service::take(tx, &rules, &caller, report))?;
            Ok::<_, Error>(Taken { taken, refused })
        });
        let taken = taken.await?;
        self.taken.fetch_add(taken.taken, Ordering::Relaxed);
        Ok(taken)
    }

    /// Reports taken since the start, repeats included.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}
