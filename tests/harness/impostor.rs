//! False servers: one with a certificate of another CA, and one that follows a script.

use rustix::net::sockopt::set_socket_linger;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

use crate::certificate::Made;
use crate::message::{self, Patient};
use crate::server::Server;
use crate::wait::{pass, until};
use crate::world::World;

/// A complete server with a certificate of another CA, on the port of the world's server.
#[derive(Debug)]
pub struct Stranger {
    /// The server. It has a database of its own, and so knows nothing of the world's.
    pub server: Server,
    _dir: TempDir,
}

impl Stranger {
    /// Takes the place of the world's server, which must be down.
    pub fn in_place_of(world: &World) -> Self {
        let dir = tempfile::Builder::new().prefix("kbmfa-stranger-").tempdir().unwrap();
        let server = Server::init(dir.path(), world.server.port, None);
        server.start();
        Self { server, _dir: dir }
    }
}

/// A step of a [`Babbler`]. It runs all steps on every connection, and then closes it.
#[derive(Clone, Debug)]
pub enum Act {
    /// Reads a request.
    Hear,
    /// Sends this, with the login's id in place of [`message::LOGIN`].
    Say(String),
    /// Sends it one byte at a time, with this pause.
    Drip(String, Duration),
    /// Sends nothing more, and waits until the other side closes.
    Stall,
    /// Over TLS, as the last step: resets the connection.
    Reset,
}

/// A server that follows a script. It serves one connection at a time.
#[derive(Debug)]
pub struct Babbler {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    over: Arc<AtomicBool>,
    met: AtomicUsize,
    heard: AtomicUsize,
}

impl Babbler {
    /// Takes the place of the world's server, which must be down. It has the right certificate, and gives
    /// every request the same answer.
    pub fn in_place_of(world: &World, answer: &str) -> Self {
        Self::playing(world, Some(right(world)), &[Act::Hear, Act::Say(answer.to_owned())])
    }

    /// Takes the place of the world's server with these steps, with TLS or without.
    pub fn playing(world: &World, tls: Option<Arc<ServerConfig>>, acts: &[Act]) -> Self {
        let (port, acts) = (world.server.port, acts.to_vec());
        // A child process that another test starts may still hold a copy of the listener that had this port
        // before.
        let listener = until("the port to be free", || TcpListener::bind(("127.0.0.1", port)).ok());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Acquire) {
                    return;
                }
                shared.met.fetch_add(1, Ordering::AcqRel);
                let patient = Patient::new(stream.unwrap(), Arc::clone(&shared.over));
                // A client may close its connection as a part of the test.
                let _ = match &tls {
                    Some(tls) => play_over_tls(patient, tls, &acts, &shared),
                    None => play(&mut { patient }, &acts, &shared),
                };
            }
        });
        Self { port, state, thread: Some(thread) }
    }

    /// Number of connections.
    pub fn met(&self) -> usize {
        self.state.met.load(Ordering::Acquire)
    }

    /// Number of requests that were read.
    pub fn heard(&self) -> usize {
        self.state.heard.load(Ordering::Acquire)
    }
}

impl Drop for Babbler {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        self.thread.take().unwrap().join().ok();
    }
}

fn play_over_tls(stream: Patient, tls: &Arc<ServerConfig>, acts: &[Act], state: &State) -> io::Result<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(tls)).unwrap(), stream);
    play(&mut stream, acts, state)?;
    if matches!(acts.last(), Some(Act::Reset)) {
        // Closing with linger 0 resets the connection.
        return Ok(set_socket_linger(stream.sock.stream(), Some(Duration::ZERO))?);
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    // If the connection were closed with unread data it would be reset, and the client might lose the answer.
    stream.sock.stream().shutdown(Shutdown::Write)?;
    stream.sock.outlast();
    Ok(())
}

fn play(stream: &mut (impl Read + Write), acts: &[Act], state: &State) -> io::Result<()> {
    let mut request = vec![];
    for act in acts {
        match act {
            Act::Hear => {
                request = message::read(stream)?;
                state.heard.fetch_add(1, Ordering::AcqRel);
            }
            Act::Say(text) => stream.write_all(message::filled_in(text, &request).as_bytes())?,
            Act::Drip(text, interval) => {
                for byte in message::filled_in(text, &request).bytes() {
                    pass(*interval);
                    stream.write_all(&[byte])?;
                    stream.flush()?;
                }
            }
            Act::Stall => while stream.read(&mut [0; 1024])? > 0 {},
            Act::Reset => return Ok(()),
        }
    }
    stream.flush()
}

/// The TLS configuration of the world's server.
pub fn right(world: &World) -> Arc<ServerConfig> {
    tls(&Made::begun(&world.server.state_dir, 1, 30), &rustls::version::TLS13)
}

/// A TLS configuration with this certificate and version.
pub fn tls(made: &Made, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_slice_iter(made.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = config.with_no_client_auth();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}
