//! The accept loop: TLS, HTTP/1.1 and 2, and a limit on everything that a stranger can make us hold.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use kbmfa_proto::{VERSION, VERSION_HEADER};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use warp::filters::BoxedFilter;

use super::caller::Peer;
use super::gate::Gate;
use super::{body_bytes_max, reply};
use crate::shared::Shared;
use crate::source::{Address, Source};

/// Time for the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Time for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// A connection without a request for so long, at the least, is closed.
const IDLE_TIME: Duration = Duration::from_secs(15);
/// Time for a request's body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// HTTP/2 requests at once on one connection.
const STREAMS_MAX: u32 = 16;
/// Connections that the kernel keeps while we are busy.
const BACKLOG: i32 = 4096;
/// Time for open requests when the server is asked to end.
const DRAIN_TIME: Duration = Duration::from_secs(4);

/// How many connections are held at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub connections: u64,
    /// From one address.
    pub per_address: u64,
}

/// What the accept loop has seen, for the metrics.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections refused, since there were too many.
    pub refused: AtomicU64,
    /// Requests whose head came whole, whatever became of them.
    pub requests: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
}

/// Binds a listener.
///
/// # Errors
/// What the system says, with the address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}

/// One listener with what it serves.
pub struct Door {
    /// Where it listens.
    pub listener: TcpListener,
    /// The certificate in force; `None` for plain HTTP.
    pub tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// What it serves.
    pub routes: BoxedFilter<(warp::reply::Response,)>,
    /// Who gets as far as that; everybody, without one.
    pub gate: Option<Arc<Gate>>,
    /// How much of it.
    pub limits: Limits,
    /// What it has seen.
    pub seen: Arc<Seen>,
}

impl Door {
    /// Serves until `closing` turns true, then lets open requests end.
    pub async fn serve(self, mut closing: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let crowd = Arc::new(Crowd {
            limits: self.limits,
            by_source: Shared::default(),
            seen: Arc::clone(&self.seen),
        });
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: a pause, or this loop would spin.
                    log::error!("accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let address = Address::from(peer.ip());
            let Some(place) = crowd.admit(address.source()) else { continue };
            let tls = self.tls.as_ref().map(|tls| Arc::clone(&tls.borrow()));
            let (routes, gate, seen) = (self.routes.clone(), self.gate.clone(), Arc::clone(&self.seen));
            let inside = Inside { tls, routes, gate, seen, peer: Peer(address) };
            let connection = serve_one(stream, inside, graceful.watcher());
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    log::debug!("connection from {peer}: {error}");
                    if matches!(error, Ended::Handshake(_)) {
                        place.crowd.seen.handshakes_failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                drop(place);
            });
        }
        drop(self.listener);
        if timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
            log::warn!("some requests had not ended after {DRAIN_TIME:?}");
        }
    }
}

/// What a connection leads to.
#[derive(Clone)]
struct Inside {
    tls: Option<Arc<ServerConfig>>,
    routes: BoxedFilter<(warp::reply::Response,)>,
    gate: Option<Arc<Gate>>,
    seen: Arc<Seen>,
    peer: Peer,
}

/// How a connection ended badly. Clients vanish all the time: worth a debug line, no more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    #[error("{0}")]
    Http(Box<dyn std::error::Error + Send + Sync>),
}

async fn serve_one(stream: TcpStream, inside: Inside, watcher: Watcher) -> Result<(), Ended> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(20)).with_interval(Duration::from_secs(5));
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(Ended::Handshake)?;
    stream.set_nodelay(true).map_err(Ended::Handshake)?;
    let Some(config) = inside.tls.clone() else {
        return converse(stream, Version::Http1, inside, watcher).await;
    };
    let handshake = timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream));
    let handshake = handshake.await.map_err(|_| Ended::Handshake(io::ErrorKind::TimedOut.into()))?;
    let stream = handshake.map_err(Ended::Handshake)?;
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Version::Http2,
        _ => Version::Http1,
    };
    converse(stream, version, inside, watcher).await
}

/// What the two sides agreed to speak, before the first byte of it.
enum Version {
    Http1,
    Http2,
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    version: Version,
    inside: Inside,
    watcher: Watcher,
) -> Result<(), Ended> {
    let activity = Arc::<Activity>::default();
    let of_requests = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |request| {
        inside.seen.requests.fetch_add(1, Ordering::Relaxed);
        let (inside, under_way) = (inside.clone(), UnderWay::new(&of_requests));
        async move {
            let response = answer(inside, request).await;
            drop(under_way);
            response
        }
    });
    let io = TokioIo::new(stream);
    let http_error = |error: hyper::Error| Ended::Http(error.into());
    let connection = async {
        match version {
            Version::Http1 => {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES_MAX);
                watcher.watch(builder.serve_connection(io, service)).await.map_err(http_error)
            }
            Version::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .keep_alive_interval(Some(Duration::from_secs(20)))
                    .keep_alive_timeout(Duration::from_secs(10))
                    .max_concurrent_streams(STREAMS_MAX)
                    .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
                watcher.watch(builder.serve_connection(io, service)).await.map_err(http_error)
            }
        }
    };
    tokio::select! {
        ended = connection => ended,
        () = activity.ceases() => Ok(()),
    }
}

/// What a connection is being used for. One that is used for nothing is closed, whatever it pings.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    under_way: AtomicU64,
}

impl Activity {
    /// Waits until no request has begun and none is under way for the idle time.
    async fn ceases(&self) {
        let mut begun_before = None;
        loop {
            let begun = Some(self.begun.load(Ordering::Relaxed));
            if begun == begun_before && self.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
            begun_before = begun;
            tokio::time::sleep(IDLE_TIME).await;
        }
    }
}

/// One request under way.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every answer says which protocol it is in.
async fn answer(inside: Inside, request: Request<Incoming>) -> Result<warp::reply::Response, Infallible> {
    let mut response = match admit(inside.gate.as_deref(), inside.peer, request).await {
        Ok(request) => TowerToHyperService::new(warp::service(inside.routes)).call(request).await?,
        Err(refusal) => refusal,
    };
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    Ok(response)
}

/// Passes the gate and reads the whole body within its limits, before any route sees the request.
async fn admit(
    gate: Option<&Gate>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Request<Full<Bytes>>, warp::reply::Response> {
    let (mut head, body) = request.into_parts();
    head.extensions.insert(peer);
    let mut place = None;
    if let (Some(gate), true) = (gate, head.uri.path().starts_with("/v1/")) {
        if head.headers.get(VERSION_HEADER).is_none_or(|version| version != VERSION) {
            let detail = format!("send the header {VERSION_HEADER}: {VERSION}");
            let title = "this server does not speak that version of the protocol";
            return Err(reply::problem(StatusCode::BAD_REQUEST, "unsupported-version", title, Some(detail)));
        }
        let authorization = head.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let admitted = gate.admit(head.uri.path(), authorization, peer.0).await;
        place = admitted.map_err(|refusal| reply::refused(&refusal))?;
    }
    let body = Limited::new(body, body_bytes_max(head.uri.path()));
    let read = timeout(BODY_TIME, body.collect()).await;
    drop(place);
    match read {
        Ok(Ok(body)) => Ok(Request::from_parts(head, Full::new(body.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let title = "the body is larger than any that this server takes";
            Err(reply::problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, None))
        }
        Ok(Err(_)) | Err(_) => {
            let title = "the body did not arrive whole and in time";
            Err(reply::problem(StatusCode::BAD_REQUEST, "bad-request", title, None))
        }
    }
}

/// Everybody who is connected.
struct Crowd {
    limits: Limits,
    by_source: Shared<HashMap<Source, u64>>,
    seen: Arc<Seen>,
}

impl Crowd {
    fn admit(self: &Arc<Self>, source: Source) -> Option<Place> {
        let is_admitted = self.by_source.with(|by_source| {
            let here = by_source.get(&source).copied().unwrap_or(0);
            let has_room = here < self.limits.per_address
                && self.seen.open.load(Ordering::Relaxed) < self.limits.connections;
            if has_room {
                by_source.insert(source, here + 1);
                self.seen.open.fetch_add(1, Ordering::Relaxed);
            }
            has_room
        });
        let counter = if is_admitted { &self.seen.accepted } else { &self.seen.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        is_admitted.then(|| Place { crowd: Arc::clone(self), source })
    }
}

/// A place among the connected, given back on drop.
struct Place {
    crowd: Arc<Crowd>,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.by_source.with(|by_source| {
            if let Some(here) = by_source.get_mut(&self.source) {
                *here -= 1;
                if *here == 0 {
                    by_source.remove(&self.source);
                }
            }
            self.crowd.seen.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<Address>().unwrap().source()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_when_nothing_begins_and_nothing_is_under_way() {
        let activity = Arc::<Activity>::default();
        let request = UnderWay::new(&activity);
        assert!(timeout(IDLE_TIME * 10, activity.ceases()).await.is_err(), "a poll is held");
        drop(request);
        assert!(timeout(IDLE_TIME * 3, activity.ceases()).await.is_ok());
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let limits = Limits { connections: 3, per_address: 2 };
        let crowd = Arc::new(Crowd { limits, by_source: Shared::default(), seen: Arc::default() });
        let (one, other) = (source("192.0.2.1"), source("2001:db8::2"));
        let places = [crowd.admit(one).unwrap(), crowd.admit(one).unwrap()];
        assert!(crowd.admit(one).is_none());
        let third = crowd.admit(other).unwrap();
        assert!(crowd.admit(other).is_none(), "no more than three in all");
        drop((places, third));
        assert!(crowd.by_source.with(|by_source| by_source.is_empty()));
        assert!(crowd.admit(one).is_some());
    }
}
