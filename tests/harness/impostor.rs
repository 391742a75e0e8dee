//! Servers that are not what they should be: one with a certificate of its own making, and one that has the
//! right certificate and talks nonsense.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

use crate::server::Server;
use crate::wait::until;
use crate::world::World;

/// How long a client may take to close its side after the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A whole server that another CA vouches for, on the port of the world's own.
#[derive(Debug)]
pub struct Stranger {
    /// Holds nothing of the world's: it has its own database.
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

/// A TLS server with the right certificate that answers every request with the same bytes.
#[derive(Debug)]
pub struct Babbler {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    over: AtomicBool,
    heard: AtomicUsize,
}

impl Babbler {
    /// Takes the place of the world's server, which must be down.
    pub fn in_place_of(world: &World, answer: &'static str) -> Self {
        let tls = Arc::new(tls_of(&world.server.state_dir));
        let port = world.server.port;
        // A child that another test is starting may still hold a copy of the listener before this one.
        let listener = until("the port to be free", || TcpListener::bind(("127.0.0.1", port)).ok());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Acquire) {
                    return;
                }
                // A client that breaks off is part of the story.
                if babble(stream.unwrap(), Arc::clone(&tls), answer).is_ok() {
                    shared.heard.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
        Self { port, state, thread: Some(thread) }
    }

    /// How many requests were answered.
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

fn babble(stream: TcpStream, tls: Arc<ServerConfig>, answer: &str) -> io::Result<()> {
    let connection = ServerConnection::new(tls).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    if stream.read(&mut [0; 16_384])? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()?;
    // Closing with words unread would reset the connection, and the client might lose the answer.
    stream.sock.shutdown(Shutdown::Write)?;
    stream.sock.set_read_timeout(Some(LINGER))?;
    io::copy(&mut stream.sock, &mut io::sink()).ok();
    Ok(())
}

pub(crate) fn tls_of(state_dir: &Path) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = certificate_in(state_dir);
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// The certificate that `init` made for the server, found by what is in the files rather than by their names.
fn certificate_in(state_dir: &Path) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let provider = rustls::crypto::ring::default_provider();
    let texts: Vec<Vec<u8>> =
        not_of_the_ca(state_dir).into_iter().filter_map(|path| fs::read(path).ok()).collect();
    for text in &texts {
        let Ok(chain) = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>() else { continue };
        for key in texts.iter().filter_map(|text| PrivateKeyDer::from_pem_slice(text).ok()) {
            let pair = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider);
            if !chain.is_empty() && pair.is_ok_and(|pair| pair.keys_match().is_ok()) {
                return (chain, key);
            }
        }
    }
    panic!("no certificate with its key in {}", state_dir.display());
}

fn not_of_the_ca(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(not_of_the_ca(&path));
        } else if path.is_file() && !path.file_name().unwrap().to_string_lossy().starts_with("ca") {
            found.push(path);
        }
    }
    found
}
