//! One connection: TLS, HTTP/1.1, and a deadline for everything that depends on the other side.
//!
//! | while | it ends after |
//! |---|---|
//! | the TLS handshake | [`HANDSHAKE_TIME`] |
//! | no credential is proven, whatever else happens | the listener's `unproven_time`, or when it is evicted |
//! | a request's head | [`HEAD_TIME`] |
//! | a request's body | [`BODY_TIME`] |
//! | the answer is not read, or nothing is asked | [`IDLE_TIME`](super::activity::IDLE_TIME), at most twice that |

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use kbmfa_proto::{VERSION, VERSION_HEADER};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::activity::{Activity, InFlight};
use super::caller::{self, Peer};
use super::connections::{ConnectionPermit, MustEnd, ProvenCaller, Seen};
use super::downloads::{self, Held};
use super::enrolment::answer_time;
use super::gate::{Gate, Refusal};
use super::reply;
use super::routes::{are_for_anybody, are_for_employees, body_bytes_max};
use crate::source::Address;

/// Time for the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Time for a request's head.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Time for a request's body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Everything that serving a connection needs.
#[derive(Clone)]
pub(super) struct Inside {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) routes: BoxedFilter<(Response,)>,
    pub(super) gate: Option<Arc<Gate>>,
    pub(super) seen: Arc<Seen>,
    pub(super) peer: Peer,
}

/// Why a connection failed. Clients vanish often, so this is only a debug line.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    #[error("{0}")]
    Http(hyper::Error),
    #[error(transparent)]
    MustEnd(#[from] MustEnd),
}

/// Serves a connection until it ends by itself, or must end because it has no proven credential.
pub(super) async fn serve(
    stream: TcpStream,
    inside: Inside,
    permit: ConnectionPermit,
    watcher: Watcher,
) -> Result<(), Ended> {
    let permit = Arc::new(permit);
    tokio::select! {
        ended = serve_tls(stream, inside, Arc::clone(&permit), watcher) => ended,
        why = permit.must_end() => Err(why.into()),
    }
}

async fn serve_tls(
    stream: TcpStream,
    inside: Inside,
    permit: Arc<ConnectionPermit>,
    watcher: Watcher,
) -> Result<(), Ended> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(20)).with_interval(Duration::from_secs(5));
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(Ended::Handshake)?;
    stream.set_nodelay(true).map_err(Ended::Handshake)?;
    let stream = Monitored { stream, permit: Arc::clone(&permit) };
    let Some(config) = inside.tls.clone() else {
        return serve_http(stream, inside, permit, watcher).await;
    };
    let handshake = timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream));
    let handshake = handshake.await.map_err(|_| Ended::Handshake(io::ErrorKind::TimedOut.into()))?;
    serve_http(handshake.map_err(Ended::Handshake)?, inside, permit, watcher).await
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    inside: Inside,
    permit: Arc<ConnectionPermit>,
    watcher: Watcher,
) -> Result<(), Ended> {
    let activity = Arc::<Activity>::default();
    let of_requests = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        inside.seen.requests.fetch_add(1, Ordering::Relaxed);
        let (inside, permit, in_flight) = (inside.clone(), Arc::clone(&permit), InFlight::new(&of_requests));
        let in_flight = Arc::new(in_flight);
        request.extensions_mut().insert(Arc::clone(&in_flight));
        async move {
            let response = answer(inside, &permit, request).await;
            drop(in_flight);
            response
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES_MAX);
    let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection => ended.map_err(Ended::Http),
        () = activity.ceases() => Ok(()),
    }
}

/// A stream that notes when the other side sends something.
struct Monitored<S> {
    stream: S,
    permit: Arc<ConnectionPermit>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Monitored<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if into.filled().len() > before {
            self.permit.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Monitored<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Answers a request. Every answer has the protocol version, and a connection without a proven credential
/// gets only one answer.
async fn answer(
    inside: Inside,
    permit: &ConnectionPermit,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let has_gate = inside.gate.is_some();
    let mut response = answer_or_refuse(inside, permit, request).await.unwrap_or_else(|refusal| refusal);
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    if has_gate && !permit.is_proven() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Checks and answers a request. While the other side sends, neither a permit nor the database is held.
async fn answer_or_refuse(
    inside: Inside,
    permit: &ConnectionPermit,
    request: Request<Incoming>,
) -> Result<Response, Response> {
    let (mut head, body) = request.into_parts();
    head.extensions.insert(inside.peer);
    let seen = Arc::clone(&inside.seen);
    let refused = |refusal: Refusal| {
        if matches!(refusal, Refusal::Busy) {
            seen.busy.fetch_add(1, Ordering::Relaxed);
        }
        reply::refused(&refusal)
    };
    let call = async |head, body| {
        let _served = permit.serve();
        let called =
            TowerToHyperService::new(warp::service(inside.routes)).call(Request::from_parts(head, body));
        called.await.unwrap_or_else(|never| match never {})
    };
    let bytes_max = body_bytes_max(head.uri.path());
    let Some(gate) = &inside.gate else { return Ok(call(head, read(body, bytes_max).await?).await) };
    if downloads::name_in(head.uri.path()).is_some() {
        if !permit.enrol() {
            return Err(refused(Refusal::Busy));
        }
        hold_download(gate, permit, &mut head).await.map_err(refused)?;
        return Ok(call(head, Full::default()).await);
    }
    if !head.uri.path().starts_with("/v1/") {
        return Ok(call(head, Full::default()).await);
    }
    if let Some(refusal) = wrong_version(&head) {
        return Err(refusal);
    }
    if are_for_anybody(head.uri.path()) {
        let body = read(body, bytes_max).await?;
        let _served = permit.serve();
        let _permit_to_join = gate.permit_to_join(permit.source()).await.map_err(refused)?;
        return Ok(call(head, body).await);
    }
    if are_for_employees(head.uri.path()) {
        if !permit.enrol() {
            return Err(refused(Refusal::Busy));
        }
        let body = read(body, bytes_max).await?;
        let _served = permit.serve();
        let arrived = Instant::now();
        let permit_to_enrol = gate.permit_to_enrol(permit.source()).await.map_err(refused)?;
        let response = call(head, body).await;
        drop(permit_to_enrol);
        if response.status() == StatusCode::FORBIDDEN {
            sleep_until(answer_time(arrived, Instant::now())).await;
        }
        return Ok(response);
    }
    let Peer(address) = inside.peer;
    let caller = prove(gate, permit, &mut head, address).await.map_err(refused)?;
    let response = call(head, read(body, bytes_max).await?).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        gate.forget(&caller);
    }
    Ok(response)
}

fn wrong_version(head: &Parts) -> Option<Response> {
    if head.headers.get(VERSION_HEADER).is_some_and(|version| version == VERSION) {
        return None;
    }
    let detail = format!("send the header {VERSION_HEADER}: {VERSION}");
    let title = "this server does not support that version of the protocol";
    Some(reply::problem(StatusCode::BAD_REQUEST, "unsupported-version", title, Some(detail)))
}

/// Gives a download its permit, which lasts as long as its body is sent.
async fn hold_download(gate: &Gate, permit: &ConnectionPermit, head: &mut Parts) -> Result<(), Refusal> {
    if let Some(in_flight) = head.extensions.remove::<Arc<InFlight>>() {
        let permit_to_download = gate.permit_to_download(permit.source()).await?;
        let alive = Arc::new((permit.serve(), in_flight));
        head.extensions.insert(Held { permit: Arc::new(permit_to_download), alive });
    }
    Ok(())
}

async fn prove(
    gate: &Gate,
    permit: &ConnectionPermit,
    head: &mut Parts,
    address: Address,
) -> Result<ProvenCaller, Refusal> {
    let _served = permit.serve();
    let authorization = head.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let credential = authorization.and_then(|header| caller::read(header, address));
    let caller = gate.admit(credential.as_ref(), address).await?;
    if !permit.prove(&caller, gate.connections_of(&caller)) {
        return Err(Refusal::TooManyConnections);
    }
    // The credential is parsed once, here. The routes find it in the request.
    if let Some(credential) = credential {
        head.extensions.insert(credential);
    }
    Ok(caller)
}

/// Reads a whole body within its limits.
async fn read(body: Incoming, bytes_max: usize) -> Result<Full<Bytes>, Response> {
    match timeout(BODY_TIME, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(Full::new(body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let title = "the body is larger than this server accepts";
            Err(reply::problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, None))
        }
        Ok(Err(_)) | Err(_) => {
            let title = "the body did not arrive completely and in time";
            Err(reply::problem(StatusCode::BAD_REQUEST, "bad-request", title, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::activity::IDLE_TIME;
    use crate::http::connections::{ConnectionLimiter, Limits};
    use crate::source::Address;
    use hyper_util::server::graceful::GracefulShutdown;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use warp::{Filter, Reply};

    /// Serves one in-memory connection, and returns how long it lasted.
    fn serve(line: DuplexStream) -> tokio::task::JoinHandle<Duration> {
        let unproven_time = Duration::from_secs(3_600);
        let limits = Limits {
            proven: 9,
            proven_per_source: 9,
            unproven: 9,
            unproven_per_source: 9,
            unproven_time,
            enrolment: 9,
            enrolment_per_source: 9,
        };
        let address: Address = "192.0.2.1".parse().unwrap();
        let permit = ConnectionLimiter::new(limits, Arc::default()).admit(address.source());
        let routes = warp::any().and(warp::body::bytes()).map(|_| "x".repeat(500).into_response()).boxed();
        let inside = Inside { tls: None, routes, gate: None, seen: Arc::default(), peer: Peer(address) };
        tokio::spawn(async move {
            let begun = Instant::now();
            let _ = serve_http(line, inside, Arc::new(permit), GracefulShutdown::new().watcher()).await;
            begun.elapsed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_answers_nobody_reads_is_closed() {
        let (mut client, line) = duplex(1_000);
        let served = serve(line);
        let ask = async { while client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {} };
        ask.await;
        let lasted = served.await.unwrap();
        assert!(lasted <= IDLE_TIME * 2, "it lasted {lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_in_is_not_waited_for() {
        let (mut client, line) = duplex(1_000);
        let served = serve(line);
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while client.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let lasted = served.await.unwrap();
        assert!(lasted <= HEAD_TIME + Duration::from_secs(1), "it lasted {lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_in_is_refused_in_time() {
        let (mut client, line) = duplex(1_000);
        let served = serve(line);
        let begun = Instant::now();
        client.write_all(b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\nbody").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, begun.elapsed()), (b"HTTP/1.1 400", BODY_TIME));
        drop(client);
        served.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_when_nothing_begins_and_nothing_is_in_flight() {
        let activity = Arc::<Activity>::default();
        let request = InFlight::new(&activity);
        assert!(timeout(IDLE_TIME * 10, activity.ceases()).await.is_err(), "a poll is held");
        drop(request);
        assert!(timeout(IDLE_TIME * 3, activity.ceases()).await.is_ok());
    }
}
