//! The rate limit of each machine's reports.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use kbmfa_proto::session::REPORTS_MAX;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::BODY_BYTES_MAX;
use super::reply::Failure;
use super::session_reports::Sessions;
use crate::secret::SecretHash;

/// Number of bytes in a body that count as one report.
const BYTES_A_REPORT: usize = 256;

/// The burst of a machine, as a number of seconds at its rate.
const BURST_SECONDS: u32 = 10;

/// Number of machines from which on idle ones are removed.
const REMEMBERED_MAX: usize = 20_000;

/// Rate limit of each machine's reports; the same number as for requests. A body counts as its number of
/// reports or by its bytes, whichever is more.
#[derive(Clone)]
pub struct Intake {
    pub(super) sessions: Sessions,
    pub(super) rate: Rate,
}

impl Intake {
    /// An intake with this many reports per second for each machine.
    pub fn new(sessions: Sessions, per_second: NonZeroU32) -> Self {
        Self { sessions, rate: Rate::new(per_second) }
    }
}

#[derive(Clone)]
pub(super) struct Rate(Arc<DefaultKeyedRateLimiter<SecretHash>>);

impl Rate {
    fn new(per_second: NonZeroU32) -> Self {
        // However low the rate is, a whole batch must fit, because otherwise a machine could never send its
        // spool.
        let whole_batch = u32::try_from(REPORTS_MAX.max(BODY_BYTES_MAX.div_ceil(BYTES_A_REPORT)));
        let burst = per_second.get().saturating_mul(BURST_SECONDS).max(whole_batch.unwrap_or(u32::MAX));
        let quota = Quota::per_second(per_second).allow_burst(NonZeroU32::new(burst).unwrap_or(per_second));
        Self(Arc::new(RateLimiter::keyed(quota)))
    }

    pub(super) fn admit(&self, who: &SecretHash, reports: usize, bytes: usize) -> Result<(), Failure> {
        if self.0.len() > REMEMBERED_MAX {
            self.0.retain_recent();
        }
        let weight = u32::try_from(reports.max(bytes.div_ceil(BYTES_A_REPORT))).unwrap_or(u32::MAX);
        let weight = NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN);
        match self.0.check_key_n(who, weight) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failure::TooFast),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_slowed_down_by_the_number_and_by_the_size_of_its_reports() {
        let rate = Rate::new(NonZeroU32::MIN);
        let (many, large, other) = (SecretHash::of("a"), SecretHash::of("b"), SecretHash::of("c"));
        assert!(rate.admit(&many, REPORTS_MAX, 100).is_ok());
        assert!(matches!(rate.admit(&many, REPORTS_MAX, 100), Err(Failure::TooFast)));
        assert!(rate.admit(&large, 1, BODY_BYTES_MAX).is_ok());
        assert!(matches!(rate.admit(&large, 1, BODY_BYTES_MAX), Err(Failure::TooFast)));
        assert!(rate.admit(&other, 1, 300).is_ok());
    }
}
