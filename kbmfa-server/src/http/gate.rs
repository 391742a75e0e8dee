//! Who gets as far as a route: a caller whose credential is known, at a rate that one machine may have. It
//! comes before the body is read and before the database's writer is troubled, so that strangers cost next to
//! nothing. It decides nothing: every action looks its credential up again, in its own transaction.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::collections::HashSet;
use std::num::NonZeroU32;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::caller;
use super::strangers::{Strangers, What};
use crate::db::{self, Db};
use crate::logins::Logins;
use crate::roster::caller::Credential;
use crate::roster::{self, service::authenticate_waiting};
use crate::secret::SecretHash;
use crate::shared::Shared;
use crate::source::{Address, Source};

/// The one route that strangers may take.
const JOIN: &str = "/v1/machines/join";

/// Strangers who are listened to at once.
const STRANGERS_MAX: usize = 32;

/// Credentials remembered as known; beyond that they are looked up anew.
const KNOWN_MAX: usize = 20_000;

/// A machine may be so many seconds' worth of requests ahead of its rate.
const BURST_SECONDS: u32 = 10;

/// Guards the routes under `/v1/`.
pub struct Gate {
    db: Db,
    logins: Logins,
    known: Shared<HashSet<SecretHash>>,
    rate: DefaultKeyedRateLimiter<Paced>,
    strangers: Semaphore,
    turned_away: Strangers,
}

/// Whose pace is kept: a machine's, or without a credential of its own its source's.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Paced {
    Machine(SecretHash),
    Source(Source),
}

/// Why a request gets no further.
pub enum Refusal {
    /// The credential is not known.
    Unauthorized,
    /// This machine asks more often than it may.
    TooFast,
    /// The database cannot be read.
    Unavailable(db::Error),
}

impl Gate {
    /// A gate at which each machine may pass so many times a second.
    pub fn new(db: Db, logins: Logins, turned_away: Strangers, per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::new(BURST_SECONDS).unwrap_or(NonZeroU32::MIN));
        let rate = RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst));
        let (known, strangers) = (Shared::default(), Semaphore::new(STRANGERS_MAX));
        Self { db, logins, known, rate, strangers, turned_away }
    }

    /// Lets a request pass, or not. A stranger's place is held as long as the permit.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn admit(
        &self,
        path: &str,
        authorization: Option<&str>,
        address: Address,
    ) -> Result<Option<SemaphorePermit<'_>>, Refusal> {
        if path == JOIN {
            return Ok(self.strangers.acquire().await.ok());
        }
        let refuse = |what| {
            self.turned_away.turned_away(what, address);
            Refusal::Unauthorized
        };
        let paced = match authorization.and_then(|header| caller::read(header, address)) {
            Some(Credential::Own(hash)) if self.is_known(&hash).await? => Paced::Machine(hash),
            Some(Credential::Token(claim)) if self.logins.rules().accepts(&claim) => {
                Paced::Source(address.source())
            }
            Some(Credential::Token(_)) => return Err(refuse(What::AuthToken)),
            Some(Credential::Own(_)) | None => return Err(refuse(What::Credential)),
        };
        if self.rate.len() > KNOWN_MAX {
            self.rate.retain_recent();
        }
        self.rate.check_key(&paced).map_err(|_| Refusal::TooFast)?;
        Ok(None)
    }

    async fn is_known(&self, credential: &SecretHash) -> Result<bool, Refusal> {
        if self.known.with(|known| known.contains(credential)) {
            return Ok(true);
        }
        let _place = self.strangers.acquire().await;
        let looked_up = credential.clone();
        let found = self.db.read(move |tx| authenticate_waiting(tx, &looked_up)).await;
        match found {
            Ok(Some(_)) => {
                let found = credential.clone();
                self.known.with(|known| {
                    if known.len() >= KNOWN_MAX {
                        known.clear();
                    }
                    known.insert(found);
                });
                Ok(true)
            }
            Err(roster::Error::Db(error)) => Err(Refusal::Unavailable(error)),
            Ok(None) | Err(_) => Ok(false),
        }
    }
}
