//! What the routes for employees' computers need besides the database: challenges, a rate, the server's names, and the time
//! of a refusal.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::Settings;
use super::reply::Failure;
use crate::ca::facts::canonical;
use crate::clock::Time;
use crate::enrolment::Error;
use crate::enrolment::challenge::Challenges;
use crate::random::NoRandomness;

/// Time from a complete request to its refusal. It is far longer than the work, which depends on what was wrong.
const REFUSAL_TIME: Duration = Duration::from_millis(500);

/// Requests of one enrolled key in a second, and at once.
const PER_KEY: (NonZeroU32, NonZeroU32) = (NonZeroU32::MIN, NonZeroU32::MIN.saturating_add(29));

/// Number of keys from which on idle ones are forgotten.
const KEYS_MAX: usize = 10_000;

/// When a refusal is answered: the first multiple of [`REFUSAL_TIME`] after the request was complete at which the work is
/// done. So the time of an answer says nothing about the work, also where that had to wait.
pub(super) fn answer_time(arrived: Instant, done: Instant) -> Instant {
    let worked = done.saturating_duration_since(arrived);
    let times = worked.as_nanos().div_ceil(REFUSAL_TIME.as_nanos()).max(1);
    arrived + REFUSAL_TIME.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}

/// What these routes need besides the database.
#[derive(Clone)]
pub struct Enrolments {
    pub(super) challenges: Arc<Challenges>,
    per_key: Arc<DefaultKeyedRateLimiter<String>>,
    /// Where the key is that encrypts passwords.
    pub(super) state_dir: Arc<Path>,
}

impl Enrolments {
    /// With a new key for challenges.
    ///
    /// # Errors
    /// [`NoRandomness`] if the system returns no random bytes.
    pub fn new(state_dir: &Path) -> Result<Self, NoRandomness> {
        let per_key = RateLimiter::keyed(Quota::per_second(PER_KEY.0).allow_burst(PER_KEY.1));
        let challenges = Arc::new(Challenges::new()?);
        Ok(Self { challenges, per_key: Arc::new(per_key), state_dir: state_dir.into() })
    }

    /// The challenge with its end, if it was made here lately for a server of this name.
    pub(super) fn challenge(
        &self,
        settings: &Settings,
        (server, nonce): (&str, &str),
        now: Time,
    ) -> Result<(String, Time), Error> {
        if !is_ours(settings, server) {
            return Err(Error::OtherServer);
        }
        let fresh = self.challenges.read(nonce, now)?;
        Ok((nonce.to_owned(), fresh.expires_at))
    }

    /// Counts a request of this key.
    pub(super) fn admit(&self, key: &str) -> Result<(), Failure> {
        if self.per_key.len() > KEYS_MAX {
            self.per_key.retain_recent();
        }
        self.per_key.check_key(&key.to_owned()).map_err(|_| Failure::TooFast)
    }
}

/// Whether this is one of the server's own names.
fn is_ours(settings: &Settings, name: &str) -> bool {
    let name = canonical(name);
    settings.names.iter().any(|own| canonical(own) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_comes_at_half_a_second_whatever_the_work_was() {
        let arrived = Instant::now();
        let after = |ms| answer_time(arrived, arrived + Duration::from_millis(ms)) - arrived;
        for (work, expected) in [(0, 500), (1, 500), (499, 500), (500, 500), (501, 1_000), (2_999, 3_000)] {
            assert_eq!(after(work).as_millis(), expected, "{work}");
        }
    }

    proptest! {
        #[test]
        fn a_refusal_never_comes_before_its_work_is_done(ms in 0..10_000_u64) {
            let (arrived, work) = (Instant::now(), Duration::from_millis(ms));
            let answered = answer_time(arrived, arrived + work);
            prop_assert!(answered >= arrived + work && answered > arrived);
            prop_assert!(answered < arrived + work + REFUSAL_TIME + Duration::from_millis(1));
        }
    }
}
