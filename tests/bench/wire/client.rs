//! A machine for the load generators. It speaks HTTP/1.1 over TLS 1.3 with code of its own, so that it costs
//! little.

use kbmfa_proto::login::{Account, Capabilities, Connection, FirstFactor, LoginReply, OpenLogin, Phase};
use kbmfa_proto::names::LoginId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bed;

/// Makes connections to one server.
#[derive(Clone)]
pub(crate) struct Dialer {
    connector: TlsConnector,
    port: u16,
}

/// One connection.
pub(crate) struct Line {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Dialer {
    pub(crate) fn new(state_dir: &Path, port: u16) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(bed::ca(state_dir)).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        // The module does the same.
        config.resumption = rustls::client::Resumption::disabled();
        Self { connector: TlsConnector::from(Arc::new(config)), port }
    }

    pub(crate) async fn dial(&self) -> Line {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.connector.connect(name, stream).await.unwrap();
        Line { stream, buffer: Vec::new() }
    }
}

impl Line {
    /// Opens a login of the nth machine.
    pub(crate) async fn open(&mut self, id: &LoginId, n: usize) -> LoginReply {
        let body = serde_json::to_vec(&login(id, n)).unwrap();
        self.ask(&format!("PUT /v1/logins/{id}"), n, &body).await
    }

    /// Polls a login, and lets the server hold the poll for this many seconds.
    pub(crate) async fn poll(&mut self, id: &LoginId, n: usize, wait_s: u64) -> LoginReply {
        self.ask(&format!("GET /v1/logins/{id}?wait={wait_s}"), n, &[]).await
    }

    async fn ask(&mut self, what: &str, n: usize, body: &[u8]) -> LoginReply {
        let (credential, length) = (bed::credential(n), body.len());
        let head = format!(
            "{what} HTTP/1.1\r\nhost: localhost\r\nkbmfa-version: 1\r\naccept: application/json\r\n\
             authorization: Bearer {credential}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        self.stream.flush().await.unwrap();
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the server hung up after {what}");
            if let Some(body) = whole_body(&self.buffer) {
                return serde_json::from_slice(body)
                    .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.buffer)));
            }
        }
    }
}

/// The body of an answer, once it is complete.
fn whole_body(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&answer[..end]).unwrap().to_ascii_lowercase();
    let length = head.split("\r\ncontent-length:").nth(1)?.lines().next()?.trim().parse::<usize>().unwrap();
    answer.get(end..end + length)
}

/// A login as the module reports it, by one of a thousand people.
pub(crate) fn login(id: &LoginId, n: usize) -> OpenLogin {
    let ends = format!("192.0.2.{}:50000", n % 250);
    OpenLogin {
        phase: Phase::Account,
        service: "sshd".into(),
        user: format!("user{}", n % 1000).parse().unwrap(),
        typed: None,
        uid: Some(1000),
        uid_user: None,
        expires_day: None,
        caller: None,
        account: Account::Known,
        rhost: Some("192.0.2.1".into()),
        tty: Some("ssh".into()),
        connection: Connection {
            // Each login has a connection of its own, because a second login of one connection would be let
            // in without an ask.
            id: format!("{id}.{ends}").as_str().into(),
            ssh: Some(kbmfa_proto::login::SshConnection {
                client: ends.parse().unwrap(),
                server: "192.0.2.254:22".parse().unwrap(),
            }),
        },
        first_factor: FirstFactor::Sshd,
        capabilities: Capabilities { text: true, prompt: false },
        rehearsal: false,
        module_version: "0.1.0".into(),
        host: None,
    }
}
