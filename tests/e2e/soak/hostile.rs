//! Attacks by strangers, and by somebody with the stolen credential of a machine, at a low rate: one host's
//! resources are limited, and a higher rate would test those limits instead.

use kbmfa_tests::chat::ChatWorld;
use kbmfa_tests::wait::pass;
use kbmfa_tests::wire;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;

/// Longest time for which an attacker waits for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// The target, and the stolen credential.
pub(super) struct Target {
    port: u16,
    tls: Arc<ClientConfig>,
    /// The stolen credential of a machine.
    credential: String,
}

impl Target {
    /// This server, and the credential of a machine that has joined only for this.
    pub(super) fn of(world: &ChatWorld) -> Self {
        let target = Self {
            port: world.server.port,
            tls: wire::tls(&world.server),
            credential: "kbmfa_stolen".to_owned(),
        };
        let hash = Sha256::digest(&target.credential);
        let hash = hash.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let token = world.admin.add_machine("stolen1");
        let body = format!(r#"{{"token":"{token}","credential_sha256":"{hash}","module_version":"0"}}"#);
        let head = "POST /v1/machines/join HTTP/1.1\r\nHost: localhost\r\nKbmfa-Version: 1";
        let answer = wire::send(
            &world.server,
            &format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        );
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        target
    }

    fn connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(stream)
    }

    fn tls(&self) -> Option<StreamOwned<ClientConnection, TcpStream>> {
        let client = ClientConnection::new(Arc::clone(&self.tls), wire::name()).ok()?;
        Some(StreamOwned::new(client, self.connect()?))
    }
}

/// One kind of attack.
type Attack = fn(&Target, &mut Dice);

pub(super) const ALL: [Attack; 4] = [garbage, idle, slow_body, stolen_credential];

/// Sends bytes that are not TLS, or that end in the middle of a record.
fn garbage(target: &Target, dice: &mut Dice) {
    let Some(mut stream) = target.connect() else { return };
    if dice.below(2) == 0 {
        // The head of a handshake record that announces more than follows.
        let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
    }
    let _ = stream.write_all(&dice.bytes(2000));
    if dice.below(2) == 0 {
        let _ = stream.read(&mut [0; 64]);
    }
}

/// Opens connections and sends nothing.
fn idle(target: &Target, dice: &mut Dice) {
    let held: Vec<_> = (0..dice.below(24)).filter_map(|_| target.connect()).collect();
    pass(Duration::from_millis(dice.below(3000)));
    drop(held);
}

/// Announces a body, and sends it byte by byte or not at all.
fn slow_body(target: &Target, dice: &mut Dice) {
    let Some(mut stream) = target.tls() else { return };
    let head = "POST /v1/machines/join HTTP/1.1\r\nHost: localhost\r\nKbmfa-Version: 1\r\nContent-Length: 500\r\n\r\n";
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    for _ in 0..dice.below(8) {
        if stream.write_all(b"{").and_then(|()| stream.flush()).is_err() {
            return;
        }
        pass(Duration::from_millis(dice.below(500)));
    }
}

/// Sends requests with a valid credential as fast as they are answered.
fn stolen_credential(target: &Target, dice: &mut Dice) {
    let Some(mut stream) = target.tls() else { return };
    for _ in 0..dice.below(60) {
        let (high, low) = (dice.below(u64::MAX), dice.below(u64::MAX));
        let (route, body) = match dice.below(3) {
            0 => (format!("GET /v1/logins/{high:016x}{low:016x}"), ""),
            1 => (format!("PUT /v1/logins/{high:016x}{low:016x}"), "{\"nonsense\":true}"),
            _ => ("POST /v1/reports".to_owned(), "{\"reports\":[]}"),
        };
        let request = format!(
            "{route} HTTP/1.1\r\nHost: localhost\r\nKbmfa-Version: 1\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            target.credential,
            body.len()
        );
        let answered = stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut [0; 8192]));
        if answered.map_or(true, |length| length == 0) {
            return;
        }
    }
}
