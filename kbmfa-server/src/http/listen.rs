//! The accept loop: TLS, HTTP/1.1 and 2, and a limit on everything that a stranger can make us hold.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::service::Service;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use kbmfa_proto::{VERSION, VERSION_HEADER};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use warp::filters::BoxedFilter;

use super::{BODY_BYTES_MAX, reply};

/// Time for the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Time for a request's head, and for an idle connection.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Time for a request's body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// HTTP/2 requests at once on one connection.
const STREAMS_MAX: u32 = 64;
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
            by_address: Mutex::default(),
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
            let Some(place) = crowd.admit(peer.ip().to_canonical()) else { continue };
            let tls = self.tls.as_ref().map(|tls| Arc::clone(&tls.borrow()));
            let connection = serve_one(stream, tls, self.routes.clone(), graceful.watcher());
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

/// How a connection ended badly. Clients vanish all the time: worth a debug line, no more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    #[error("{0}")]
    Http(Box<dyn std::error::Error + Send + Sync>),
}

async fn serve_one(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    routes: BoxedFilter<(warp::reply::Response,)>,
    watcher: Watcher,
) -> Result<(), Ended> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(20)).with_interval(Duration::from_secs(5));
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(Ended::Handshake)?;
    stream.set_nodelay(true).map_err(Ended::Handshake)?;
    match tls {
        Some(config) => {
            let handshake = timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream));
            let handshake = handshake.await.map_err(|_| Ended::Handshake(io::ErrorKind::TimedOut.into()))?;
            converse(handshake.map_err(Ended::Handshake)?, routes, watcher).await
        }
        None => converse(stream, routes, watcher).await,
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: BoxedFilter<(warp::reply::Response,)>,
    watcher: Watcher,
) -> Result<(), Ended> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    let service = hyper::service::service_fn(move |request| answer(routes.clone(), request));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    watcher.watch(connection).await.map_err(Ended::Http)
}

/// Every answer says which protocol it is in.
async fn answer(
    routes: BoxedFilter<(warp::reply::Response,)>,
    request: Request<Incoming>,
) -> Result<warp::reply::Response, Infallible> {
    let mut response = match admit(request).await {
        Ok(request) => TowerToHyperService::new(warp::service(routes)).call(request).await?,
        Err(refusal) => refusal,
    };
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    Ok(response)
}

/// Reads the whole body within its limits, before any route sees the request.
async fn admit(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, warp::reply::Response> {
    let (head, body) = request.into_parts();
    if head.uri.path().starts_with("/v1/") && head.headers.get(VERSION_HEADER).is_none_or(|v| v != VERSION) {
        let detail = format!("send the header {VERSION_HEADER}: {VERSION}");
        let title = "this server does not speak that version of the protocol";
        return Err(reply::problem(StatusCode::BAD_REQUEST, "unsupported-version", title, Some(detail)));
    }
    match timeout(BODY_TIME, Limited::new(body, BODY_BYTES_MAX).collect()).await {
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
    by_address: Mutex<HashMap<IpAddr, u64>>,
    seen: Arc<Seen>,
}

impl Crowd {
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let here = by_address.get(&address).copied().unwrap_or(0);
        if here >= self.limits.per_address
            || self.seen.open.load(Ordering::Relaxed) >= self.limits.connections
        {
            self.seen.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        by_address.insert(address, here + 1);
        self.seen.open.fetch_add(1, Ordering::Relaxed);
        self.seen.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Place { crowd: Arc::clone(self), address })
    }
}

/// A place among the connected, given back on drop.
struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.crowd.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                by_address.remove(&self.address);
            }
        }
        self.crowd.seen.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let limits = Limits { connections: 3, per_address: 2 };
        let crowd = Arc::new(Crowd { limits, by_address: Mutex::default(), seen: Arc::default() });
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let places = [crowd.admit(one).unwrap(), crowd.admit(one).unwrap()];
        assert!(crowd.admit(one).is_none());
        let third = crowd.admit(other).unwrap();
        assert!(crowd.admit(other).is_none(), "no more than three in all");
        drop((places, third));
        assert!(crowd.by_address.lock().unwrap().is_empty());
        assert!(crowd.admit(one).is_some());
    }
}
