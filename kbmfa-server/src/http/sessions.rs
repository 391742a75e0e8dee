//! `/v1/sessions` and `/v1/reports`: what machines report.

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use kbmfa_proto::session::{REPORTS_MAX, Reports, SessionReport, Taken};
use serde_json::Value;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::reply::{self, Failure};
use super::routes::{Api, BODY_BYTES_MAX, Call};
use crate::logins::Error;
use crate::secret::SecretHash;
use crate::sessions::Sessions;

/// Bytes of a body that count as one report.
const BYTES_A_REPORT: usize = 256;

/// Burst of a machine, in seconds of its rate.
const BURST_SECONDS: u32 = 10;

/// Number of machines from which on idle ones are removed.
const REMEMBERED_MAX: usize = 20_000;

/// Rate limit of reports for each machine, the same as for requests. A body counts by its reports or by its
/// bytes, whichever is more.
#[derive(Clone)]
pub struct Intake {
    sessions: Sessions,
    rate: Rate,
}

impl Intake {
    /// With this many reports per second for each machine.
    pub fn new(sessions: Sessions, per_second: NonZeroU32) -> Self {
        Self { sessions, rate: Rate::new(per_second) }
    }
}

#[derive(Clone)]
struct Rate(Arc<DefaultKeyedRateLimiter<SecretHash>>);

impl Rate {
    fn new(per_second: NonZeroU32) -> Self {
        // A whole batch must fit, however low the rate is, or a machine could never send its spool.
        let whole_batch = u32::try_from(REPORTS_MAX.max(BODY_BYTES_MAX.div_ceil(BYTES_A_REPORT)));
        let burst = per_second.get().saturating_mul(BURST_SECONDS).max(whole_batch.unwrap_or(u32::MAX));
        let quota = Quota::per_second(per_second).allow_burst(NonZeroU32::new(burst).unwrap_or(per_second));
        Self(Arc::new(RateLimiter::keyed(quota)))
    }

    fn admit(&self, who: &SecretHash, reports: usize, bytes: usize) -> Result<(), Failure> {
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

pub(super) async fn one(api: Api, who: SecretHash, call: Call) -> Result<Taken, Failure> {
    api.intake.rate.admit(&who, 1, call.body.len())?;
    let report: SessionReport = reply::json(&call.body)?;
    Ok(api.intake.sessions.take(who, vec![report], 0).await?)
}

pub(super) async fn batch(api: Api, who: SecretHash, call: Call) -> Result<Taken, Failure> {
    let (reports, refused) = read(&call.body)?;
    let sent = reports.len() + usize::try_from(refused).unwrap_or(usize::MAX);
    api.intake.rate.admit(&who, sent, call.body.len())?;
    Ok(api.intake.sessions.take_batch(who, reports, refused).await?)
}

/// The reports of a batch, and the number of invalid ones. They are parsed one by one, so that an invalid one
/// never blocks the others.
pub(super) fn read(body: &[u8]) -> Result<(Vec<SessionReport>, u64), Failure> {
    let Reports::<Value> { reports } = reply::json(body)?;
    if reports.len() > REPORTS_MAX {
        return Err(Error::Bad("a batch can have at most 64 reports").into());
    }
    let sent = reports.len();
    let reports: Vec<SessionReport> =
        reports.into_iter().filter_map(|report| serde_json::from_value(report).ok()).collect();
    let refused = (sent - reports.len()) as u64;
    Ok((reports, refused))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_report_that_makes_no_sense_does_not_hold_up_the_others() {
        let good = r#"{"id":"00112233445566778899aabbccddeeff","event":"closed","service":"sshd","user":"alice",
            "rhost":null,"tty":null,"connection":{"id":"x","ssh":null},"at_us":0,"module_version":"9","new":1}"#;
        let renamed = good.replace("closed", "renamed");
        let (reports, refused) = read(format!(r#"{{"reports":[{renamed},{good},7]}}"#).as_bytes()).unwrap();
        assert_eq!((reports.len(), refused), (1, 2));
    }

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

    proptest! {
        #[test]
        fn no_body_upsets_it(items in prop::collection::vec("\\PC{0,40}", 0..5)) {
            let _ = read(format!("{{\"reports\":[{}]}}", items.join(",")).as_bytes());
            let _ = read(items.concat().as_bytes());
        }
    }

    #[test]
    fn a_batch_is_bounded() {
        let body = |count: usize| format!(r#"{{"reports":[{}]}}"#, vec!["0"; count].join(","));
        assert_eq!(read(body(REPORTS_MAX).as_bytes()).unwrap().1, REPORTS_MAX as u64);
        assert!(read(body(REPORTS_MAX + 1).as_bytes()).is_err());
        assert!(read(b"[]").is_err());
    }
}
