//! A proxy between a machine and the server that counts the bytes of TLS in each direction, without TCP's
//! headers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The proxy. Its threads end with the program.
pub(crate) struct Proxy {
    /// The port at which it listens.
    pub(crate) port: u16,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts a proxy to the server at this port.
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let this = Self { port, up: Arc::default(), down: Arc::default() };
        let (up, down) = (Arc::clone(&this.up), Arc::clone(&this.down));
        thread::spawn(move || {
            for machine in listener.incoming() {
                let (machine, server) =
                    (machine.unwrap(), TcpStream::connect(("127.0.0.1", server)).unwrap());
                for stream in [&machine, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                carry(&machine, &server, &up);
                carry(&server, &machine, &down);
            }
        });
        this
    }

    /// Number of bytes so far: to the server, and from it.
    pub(crate) fn bytes(&self) -> [u64; 2] {
        [&self.up, &self.down].map(|count| count.load(Ordering::Relaxed))
    }
}

fn carry(from: &TcpStream, to: &TcpStream, count: &Arc<AtomicU64>) {
    let (mut from, mut to, count) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(count));
    thread::spawn(move || {
        let mut buffer = [0; 16_384];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            count.fetch_add(length as u64, Ordering::Relaxed);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // Fails if the connection is closed already, which does no harm.
        let _ = to.shutdown(Shutdown::Write);
    });
}
