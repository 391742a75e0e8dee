//! A server that answers `approved` to the old tool's script at once, and counts its requests.

use kbmfa_tests::files::put;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const CLIENT: &str = include_str!("../old/client.sh");

/// The server. Its thread ends with the program.
pub(crate) struct Server {
    port: u16,
    requests: Arc<AtomicU64>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, requests) = (listener.local_addr().unwrap().port(), Arc::<AtomicU64>::default());
        let counted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap());
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { port, requests }
    }

    /// A PAM stack that calls the script, which is written to this path.
    pub(crate) fn stack(&self, script: &Path) -> String {
        let text = CLIENT.replace("@URL@", &format!("http://127.0.0.1:{}", self.port));
        put(script, 0o755, text.replace("@TOKEN@", "token").replace("@NAME@", "desk"));
        format!("account required pam_exec.so {}\n", script.display())
    }

    /// Number of requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Answers a new request with an id, and every other one with `approved`.
fn answer(stream: &TcpStream) {
    let mut lines = BufReader::new(stream);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    lines.read_line(&mut first).unwrap();
    while lines.read_line(&mut line).unwrap() > 2 {
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
        line.clear();
    }
    lines.read_exact(&mut vec![0; length]).unwrap();
    let body = if first.contains("/request") { "1" } else { "approved" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let mut stream = stream;
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
}
