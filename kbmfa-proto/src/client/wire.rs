//! ureq's seam for sockets: connect, TLS and every wait in one thread, with one `poll` over the
//! server's socket and the watched one.
//!
//! ureq hands each step the time that is left of the call; no step here waits without it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector as UreqConnector, LazyBuffers, NextTimeout, Transport,
};

use super::{Error, Target, Trust, Watch, tls};

/// Input and output buffers of one connection, in bytes; a TLS record fits.
pub(super) const BUFFER_BYTES: usize = 16 * 1024;

/// How soon a server that vanished without a word is noticed: first probe after this many seconds ..
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// .. then one every so often ..
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// .. and so many unanswered ones end the connection.
const KEEPALIVE_PROBES: u32 = 3;

/// Marks the error of a call that ended because the watched socket was closed.
#[derive(Debug, thiserror::Error)]
#[error("the watched peer hung up")]
pub struct HungUp;

/// Marks an error that came before there was a TCP connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoConnection(io::Error);

/// Finds our marks again in the error that came back through ureq and rustls.
pub(super) fn explain(error: io::Error) -> Error {
    let kind = error.kind();
    match error.downcast::<HungUp>() {
        Ok(_) => Error::HungUp,
        Err(error) => match error.downcast::<NoConnection>() {
            Ok(NoConnection(cause)) => Error::Connect(cause),
            Err(error) => match error.downcast::<rustls::Error>() {
                Ok(cause) => Error::Tls(cause),
                Err(_) if kind == io::ErrorKind::TimedOut => Error::Timeout,
                Err(error) => Error::Lost(error),
            },
        },
    }
}

/// Answers every look-up with the one address that the connector uses anyway.
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
        let until = Until::after(details.timeout);
        let mut tcp = Tcp::connect(self.address, self.watch.clone(), until)?;
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
        self.tcp.until = Until::after(timeout.for_write());
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
        self.tcp.until = Until::after(timeout.for_read());
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.tcp);
        let amount = stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// A connection at rest owes us nothing: whatever can be read now means that it is closing.
    fn is_open(&mut self) -> bool {
        matches!(self.tcp.stream.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl Drop for Wire {
    /// Says goodbye if that can be done without waiting.
    fn drop(&mut self) {
        self.tls.send_close_notify();
        let _ = self.tls.write_tls(&mut &self.tcp.stream);
    }
}

/// The moment up to which a step may wait.
#[derive(Debug, Clone, Copy)]
struct Until(Option<Instant>);

impl Until {
    #[expect(clippy::disallowed_methods, reason = "a deadline needs the monotonic clock where it waits")]
    fn now() -> Instant {
        Instant::now()
    }

    fn after(timeout: NextTimeout) -> Self {
        Self(timeout.not_zero().and_then(|left| Self::now().checked_add(*left)))
    }

    /// Time left; an error once it is used up. A step without any limit is never taken.
    fn left(self) -> io::Result<Timespec> {
        let left = self.0.map(|end| end.saturating_duration_since(Self::now())).unwrap_or_default();
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

/// A non-blocking TCP socket that waits in one place.
#[derive(Debug)]
struct Tcp {
    stream: TcpStream,
    watch: Option<Watch>,
    until: Until,
}

impl Tcp {
    fn connect(address: SocketAddr, watch: Option<Watch>, until: Until) -> io::Result<Self> {
        // Only what the network says makes a server unreachable. To be out of descriptors, ports or rights
        // is this machine's own trouble, which anybody here may have made on purpose.
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
        tcp.wait(PollFlags::OUT).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => io::Error::other(NoConnection(error)),
            _ => error,
        })?;
        sockopt::socket_error(&tcp.stream).and_then(|outcome| outcome).map_err(before)?;
        tcp.stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&tcp.stream, true)?;
        sockopt::set_tcp_keepidle(&tcp.stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&tcp.stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&tcp.stream, KEEPALIVE_PROBES)?;
        Ok(tcp)
    }

    /// Waits until the socket is ready, the watched peer hangs up, or time is up.
    fn wait(&self, ready: PollFlags) -> io::Result<()> {
        let socket = PollFd::from_borrowed_fd(self.stream.as_fd(), ready);
        loop {
            let left = self.until.left()?;
            let polled = match &self.watch {
                Some(watch) => {
                    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
                    let mut both =
                        [socket.clone(), PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::RDHUP)];
                    let polled = poll(&mut both, Some(&left));
                    let [_, watched] = &both;
                    if watched.revents().intersects(gone) {
                        return Err(io::Error::other(HungUp));
                    }
                    polled
                }
                None => poll(&mut [socket.clone()], Some(&left)),
            };
            match polled {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Read for Tcp {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(into) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::IN)?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Tcp {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(from) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
