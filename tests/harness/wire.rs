//! A client that sends given bytes over TLS, and trusts the server's CA.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::server::Server;

/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends `request` and returns all that comes back until the server closes.
pub fn send(server: &Server, request: &str) -> String {
    Client::of(server).send(request)
}

/// A client that can be moved to another thread.
#[derive(Clone, Debug)]
pub struct Client {
    tls: Arc<ClientConfig>,
    port: u16,
}

impl Client {
    /// A client of this server.
    pub fn of(server: &Server) -> Self {
        Self { tls: tls(server), port: server.port }
    }

    /// Sends `request` and returns all that comes back until the server closes.
    pub fn send(&self, request: &str) -> String {
        try_send(&self.tls, self.port, request).unwrap()
    }
}

/// Sends `request` to a port that leads to a server with this TLS configuration. It may fail.
///
/// # Errors
/// The connection failed before the request was sent.
pub fn try_send(tls: &Arc<ClientConfig>, port: u16, request: &str) -> io::Result<String> {
    let mut tls = connect(tls, port)?;
    tls.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // A server may close without close_notify. What it sent before counts.
    let _ = tls.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A connection on which nothing was sent yet. TLS begins with the first byte.
pub fn connect(tls: &Arc<ClientConfig>, port: u16) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(StreamOwned::new(ClientConnection::new(Arc::clone(tls), name()).unwrap(), stream))
}

/// A TLS configuration that trusts this server's CA.
pub fn tls(server: &Server) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(server.state_dir.join("ca/signs/ca.pem")).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
}

/// The name of every server in the tests.
pub fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// Sends bytes without TLS, and returns the answer.
pub fn send_plainly(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}
