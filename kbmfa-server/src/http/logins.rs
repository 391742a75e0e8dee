//! `/v1/logins/{id}`: open, wait, cancel.

use kbmfa_proto::login::{OpenLogin, WAIT_S_MAX};
use kbmfa_proto::names::LoginId;
use std::convert::Infallible;
use std::time::Duration;
use warp::Filter;
use warp::hyper::body::Bytes;
use warp::reply::Response;

use super::reply;
use crate::logins::{Error, Logins};
use crate::machines::caller::Credential;

pub(super) async fn open(id: String, who: Option<Credential>, logins: Logins, body: Bytes) -> Response {
    let result = async {
        let (who, id) = (known(who)?, login_id(&id)?);
        let opened: OpenLogin = reply::json(&body)?;
        Ok::<_, reply::Failure>(logins.open(who, id, opened).await?)
    };
    reply::from(result.await)
}

pub(super) async fn wait(
    id: String,
    who: Option<Credential>,
    logins: Logins,
    wait: Option<Duration>,
) -> Response {
    let result = async {
        let (who, id) = (known(who)?, login_id(&id)?);
        let wait = wait.ok_or(Error::Bad("wait must be a whole number of seconds from 0 to 30"))?;
        Ok::<_, reply::Failure>(logins.wait(who, id, wait).await?)
    };
    reply::from(result.await)
}

pub(super) async fn cancel(id: String, who: Option<Credential>, logins: Logins) -> Response {
    let result = async {
        let (who, id) = (known(who)?, login_id(&id)?);
        Ok::<_, reply::Failure>(logins.cancel(who, id).await?)
    };
    reply::from(result.await)
}

/// The query `?wait=N`; nothing reads as 0, nonsense as `None`.
pub(super) fn wait_query() -> impl Filter<Extract = (Option<Duration>,), Error = Infallible> + Clone + Send {
    let raw = warp::query::raw().or(warp::any().map(String::new)).unify();
    raw.map(|query: String| parse_wait(&query))
}

pub(super) fn parse_wait(query: &str) -> Option<Duration> {
    let seconds = match query.strip_prefix("wait=") {
        Some(digits) => digits.parse().ok()?,
        None if query.is_empty() => 0,
        None => return None,
    };
    (seconds <= WAIT_S_MAX).then(|| Duration::from_secs(seconds))
}

fn known(credential: Option<Credential>) -> Result<Credential, Error> {
    credential.ok_or(Error::Unauthorized)
}

pub(super) fn login_id(text: &str) -> Result<LoginId, Error> {
    text.parse().map_err(|_| Error::Bad("a login id is 32 lower-case hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_bounded() {
        assert_eq!(parse_wait(""), Some(Duration::ZERO));
        assert_eq!(parse_wait("wait=30"), Some(Duration::from_secs(30)));
        for query in ["wait=31", "wait=", "wait=-1", "wait=1&x", "hold=1"] {
            assert_eq!(parse_wait(query), None, "{query:?}");
        }
    }
}
