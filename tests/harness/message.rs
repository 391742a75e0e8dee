//! HTTP/1.1 for false servers: reads and builds whole messages. Reading ends when the test ends.

use rustix::net::sockopt::set_socket_linger;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Interval at which the end of the test is checked.
const TICK: Duration = Duration::from_millis(50);

/// Placeholder for the id of the login in the request. It has 32 characters like an id, so that lengths stay
/// correct.
pub const LOGIN: &str = "<id-of-the-login-in-the-request>";

/// An answer with its content length.
pub fn answer(status: &str, body: &str) -> String {
    answer_with(status, "Content-Type: application/json\r\n", body)
}

/// An answer with additional lines in its head.
pub fn answer_with(status: &str, lines: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nKbmfa-Version: 1\r\n{lines}Content-Length: {length}\r\n\r\n{body}")
}

/// An answer about the login that was asked about.
pub fn login(state: &str) -> String {
    format!("{{\"id\":\"{LOGIN}\",\"state\":\"{state}\"}}")
}

/// A refusal as in docs/protocol.md.
pub fn problem(status: &str, code: &str) -> String {
    let number = &status[..3];
    answer(status, &format!("{{\"code\":\"{code}\",\"status\":{number},\"title\":\"as the story has it\"}}"))
}

/// Replaces each [`LOGIN`] by the login's id from the path of the request.
pub fn filled_in(text: &str, request: &[u8]) -> String {
    let path = path(request);
    let id = path.strip_prefix("/v1/logins/").map_or("", |rest| rest.split('?').next().unwrap_or_default());
    if id.len() == LOGIN.len() { text.replace(LOGIN, id) } else { text.to_owned() }
}

/// The method of a request, such as `PUT`.
pub fn method(request: &[u8]) -> String {
    word(request, 0)
}

fn path(request: &[u8]) -> String {
    word(request, 1)
}

fn word(message: &[u8], number: usize) -> String {
    let line = String::from_utf8_lossy(message.split(|byte| *byte == b'\r').next().unwrap_or_default());
    line.split(' ').nth(number).unwrap_or_default().to_owned()
}

/// Reads a request or an answer with its body. An error if the other side closes before its end.
pub fn read(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = vec![];
    loop {
        if let Some(head) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = head + 4;
            if message.len() >= head + length(&message[..head]) {
                return Ok(message);
            }
        }
        let mut buffer = [0; 16_384];
        match from.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            amount => message.extend_from_slice(&buffer[..amount]),
        }
    }
}

fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.map_or(0, |length| length.trim().parse().expect("a number in Content-Length"))
}

/// A connection. Reading from it fails when the test is over.
#[derive(Debug)]
pub struct Patient {
    stream: TcpStream,
    over: Arc<AtomicBool>,
}

impl Patient {
    /// Reads until `over` is set.
    pub fn new(stream: TcpStream, over: Arc<AtomicBool>) -> Self {
        stream.set_read_timeout(Some(TICK)).unwrap();
        Self { stream, over }
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Waits until the other side has closed.
    pub fn outlast(&mut self) {
        while self.read(&mut [0; 1024]).is_ok_and(|amount| amount > 0) {}
    }

    /// Makes closing the connection reset it.
    pub fn reset_at_the_end(&self) {
        set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }
}

impl Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(into) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    if self.over.load(Ordering::Acquire) {
                        return Err(ErrorKind::ConnectionAborted.into());
                    }
                }
                done => return done,
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
