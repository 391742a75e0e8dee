//! `/v1/logins/{id}`: open a login, wait for its decision, cancel it.

use kbmfa_proto::login::{LoginReply, OpenLogin, WAIT_S_MAX};
use kbmfa_proto::names::LoginId;
use std::time::Duration;

use super::call::{Api, Call};
use super::reply::{self, Failure};
use crate::logins::Error;
use crate::machines::caller::Credential;

pub(super) async fn open(api: Api, who: Credential, call: Call) -> Result<LoginReply, Failure> {
    let (id, opened): (_, OpenLogin) = (login_id(&call.id)?, reply::json(&call.body)?);
    Ok(api.logins.open(who, id, opened).await?)
}

pub(super) async fn wait(api: Api, who: Credential, call: Call) -> Result<LoginReply, Failure> {
    let id = login_id(&call.id)?;
    let wait = parse_wait(&call.query);
    let wait = wait.ok_or(Error::Bad("wait must be a whole number of seconds from 0 to 30"))?;
    Ok(api.logins.wait(who, id, wait).await?)
}

pub(super) async fn cancel(api: Api, who: Credential, call: Call) -> Result<LoginReply, Failure> {
    Ok(api.logins.cancel(who, login_id(&call.id)?).await?)
}

/// Parses the query `wait=N`, in seconds. No query means 0. `None` if it is anything else.
pub(super) fn parse_wait(query: &str) -> Option<Duration> {
    let seconds = match query.strip_prefix("wait=") {
        Some(digits) => digits.parse().ok()?,
        None if query.is_empty() => 0,
        None => return None,
    };
    (seconds <= WAIT_S_MAX).then(|| Duration::from_secs(seconds))
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
