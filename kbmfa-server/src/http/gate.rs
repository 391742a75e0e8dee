//! The gate before the routes. It passes a request if the credential is known and the machine is within its
//! rate limit. It runs before the body is read and before the database's writer has work, so that unknown
//! callers cost next to nothing. It does not authorise anything: every action looks the credential up again,
//! in its own transaction.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::collections::HashSet;
use std::num::NonZeroU32;

use super::connections::ProvenCaller;
use super::pool::{Permit, Pool};
use super::rejected_callers::{RejectedCallers, What};
use crate::db::{self, Db};
use crate::long_poll::Logins;
use crate::machines::caller::Credential;
use crate::machines::{self, service::authenticate_waiting};
use crate::secret::SecretHash;
use crate::shared::Shared;
use crate::source::{Address, Source};

/// Maximum number of joins at one time: in all, and from one source.
const JOINS: (usize, usize) = (32, 4);

/// Maximum number of first look-ups of credentials at one time: in all, and from one source. Separate from
/// the joins, because after a restart each machine's first request needs such a permit.
const LOOK_UPS: (usize, usize) = (32, 8);

/// Maximum number of requests of employees' computers at one time: in all, and from one source.
const ENROLMENTS: (usize, usize) = (16, 4);

/// Maximum number of downloads at one time: in all, and from one source.
const DOWNLOADS: (usize, usize) = (16, 2);

/// Maximum number of known credentials in memory. Others are looked up again.
const KNOWN_MAX: usize = 20_000;

/// The burst of a machine, as a number of seconds at its rate.
const BURST_SECONDS: u32 = 10;

/// Number of connections that a machine may have besides two for each login that may wait.
const CONNECTIONS_BESIDES: u64 = 64;

/// Guards the routes under `/v1/`.
pub struct Gate {
    db: Db,
    logins: Logins,
    known: Shared<HashSet<SecretHash>>,
    rate: DefaultKeyedRateLimiter<ProvenCaller>,
    joins: Pool,
    look_ups: Pool,
    enrolments: Pool,
    downloads: Pool,
    rejected: RejectedCallers,
}

/// Why a request is rejected.
pub enum Refusal {
    /// The credential is not known.
    Unauthorized,
    /// This machine exceeds its rate limit.
    TooFast,
    /// This machine, its source or all machines together have too many connections.
    TooManyConnections,
    /// Too many unknown callers at once.
    Busy,
    /// The database cannot be read.
    Unavailable(db::Error),
}

impl Gate {
    /// A gate with this many requests per second for each machine.
    pub fn new(db: Db, logins: Logins, rejected: RejectedCallers, per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::new(BURST_SECONDS).unwrap_or(NonZeroU32::MIN));
        let rate = RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst));
        let (joins, look_ups) = (Pool::new(JOINS.0, JOINS.1), Pool::new(LOOK_UPS.0, LOOK_UPS.1));
        let enrolments = Pool::new(ENROLMENTS.0, ENROLMENTS.1);
        let downloads = Pool::new(DOWNLOADS.0, DOWNLOADS.1);
        let known = Shared::default();
        Self { db, logins, known, rate, joins, look_ups, enrolments, downloads, rejected }
    }

    /// Checks a request by its credential. Returns the caller.
    pub(super) async fn admit(
        &self,
        credential: Option<&Credential>,
        address: Address,
    ) -> Result<ProvenCaller, Refusal> {
        let refuse = |what| {
            self.rejected.add(what, address);
            Refusal::Unauthorized
        };
        let source = address.source();
        let caller = match credential {
            // A machine that has registered it before this was refused has to join again.
            Some(Credential::Own(hash)) if self.logins.rules().is_auth_token(hash) => {
                return Err(refuse(What::AuthToken));
            }
            Some(Credential::Own(hash)) if self.is_known(hash, source).await? => {
                ProvenCaller::Machine(hash.clone())
            }
            Some(Credential::Token(claim)) if self.logins.rules().accepts(claim) => {
                ProvenCaller::Source(source)
            }
            Some(Credential::Token(_)) => return Err(refuse(What::AuthToken)),
            Some(Credential::Own(_)) | None => return Err(refuse(What::Credential)),
        };
        if self.rate.len() > KNOWN_MAX {
            self.rate.retain_recent();
        }
        self.rate.check_key(&caller).map_err(|_| Refusal::TooFast)?;
        Ok(caller)
    }

    /// A permit for a join request. Call it when the body is complete.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub(super) async fn permit_to_join(&self, source: Source) -> Result<Permit, Refusal> {
        self.joins.acquire(source).await.ok_or(Refusal::Busy)
    }

    /// A permit for a request of an employee's computer. Call it when the body is complete.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub(super) async fn permit_to_enrol(&self, source: Source) -> Result<Permit, Refusal> {
        self.enrolments.acquire(source).await.ok_or(Refusal::Busy)
    }

    /// A permit for a download.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub(super) async fn permit_to_download(&self, source: Source) -> Result<Permit, Refusal> {
        self.downloads.acquire(source).await.ok_or(Refusal::Busy)
    }

    /// How many connections a caller may have: one for each waiting login, and a second one in case the first
    /// is dead but not yet noticed.
    pub(super) fn connections_of(&self, caller: &ProvenCaller) -> usize {
        match caller {
            ProvenCaller::Machine(_) => {
                let waiting = self.logins.rules().policy.limits.pending_per_machine;
                let at_most = waiting.saturating_mul(2).saturating_add(CONNECTIONS_BESIDES);
                usize::try_from(at_most).unwrap_or(usize::MAX)
            }
            // Many machines share the token. Only the limit for one source applies.
            ProvenCaller::Source(_) => usize::MAX,
        }
    }

    /// Removes a credential from the known ones, because an action found that it is not valid.
    pub(super) fn forget(&self, caller: &ProvenCaller) {
        if let ProvenCaller::Machine(credential) = caller {
            self.known.with(|known| known.remove(credential));
        }
    }

    async fn is_known(&self, credential: &SecretHash, source: Source) -> Result<bool, Refusal> {
        if self.known.with(|known| known.contains(credential)) {
            return Ok(true);
        }
        let _permit = self.look_ups.acquire(source).await.ok_or(Refusal::Busy)?;
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
            Err(machines::Error::Db(error)) => Err(Refusal::Unavailable(error)),
            Ok(None) | Err(_) => Ok(false),
        }
    }
}
