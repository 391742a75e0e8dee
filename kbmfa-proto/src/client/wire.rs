//! ureq's transport: connect, TLS and every wait on the calling thread.
//!
//! ureq passes the remaining time of the call to each step, and no step waits longer.

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector as UreqConnector, LazyBuffers, NextTimeout, Transport,
};

use super::waiting::{self, Event, Watch};
use super::{Error, Target, Trust, tls};

/// Size of each connection's input and output buffers, in bytes. A TLS record fits.
pub(super) const BUFFER_BYTES: usize = 16 * 1024;

/// Keepalive notices a server that vanished without closing. Idle time before the first probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// Keepalive: time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// Keepalive: number of unanswered probes that ends the connection.
const KEEPALIVE_PROBES: u32 = 3;

/// A failure to connect counts as unreachable only if the call waited for the network during at least one
/// half (1/2) of its time, and for at least [`WAITED_MIN`].
const WAITED_PART_MIN: u32 = 2;
/// See [`WAITED_PART_MIN`].
const WAITED_MIN: Duration = Duration::from_millis(500);

/// Marks the error of a call that ended because the watched person left.
#[derive(Debug, thiserror::Error)]
#[error("the watched person left")]
pub struct HungUp;

/// Marks the error of a connection that timed out while this process hardly ran.
#[derive(Debug, thiserror::Error)]
#[error("this process was stopped")]
struct StoodStill;

/// Marks an error that came before there was a TCP connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoConnection(io::Error);

/// Finds these marks in an error that has passed through ureq and rustls.
pub(super) fn explain(error: io::Error) -> Error {
    let kind = error.kind();
    let Err(error) = error.downcast::<HungUp>() else { return Error::HungUp };
    let Err(error) = error.downcast::<StoodStill>() else { return Error::StoodStill };
    let error = match error.downcast::<NoConnection>() {
        Ok(NoConnection(cause)) => return Error::Connect(cause),
        Err(other) => other,
    };
    match error.downcast::<rustls::Error>() {
        Ok(cause) => Error::Tls(cause),
        Err(_) if kind == io::ErrorKind::TimedOut => Error::Timeout,
        Err(other) => Error::Lost(other),
    }
}

/// Answers ureq's look-up with the one address that the connector uses.
#[derive(Debug)]
pub(super) struct NoLookup(pub(super) SocketAddr);

impl Resolver for NoLookup {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// Opens the connection to one address.
#[derive(Debug)]
pub(super) struct Connector {
    address: SocketAddr,
    name: ServerName<'static>,
    trust: Trust,
    watch: Option<Watch>,
}

impl Connector {
    pub(super) fn new(target: &Target, trust: &Trust, watch: Option<Watch>) -> Result<Self, Error> {
        let name = tls::server_name(&target.host)?;
        Ok(Self { address: target.address, name, trust: trust.clone(), watch })
    }
}

impl UreqConnector for Connector {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Wire>, ureq::Error> {
        let call_time = details.config.timeouts().global.unwrap_or_default();
        let enough = (call_time / WAITED_PART_MIN).max(WAITED_MIN);
        let until = end_of(details.timeout);
        let mut tcp = Tcp::connect(self.address, self.watch.clone(), until, enough)?;
        let mut tls = ClientConnection::new(Arc::clone(&self.trust.config), self.name.clone())
            .map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Some(Wire { buffers: LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES), tls, tcp }))
    }
}

/// One TLS connection.
#[derive(Debug)]
pub(super) struct Wire {
    buffers: LazyBuffers,
    tls: ClientConnection,
    tcp: Tcp,
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.tcp.until = end_of(timeout.for_write());
        let output = self
            .buffers
            .output()
            .get(..amount)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.tcp);
        stream.write_all(output)?;
        Ok(stream.flush()?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.tcp.until = end_of(timeout.for_read());
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.tcp);
        let amount = stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// An idle connection has no data to read. If something is readable, it is closing.
    fn is_open(&mut self) -> bool {
        matches!(self.tcp.stream.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl Drop for Wire {
    /// Sends `close_notify` if that is possible without waiting. It does not use the stream's own writer:
    /// rustls writes vectored, the standard library does that by `writev`, and `writev` raises SIGPIPE in the
    /// calling program.
    fn drop(&mut self) {
        self.tls.send_close_notify();
        self.tcp.until = waiting::now();
        let _ = self.tls.write_tls(&mut self.tcp);
    }
}

/// The moment until which a step may wait. A step without a time limit ends at once.
fn end_of(timeout: NextTimeout) -> Instant {
    let now = waiting::now();
    timeout.not_zero().and_then(|left| now.checked_add(*left)).unwrap_or(now)
}

/// A non-blocking TCP socket that waits in one place.
#[derive(Debug)]
struct Tcp {
    stream: TcpStream,
    watch: Option<Watch>,
    until: Instant,
}

impl Tcp {
    /// Connects. A time-out after waiting for less than `enough` says nothing about the network.
    fn connect(
        address: SocketAddr,
        watch: Option<Watch>,
        until: Instant,
        enough: Duration,
    ) -> io::Result<Self> {
        // Only errors of the network make a server unreachable. A lack of descriptors, ports or rights is
        // this machine's problem, and a local user may have caused it on purpose.
        let before = |errno: Errno| match errno {
            Errno::CONNREFUSED
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN => io::Error::other(NoConnection(errno.into())),
            own => io::Error::from(own),
        };
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(before)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(errno) => return Err(before(errno)),
        }
        let tcp = Self { stream: TcpStream::from(socket), watch, until };
        match tcp.event(PollFlags::OUT)? {
            Event::Ready => {}
            Event::HungUp => return Err(io::Error::other(HungUp)),
            Event::TimeUp { waited } if waited >= enough => {
                return Err(io::Error::other(NoConnection(io::ErrorKind::TimedOut.into())));
            }
            Event::TimeUp { .. } => return Err(io::Error::other(StoodStill)),
        }
        sockopt::socket_error(&tcp.stream).and_then(|outcome| outcome).map_err(before)?;
        tcp.stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&tcp.stream, true)?;
        sockopt::set_tcp_keepidle(&tcp.stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&tcp.stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&tcp.stream, KEEPALIVE_PROBES)?;
        Ok(tcp)
    }

    /// Waits until the socket is ready; any other event is an error. Returns whether time is up: a socket
    /// that is ready but accepts nothing must not be tried forever.
    fn wait(&self, ready: PollFlags) -> io::Result<bool> {
        match self.event(ready)? {
            Event::Ready => Ok(waiting::now() >= self.until),
            Event::HungUp => Err(io::Error::other(HungUp)),
            Event::TimeUp { .. } => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn event(&self, ready: PollFlags) -> io::Result<Event> {
        waiting::wait(Some(&PollFd::new(&self.stream, ready)), self.watch.as_ref(), self.until)
    }
}

impl Read for Tcp {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut is_last = false;
        loop {
            match self.stream.read(into) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && is_last => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => is_last = self.wait(PollFlags::IN)?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

/// Writes by `write` alone, which raises no SIGPIPE here.
impl Write for Tcp {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let mut is_last = false;
        loop {
            match self.stream.write(from) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && is_last => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => is_last = self.wait(PollFlags::OUT)?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
