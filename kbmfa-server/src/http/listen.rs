//! The accept loop: gives each connection a permit and a task.

use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use warp::filters::BoxedFilter;

use super::caller::Peer;
use super::connection::{self, Ended, Inside};
use super::connections::{ConnectionLimiter, Limits, Seen};
use super::gate::Gate;
use crate::fault_log::FaultLog;
use crate::progress::Progress;
use crate::source::Address;

/// Backlog of connections in the kernel.
const BACKLOG: i32 = 4096;
/// Time that open requests get to finish when the server ends.
const DRAIN_TIME: Duration = Duration::from_secs(4);
/// Pause after a failed `accept`. The likely cause is a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Binds a listener.
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
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// The certificate in force; `None` for plain HTTP.
    pub tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// Its routes.
    pub routes: BoxedFilter<(warp::reply::Response,)>,
    /// The gate before the routes. Without one every request passes, and no connection ever has a proven
    /// credential.
    pub gate: Option<Arc<Gate>>,
    /// Limits of its connections.
    pub limits: Limits,
    /// Counters of its connections.
    pub seen: Arc<Seen>,
}

impl Listener {
    /// Serves until `closing` becomes true, and then lets open requests finish.
    pub async fn serve(self, mut closing: watch::Receiver<bool>, progress: Progress) {
        let mut faults = FaultLog::new("accept");
        let graceful = GracefulShutdown::new();
        let limiter = ConnectionLimiter::new(self.limits, Arc::clone(&self.seen));
        loop {
            let accepted = tokio::select! {
                accepted = progress.waiting(self.socket.accept()) => accepted,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            let Some((stream, peer)) = faults.note(accepted) else {
                // The likely cause is a lack of file descriptors, so an unproven connection is evicted. The
                // pause prevents a busy loop.
                limiter.make_room();
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let address = Address::from(peer.ip());
            let permit = limiter.admit(address.source());
            let tls = self.tls.as_ref().map(|tls| Arc::clone(&tls.borrow()));
            let (routes, gate, seen) = (self.routes.clone(), self.gate.clone(), Arc::clone(&self.seen));
            let inside = Inside { tls, routes, gate, seen, peer: Peer(address) };
            let (connection, seen) =
                (connection::serve(stream, inside, permit, graceful.watcher()), Arc::clone(&self.seen));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    log::debug!("connection from {peer}: {error}");
                    if matches!(error, Ended::Handshake(_)) {
                        seen.handshakes_failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        drop(self.socket);
        if timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
            log::warn!("some requests did not end within {DRAIN_TIME:?}");
        }
    }
}
