//! The one blocking HTTPS client: TLS 1.3 to a pinned CA, one total deadline for each call, a size limit on
//! the reply, no redirects, no proxy, no environment variables, no threads, no name look-up.
//!
//! While it waits it can watch whether the person is still there ([`Presence`]), so the module notices when
//! an ssh client hangs up. It never retries, because only the caller knows which requests may be repeated.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;
use ureq::http;
use ureq::unversioned::transport::Connector;
use ureq::{Agent, RequestExt};

use crate::caller::Authorization;
use crate::problem::Problem;
use crate::{VERSION, VERSION_HEADER};

mod certificate_words;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod tls;
mod waiting;
mod wire;

pub use tls::{BadCa, Trust, pin_of, provider};
pub use ureq::http::Method;
pub use waiting::{Event, Peer, Presence, Watch, wait};
pub use wire::HungUp;

/// Largest reply read, in bytes, unless [`Client::with_replies_up_to`] says otherwise.
pub const REPLY_BYTES_MAX: u64 = 64 * 1024;

/// Largest head of a reply, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
// A head that is too large must be detected before it fills the buffer, because a full buffer looks like a
// broken connection.
const _: () = assert!(HEAD_BYTES_MAX < wire::BUFFER_BYTES);

/// One address of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host name or IP address in the URL: the certificate must name it.
    pub host: String,
    /// The address to connect to.
    pub address: SocketAddr,
}

/// Why a call has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No TCP connection: the only error that means "unreachable".
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    /// The certificate is not trusted, or the peer does not support TLS 1.3.
    #[error("TLS: {}", certificate_words::why(.0))]
    Tls(rustls::Error),
    /// The call's deadline has passed.
    #[error("no answer in time")]
    Timeout,
    /// No TCP connection, but this process was stopped or its machine was suspended for most of the time.
    /// This says nothing about the server.
    #[error("this process was stopped while it was connecting")]
    StoodStill,
    /// The watched person left.
    #[error("the person has left")]
    HungUp,
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(std::io::Error),
    /// The answer is too large, not valid, or not of this protocol.
    #[error("not a kbmfa answer: {0}")]
    Garbage(String),
    /// The server refused.
    #[error("{} ({})", .0.title, .0.code)]
    Refused(Problem),
}

/// A connection to one [`Target`]. It is made when needed, and kept between calls.
pub struct Client {
    agent: Agent,
    base: String,
    authorization: Option<zeroize::Zeroizing<String>>,
    reply_bytes_max: u64,
}

impl Client {
    /// A client for one address. Each call sends the authorization.
    ///
    /// # Errors
    /// [`Error::Garbage`] if the host is neither a DNS name nor an IP address.
    pub fn new(
        target: &Target,
        trust: &Trust,
        authorization: Option<&Authorization<'_>>,
        watch: Option<Watch>,
    ) -> Result<Self, Error> {
        Ok(Self::over(wire::Connector::new(target, trust, watch)?, target, authorization))
    }

    /// A client that gets its connections from this connector.
    fn over(connector: impl Connector, target: &Target, authorization: Option<&Authorization<'_>>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(true)
            .max_redirects(0)
            .max_response_header_size(HEAD_BYTES_MAX)
            .proxy(None)
            .user_agent(concat!("kbmfa/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: Agent::with_parts(config, connector, wire::NoLookup(target.address)),
            base: format!("https://{}", tls::authority(&target.host, target.address.port())),
            authorization: authorization.map(|authorization| authorization.value().into()),
            reply_bytes_max: REPLY_BYTES_MAX,
        }
    }

    /// The same client, but it reads replies up to this size, in bytes.
    #[must_use]
    pub fn with_replies_up_to(self, reply_bytes_max: u64) -> Self {
        Self { reply_bytes_max, ..self }
    }

    /// Sends `method path` with an optional JSON body and reads a JSON answer, all within `time`.
    ///
    /// # Errors
    /// Every [`Error`]; a status other than 2xx is [`Error::Refused`] if its body is a [`Problem`], else
    /// [`Error::Garbage`].
    pub fn call<Body: Serialize, Answer: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Body>,
        time: Duration,
    ) -> Result<Answer, Error> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(VERSION_HEADER, VERSION)
            .header("accept", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.as_str());
        }
        let mut reply = match body {
            Some(body) => {
                let json = serde_json::to_vec(body).map_err(|e| Error::Garbage(e.to_string()))?;
                let request = request.header("content-type", "application/json").body(json);
                self.run(request, time)?
            }
            None => self.run(request.body(()), time)?,
        };
        let bytes =
            reply.body_mut().with_config().limit(self.reply_bytes_max).read_to_vec().map_err(explain)?;
        read(reply.status(), &bytes)
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: http::Result<http::Request<B>>,
        time: Duration,
    ) -> Result<http::Response<ureq::Body>, Error> {
        let request = request.map_err(|e| Error::Garbage(e.to_string()))?;
        let request = request.with_agent(&self.agent);
        request.configure().timeout_global(Some(time)).run().map_err(explain)
    }
}

fn read<Answer: for<'de> Deserialize<'de>>(status: http::StatusCode, bytes: &[u8]) -> Result<Answer, Error> {
    if status.is_success() {
        return serde_json::from_slice(bytes).map_err(|e| Error::Garbage(e.to_string()));
    }
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) if problem.status == status.as_u16() => Err(Error::Refused(problem)),
        _ => Err(Error::Garbage(format!("HTTP status {status}"))),
    }
}

/// Converts ureq's error into ours. ureq's error may wrap one of our own socket code.
fn explain(error: ureq::Error) -> Error {
    match error {
        ureq::Error::Timeout(_) => Error::Timeout,
        ureq::Error::Io(e) => wire::explain(e),
        other => Error::Garbage(other.to_string()),
    }
}
