//! `/v1/sessions` and `/v1/reports`: take the reports of machines.

use kbmfa_proto::session::{REPORTS_MAX, Reports, SessionReport, Taken};
use serde_json::Value;

use super::call::{Api, Call};
use super::reply::{self, Failure};

use crate::logins::Error;
use crate::secret::SecretHash;

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

/// The reports of a batch, and the number of invalid ones. Each is parsed separately, so that an invalid one
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
    fn an_invalid_report_does_not_block_the_others() {
        let good = r#"{"id":"00112233445566778899aabbccddeeff","event":"closed","service":"sshd","user":"alice",
            "rhost":null,"tty":null,"connection":{"id":"x","ssh":null},"at_us":0,"module_version":"9","new":1}"#;
        let renamed = good.replace("closed", "renamed");
        let (reports, refused) = read(format!(r#"{{"reports":[{renamed},{good},7]}}"#).as_bytes()).unwrap();
        assert_eq!((reports.len(), refused), (1, 2));
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
