//! Responses: JSON, or a problem. Has the one table from internal errors to HTTP errors. An unexpected error
//! is answered as "internal error"; only the log has its details.

use kbmfa_proto::problem::{MEDIA_TYPE, Problem};
use kbmfa_proto::text::SafeText;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reject::{MethodNotAllowed, Rejection};
use warp::reply::{Reply, Response};

use super::gate::Refusal;
use crate::ca;
use crate::db;
use crate::enrolment;
use crate::fault_log::SharedFaultLog;
use crate::keys;
use crate::logins::Error;
use crate::machines;
use crate::usecases;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Action(#[from] Error),
    #[error("the body does not fit this route: {0}")]
    Json(serde_json::Error),
    #[error("this machine sends more than its limit allows")]
    TooFast,
    #[error(transparent)]
    Certificates(#[from] ca::Error),
    #[error(transparent)]
    Enrolment(#[from] usecases::Error),
}

/// Parses a request's JSON body.
pub(super) fn json<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(Failure::Json)
}

/// The response to an action's result.
pub(super) fn from<T: Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(answer) => warp::reply::json(&answer).into_response(),
        Err(failure) => explain(&failure),
    }
}

/// No route matches.
pub(super) async fn no_route(rejection: Rejection) -> Result<Response, Infallible> {
    let is_method = rejection.find::<MethodNotAllowed>().is_some();
    Ok(if is_method { method_not_allowed() } else { not_found() })
}

pub(super) fn method_not_allowed() -> Response {
    let title = "this route does not accept that method";
    problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title, None)
}

pub(super) fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "not-found", "there is no such route", None)
}

/// A problem document.
pub(super) fn problem(status: StatusCode, code: &str, title: &str, detail: Option<String>) -> Response {
    let (code, title) = (SafeText::new(code), SafeText::new(title));
    let body = Problem { code, status: status.as_u16(), title, detail: detail.map(SafeText::from) };
    let mut response = warp::reply::json(&body).into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// The response to a request that the gate rejects.
pub(super) fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Unauthorized => explain(&Failure::Action(Error::Unauthorized)),
        Refusal::TooFast => explain(&Failure::TooFast),
        Refusal::TooManyConnections => {
            let title = "this machine, or its address, has too many connections";
            come_back(problem(StatusCode::SERVICE_UNAVAILABLE, "too-many-connections", title, None))
        }
        Refusal::Busy => {
            let title = "too many unknown callers at once; try again in a moment";
            come_back(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", title, None))
        }
        Refusal::Unavailable(error) => explain(&Failure::Action(Error::Db(error.clone()))),
    }
}

/// Adds `Retry-After: 1`, in seconds.
fn come_back(mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// If the database fails, it fails for every request, so a fault log limits the lines.
static FAILED: SharedFaultLog = SharedFaultLog::new("a request failed");

fn explain(failure: &Failure) -> Response {
    let say = |status, code, title: &str| problem(status, code, title, None);
    match failure {
        Failure::Json(error) => {
            let (status, detail) = (StatusCode::BAD_REQUEST, error.to_string());
            problem(status, "bad-request", "the body does not fit this route", Some(detail))
        }
        Failure::TooFast => {
            let title = "this machine sends more requests, or more data, than its limit allows";
            say(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", title)
        }
        Failure::Certificates(error) => {
            FAILED.failed(error);
            say(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
        }
        Failure::Enrolment(error) => explain_enrolment(error),
        Failure::Action(error) => match error {
            Error::Bad(what) => say(StatusCode::BAD_REQUEST, "bad-request", what),
            Error::Unauthorized => {
                say(StatusCode::UNAUTHORIZED, "unauthorized", "the credential is not accepted")
            }
            Error::OnlyLogins => {
                let title = "the AUTH_TOKEN can only open logins; join this machine";
                say(StatusCode::FORBIDDEN, "only-logins", title)
            }
            Error::Machine(machines::Error::TooManyClaimed) => {
                let title = "too many machines use the AUTH_TOKEN already";
                say(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", title)
            }
            Error::NotFound(_) | Error::Ambiguous(_) => {
                say(StatusCode::NOT_FOUND, "not-found", "this machine has no such login")
            }
            Error::Conflict(_) => {
                say(StatusCode::CONFLICT, "conflict", "this id is used by another login already")
            }
            Error::BatchUnderWay => {
                let title = "another batch of this machine's reports is in progress";
                say(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", title)
            }
            Error::TooManyPolls => {
                say(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "too many polls for this login")
            }
            Error::Machine(machines::Error::TokenRefused) => {
                say(StatusCode::FORBIDDEN, "token-refused", "the join token is unknown, used or expired")
            }
            Error::Db(db::Error::ReadOnly) | Error::Machine(machines::Error::Db(db::Error::ReadOnly)) => {
                let title = "the server was restored from a backup and waits for a confirmation";
                say(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title)
            }
            Error::Db(error) | Error::Machine(machines::Error::Db(error)) => {
                FAILED.failed(error);
                say(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the database cannot be used right now")
            }
            Error::Machine(_) | Error::Random(_) => {
                FAILED.failed(error);
                say(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
            }
        },
    }
}

/// The answer to an employee's computer. A status of 403 is answered late, see [`super::enrolment::answer_time`]: it is that
/// of everybody who has proved nothing.
fn explain_enrolment(error: &usecases::Error) -> Response {
    use enrolment::Error as Enrolment;
    let say = |status, code| problem(status, code, &error.to_string(), None);
    match error {
        usecases::Error::Enrolment(Enrolment::Db(error)) | usecases::Error::Db(error) => {
            explain(&Failure::Action(Error::Db(error.clone())))
        }
        usecases::Error::Enrolment(error) => match error {
            Enrolment::Invite => say(StatusCode::FORBIDDEN, "invite-refused"),
            Enrolment::Signer => say(StatusCode::FORBIDDEN, "signer-refused"),
            Enrolment::OtherServer => say(StatusCode::MISDIRECTED_REQUEST, "other-server"),
            Enrolment::Stale(_) => say(StatusCode::CONFLICT, "stale-challenge"),
            Enrolment::NotYours => say(StatusCode::NOT_FOUND, "not-found"),
            Enrolment::Password(_) => say(StatusCode::UNPROCESSABLE_ENTITY, "password-refused"),
            Enrolment::Key(_) | Enrolment::Signature(_) | Enrolment::Device | Enrolment::Db(_) => {
                say(StatusCode::UNPROCESSABLE_ENTITY, "key-refused")
            }
        },
        usecases::Error::Key(keys::Error::Db(error)) => explain(&Failure::Action(Error::Db(error.clone()))),
        // Whose it is is nothing to tell.
        usecases::Error::Key(keys::Error::HeldBy(_)) => {
            let title = "this key belongs to somebody else; make a new one";
            problem(StatusCode::CONFLICT, "key-conflict", title, None)
        }
        usecases::Error::Key(_) => say(StatusCode::CONFLICT, "key-conflict"),
        other => {
            FAILED.failed(other);
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error", None)
        }
    }
}
