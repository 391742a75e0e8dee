//! `/v1/sessions` and `/v1/reports`: what machines report.

use kbmfa_proto::session::{REPORTS_MAX, Reports, SessionReport};
use serde_json::Value;
use warp::hyper::body::Bytes;
use warp::reply::Response;

use super::caller;
use super::reply::{self, Failure};
use crate::logins::Error;
use crate::roster::caller::Credential;
use crate::sessions::Sessions;

pub(super) async fn one(who: Option<Credential>, sessions: Sessions, body: Bytes) -> Response {
    let result = async {
        let who = caller::own(who)?;
        let report: SessionReport = reply::json(&body)?;
        Ok::<_, Failure>(sessions.take(who, vec![report], 0).await?)
    };
    reply::from(result.await)
}

pub(super) async fn batch(who: Option<Credential>, sessions: Sessions, body: Bytes) -> Response {
    let result = async {
        let who = caller::own(who)?;
        let (reports, refused) = read(&body)?;
        Ok::<_, Failure>(sessions.take(who, reports, refused).await?)
    };
    reply::from(result.await)
}

/// The reports of a batch, and how many were none: they are read one by one, for one that makes no sense must
/// not hold up the others for ever.
pub(super) fn read(body: &[u8]) -> Result<(Vec<SessionReport>, u64), Failure> {
    let Reports::<Value> { reports } = reply::json(body)?;
    if reports.len() > REPORTS_MAX {
        return Err(Error::Bad("a batch holds at most 64 reports").into());
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
